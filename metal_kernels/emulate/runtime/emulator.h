// The C interface between three sides: a compiled kernel, the runtime, and Python.
//
// A kernel runs as one function call per GPU thread, each on a stack of its own (a
// fiber). A thread runs until it returns or waits for others; the runtime then picks the
// next one. That gives barriers and SIMD-group operations their real meaning on one CPU
// thread, whatever the control flow of the kernel.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Values of Metal's thread attributes for one thread.
typedef struct EmuThread {
  uint32_t thread_position_in_grid[3];
  uint32_t thread_position_in_threadgroup[3];
  uint32_t threadgroup_position_in_grid[3];
  uint32_t threadgroups_per_grid[3];
  uint32_t threads_per_grid[3];
  uint32_t threads_per_threadgroup[3];           // smaller at the edge of the grid
  uint32_t dispatch_threads_per_threadgroup[3];  // as asked for
  uint32_t thread_index_in_threadgroup;
  uint32_t thread_index_in_simdgroup;
  uint32_t simdgroup_index_in_threadgroup;
  uint32_t simdgroups_per_threadgroup;
  uint32_t dispatch_simdgroups_per_threadgroup;
} EmuThread;

enum { EMU_WRITABLE = 1, EMU_INITIALISED = 2 };

typedef struct EmuBuffer {
  void* data;
  uint64_t bytes;
  uint32_t cell;   // bytes per shadow cell: the size of an element
  uint32_t flags;  // EMU_WRITABLE, EMU_INITIALISED
  const char* name;
} EmuBuffer;

enum { EMU_CHECK = 1, EMU_FLUSH_DENORMALS = 2, EMU_SHUFFLE = 4 };

typedef struct EmuReport {
  uint64_t threads, groups, barriers, simd_operations, matrix_products;
  uint64_t device_bytes_read, device_bytes_written;
  uint64_t threadgroup_reads, threadgroup_writes, atomics;
  uint32_t threadgroup_bytes;  // largest sum of the threadgroup variables of one group
  uint32_t findings;           // all of them, those not written down included
  uint32_t stopped;            // the launch ended before its end
  char text[16384];            // lines of kind \t place \t message
} EmuReport;

typedef void (*EmuEntry)(void** buffers, const EmuThread* thread);

// Called by Python. Returns 0, or 1 when the launch was stopped.
int emu_launch(EmuEntry entry, EmuBuffer* buffers, int count, const uint32_t grid[3],
               const uint32_t threadgroup[3], uint32_t flags, uint64_t seed,
               uint32_t threadgroup_limit, EmuReport* report);

// Called by the kernel.
void emu_threadgroup_barrier(unsigned fences, int line);
void emu_simdgroup_barrier(unsigned fences, int line);
// Hands `size` (at most 64) bytes to the other lanes of the SIMD group and returns 32
// slots of 64 bytes; `active` gets one bit per lane that took part.
const void* emu_exchange(const void* value, unsigned size, int operation, int line,
                         uint32_t* active);
void* emu_threadgroup_variable(int number, size_t bytes, unsigned cell,
                               const char* name);
unsigned emu_lane(void);
void emu_array_index(long long index, int line);  // one that is outside of its array
enum { EMU_ATOMIC_LOAD = 1, EMU_ATOMIC_STORE = 2, EMU_ATOMIC_UPDATE = 3 };
void emu_atomic(const void* address, unsigned size, int access);
void emu_matrix_product(void);

#ifdef __cplusplus
}
#endif
