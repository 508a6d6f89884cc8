// What the files of the runtime share: memory regions, shadow cells, threads, findings.
#pragma once

#include <vector>

#include "emulator.h"

namespace emulator {

constexpr unsigned kMostThreads = 1024;
constexpr unsigned kSimdWidth = 32;
constexpr size_t kStackBytes = 256 << 10;
// Each buffer lives in the middle of 64 GiB of reserved addresses, so that a 32-bit index
// that is wrong still points into the slot of its own buffer and can be named.
constexpr uint64_t kSlotBytes = 1ull << 36;
constexpr int kSlots = 64;
// A thread that enters so many basic blocks in one launch of a group never ends.
constexpr uint64_t kMostBlocks = 100'000'000;

enum Fence : unsigned { kFenceDevice = 1, kFenceThreadgroup = 2 };

// How often a fence was passed, at the time of an access.
struct Epochs {
  uint32_t group;     // threadgroup barriers that fence this memory
  uint32_t simd;      // the same of simdgroup barriers
  uint32_t barriers;  // threadgroup barriers of any kind
};

struct Access {
  Epochs epochs;
  uint16_t thread;  // index in the threadgroup + 1; 0 for none
  bool atomic;
};

// The history of one element, enough to find any unordered pair of accesses.
struct Cell {
  Access writer;            // the last one
  Access plain_writer;      // the last one that was not atomic
  Access reader;            // the last one
  Access reader_beside;     // another thread of the SIMD group of `reader`
  Access reader_elsewhere;  // a thread of another SIMD group
  uint32_t writer_group;         // number of the threadgroup + 1; 0 for none
  uint32_t plain_writer_group;
  uint32_t reader_group;         // of the last reader
  uint32_t reader_group_before;  // of a reader in yet another group
  bool written;
};

struct Region {
  char* begin = nullptr;
  uint64_t bytes = 0;
  uint64_t mapped = 0;
  uint32_t cell_bytes = 1;
  uint32_t flags = 0;
  const char* name = "";
  bool threadgroup = false;
  uint32_t owner = 0;  // threadgroup memory: number + 1 of the group that uses it
  std::vector<Cell> cells;
};

enum class Status : uint8_t { ready, at_simd, at_simd_barrier, at_barrier, done };

struct Thread {
  void* stack;
  Status status;
  int line;       // where it waits
  int operation;  // which SIMD operation, or the fences of a barrier
  uint8_t parity;
  uint64_t blocks;
  EmuThread attributes;
};

struct Simdgroup {
  uint32_t epoch_device, epoch_threadgroup;
  uint32_t active;
  alignas(64) char slots[2][kSimdWidth][64];
};

struct State {
  EmuReport* report = nullptr;
  EmuEntry entry = nullptr;
  uint32_t flags = 0;
  uint64_t random = 1;
  bool stopped = false;

  char* arena = nullptr;
  char* stacks = nullptr;
  uintptr_t image_begin = 0, image_end = 0;  // of the compiled kernel

  Region regions[kSlots];
  void* pointers[kSlots];
  int buffers = 0, variables_end = 0;
  uint32_t threadgroup_bytes = 0, threadgroup_limit = 0;

  int current = -1;  // the running thread; -1 while the scheduler runs
  int thread_count = 0;
  uint32_t group = 0;
  uint32_t epoch_device = 0, epoch_threadgroup = 0, barriers = 0;
  void* scheduler_stack = nullptr;
  Thread threads[kMostThreads];
  Simdgroup simdgroups[kMostThreads / kSimdWidth];

  bool checking() const { return flags & EMU_CHECK; }
};

extern State state;

// Writes a finding down. Each kind is told once per place; all are counted. `place` is
// "line:N" of the kernel text or "pc:0x..." relative to the compiled kernel, or empty.
void find(const char* kind, const char* place, const char* message, ...)
    __attribute__((format(printf, 3, 4)));
void find_at_pc(const char* kind, const void* pc, const char* message, ...)
    __attribute__((format(printf, 3, 4)));
void find_at_line(const char* kind, int line, const char* message, ...)
    __attribute__((format(printf, 3, 4)));
void forget_findings();

void leave_thread();                // back to the scheduler
[[noreturn]] void stop_launch();    // from inside a thread: nothing more can run
bool run_group();                   // false when the launch was stopped
uint64_t next_random();

void catch_signals(bool on);        // turns crashes of the kernel into findings

bool reserve_memory();
Region& open_region(int slot, uint64_t bytes);
void close_region(int slot);
void find_image(const void* address_inside);

}  // namespace emulator
