// Every access to memory is checked here, before it happens.
//
// The kernel is compiled with -fsanitize=thread, which puts a call in front of each load
// and store. libtsan is not linked: these functions take the calls.
#include <string.h>

#include "state.h"

namespace emulator {
namespace {

enum class Kind { load, store, update };  // update: atomic load and store in one

bool same_simdgroup(unsigned a, unsigned b) { return a / kSimdWidth == b / kSimdWidth; }

Epochs epochs_now(const Region& region) {
  const Simdgroup& simdgroup = state.simdgroups[state.current / (int)kSimdWidth];
  if (region.threadgroup)
    return {state.epoch_threadgroup, simdgroup.epoch_threadgroup, state.barriers};
  return {state.epoch_device, simdgroup.epoch_device, state.barriers};
}

// Whether an earlier access of this threadgroup and the present one have no order.
bool unordered(const Access& earlier, const Access& now) {
  if (!earlier.thread || earlier.thread == now.thread) return false;
  if (earlier.epochs.group != now.epochs.group) return false;
  if (same_simdgroup(earlier.thread - 1u, now.thread - 1u) &&
      earlier.epochs.simd != now.epochs.simd)
    return false;
  return !(earlier.atomic && now.atomic);
}

bool conflicts(const Access& earlier, uint32_t earlier_group, const Access& now) {
  if (!earlier_group) return false;
  if (earlier_group == state.group + 1) return unordered(earlier, now);
  return !(earlier.atomic && now.atomic);
}

void tell_race(const char* pair, const Region& region, uint64_t byte,
               const Access& earlier, uint32_t earlier_group, const void* pc) {
  bool passed_barrier = earlier_group == state.group + 1 &&
                        earlier.epochs.barriers != state.barriers;
  const char* why = passed_barrier ? "the barrier between does not fence this memory"
                                   : "no barrier between";
  if (earlier_group != state.group + 1) why = "threadgroups have no order";
  find_at_pc("race", pc, "%s of %s[byte %llu]: thread %d of group %u after thread %d of "
             "group %u, %s", pair, region.name, (unsigned long long)byte, state.current,
             state.group, (int)earlier.thread - 1, earlier_group - 1, why);
}

void check_order(Region& region, Cell& cell, uint64_t byte, Kind kind,
                 const Access& now, const void* pc) {
  uint32_t group = state.group + 1;
  bool store = kind != Kind::load;
  const char* pair = store ? "write after write" : "read after write";
  if (conflicts(cell.writer, cell.writer_group, now))
    tell_race(pair, region, byte, cell.writer, cell.writer_group, pc);
  else if (conflicts(cell.plain_writer, cell.plain_writer_group, now))
    tell_race(pair, region, byte, cell.plain_writer, cell.plain_writer_group, pc);
  if (!store) return;
  const Access* reader = nullptr;
  uint32_t reader_group = cell.reader_group;
  if (reader_group == group) {
    for (const Access* one :
         {&cell.reader, &cell.reader_beside, &cell.reader_elsewhere})
      if (unordered(*one, now)) reader = one;
    if (!reader && cell.reader_group_before && !now.atomic) {
      reader = &cell.reader;
      reader_group = cell.reader_group_before;
    }
  } else if (reader_group && !(cell.reader.atomic && now.atomic)) {
    reader = &cell.reader;
  }
  if (reader)
    tell_race("write after read", region, byte, *reader, reader_group, pc);
}

// Keeps one reader of every sort that a later writer could conflict with.
void remember_reader(Cell& cell, const Access& now) {
  uint32_t group = state.group + 1;
  if (cell.reader_group != group) {
    cell.reader_group_before = cell.reader_group;
    cell.reader_group = group;
    cell.reader = cell.reader_beside = cell.reader_elsewhere = Access();
  }
  if (cell.reader.thread && cell.reader.thread != now.thread) {
    if (same_simdgroup(cell.reader.thread - 1u, now.thread - 1u)) {
      cell.reader_beside = cell.reader;
    } else {
      cell.reader_elsewhere = cell.reader;
      cell.reader_beside = Access();
    }
  }
  cell.reader = now;
}

void check_cells(Region& region, uint64_t offset, unsigned size, Kind kind, bool atomic,
                 const void* pc) {
  Access now = {epochs_now(region), (uint16_t)(state.current + 1), atomic};
  uint64_t last = (offset + size - 1) / region.cell_bytes;
  for (uint64_t i = offset / region.cell_bytes; i <= last; i++) {
    Cell& cell = region.cells[i];
    uint64_t byte = i * region.cell_bytes;
    if (kind != Kind::store && !cell.written)
      find_at_pc("uninitialised read", pc, "%s[byte %llu] was never written%s, thread %d "
                 "of group %u", region.name, (unsigned long long)byte,
                 region.threadgroup ? " by this threadgroup" : "", state.current,
                 state.group);
    check_order(region, cell, byte, kind, now, pc);
    if (kind == Kind::load) {
      remember_reader(cell, now);
    } else {
      cell.writer = now;
      cell.writer_group = state.group + 1;
      cell.written = true;
      if (!atomic) {
        cell.plain_writer = now;
        cell.plain_writer_group = state.group + 1;
      }
    }
  }
}

[[noreturn]] void out_of_bounds(const Region* region, uintptr_t address, unsigned size,
                                bool store, const char* remark, const void* pc) {
  const uint32_t* position =
      state.threads[state.current].attributes.thread_position_in_grid;
  const char* verb = store ? "write" : "read";
  if (region && region->begin)
    find_at_pc("out of bounds", pc, "%s of %u bytes at %s[byte %lld], which has %llu "
               "bytes, thread (%u, %u, %u)", verb, size, region->name,
               (long long)(address - (uintptr_t)region->begin),
               (unsigned long long)region->bytes, position[0], position[1], position[2]);
  else
    find_at_pc("wild pointer", pc, "%s of %u bytes at 0x%llx%s, thread (%u, %u, %u)",
               verb, size, (unsigned long long)address, remark, position[0], position[1],
               position[2]);
  stop_launch();
}

bool within(uintptr_t address, const void* begin, size_t bytes) {
  return address - (uintptr_t)begin < bytes;
}

// Memory that is neither a buffer nor a threadgroup variable.
bool is_private(uintptr_t address, unsigned size, bool store, const void* pc) {
  if (within(address, state.stacks, kStackBytes * kMostThreads)) {
    int owner = (int)((address - (uintptr_t)state.stacks) / kStackBytes);
    if (owner != state.current)
      out_of_bounds(nullptr, address, size, store, ", in another thread's stack", pc);
    return true;
  }
  // Constants of the kernel, and the runtime's own slots and attributes.
  return (address >= state.image_begin && address < state.image_end) ||
         within(address, &state, sizeof state);
}

void check(const void* pointer, unsigned size, Kind kind, bool atomic, const void* pc) {
  if (state.current < 0 || !state.checking()) return;
  uintptr_t address = (uintptr_t)pointer;
  bool store = kind != Kind::load;
  uint64_t in_arena = address - (uintptr_t)state.arena;
  if (in_arena >= kSlotBytes * kSlots) {
    if (is_private(address, size, store, pc)) return;
    out_of_bounds(nullptr, address, size, store, "", pc);
  }
  Region& region = state.regions[in_arena / kSlotBytes];
  uint64_t offset = address - (uintptr_t)region.begin;
  if (!region.begin || offset >= region.bytes || offset + size > region.bytes)
    out_of_bounds(&region, address, size, store, "", pc);
  EmuReport* report = state.report;
  if (region.threadgroup)
    (store ? report->threadgroup_writes : report->threadgroup_reads)++;
  else
    (store ? report->device_bytes_written : report->device_bytes_read) += size;
  if (region.flags & EMU_WRITABLE)
    check_cells(region, offset, size, kind, atomic, pc);
  else if (store)
    find_at_pc("write to input", pc, "%s[byte %llu], thread %d of group %u", region.name,
               (unsigned long long)offset, state.current, state.group);
}

void check_range(const void* pointer, size_t bytes, Kind kind, const void* pc) {
  const char* place = (const char*)pointer;
  for (size_t done = 0; done < bytes;) {
    size_t left = bytes - done;
    unsigned step = left >= 4 && (uintptr_t)(place + done) % 4 == 0 ? 4 : 1;
    check(place + done, step, kind, false, pc);
    done += step;
  }
}

}  // namespace
}  // namespace emulator

using emulator::check;
using emulator::check_range;
using emulator::Kind;
using emulator::state;

#define CALLER __builtin_return_address(0)

extern "C" {

void emu_atomic(const void* address, unsigned size, int access) {
  state.report->atomics++;
  Kind kind = access == EMU_ATOMIC_LOAD    ? Kind::load
              : access == EMU_ATOMIC_STORE ? Kind::store
                                           : Kind::update;
  check(address, size, kind, true, CALLER);
}

#define ACCESSES(size)                                                          \
  void __tsan_read##size(void* at) { check(at, size, Kind::load, false, CALLER); } \
  void __tsan_write##size(void* at) { check(at, size, Kind::store, false, CALLER); } \
  void __tsan_unaligned_read##size(void* at) {                                  \
    check(at, size, Kind::load, false, CALLER);                                 \
  }                                                                             \
  void __tsan_unaligned_write##size(void* at) {                                 \
    check(at, size, Kind::store, false, CALLER);                                \
  }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* at, size_t n) { check_range(at, n, Kind::load, CALLER); }
void __tsan_write_range(void* at, size_t n) { check_range(at, n, Kind::store, CALLER); }
void __tsan_init(void) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void) {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}

// Copies of large values: clang calls the first three, g++ the plain functions, which the
// linker leads to the last three.
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  check_range(from, n, Kind::load, CALLER);
  check_range(to, n, Kind::store, CALLER);
  return memcpy(to, from, n);
}
void* __tsan_memmove(void* to, const void* from, size_t n) {
  check_range(from, n, Kind::load, CALLER);
  check_range(to, n, Kind::store, CALLER);
  return memmove(to, from, n);
}
void* __tsan_memset(void* to, int value, size_t n) {
  check_range(to, n, Kind::store, CALLER);
  return memset(to, value, n);
}
void* __wrap_memcpy(void* to, const void* from, size_t n) {
  check_range(from, n, Kind::load, CALLER);
  check_range(to, n, Kind::store, CALLER);
  return memcpy(to, from, n);
}
void* __wrap_memmove(void* to, const void* from, size_t n) {
  check_range(from, n, Kind::load, CALLER);
  check_range(to, n, Kind::store, CALLER);
  return memmove(to, from, n);
}
void* __wrap_memset(void* to, int value, size_t n) {
  check_range(to, n, Kind::store, CALLER);
  return memset(to, value, n);
}

}  // extern "C"
