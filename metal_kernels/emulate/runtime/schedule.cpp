// Running one threadgroup: who may go on, and what waiting threads wait for.
#include <string.h>

#include <algorithm>

#include "fiber.h"
#include "state.h"

namespace emulator {
namespace {

void start_thread() {
  Thread& thread = state.threads[state.current];
  state.entry(state.pointers, &thread.attributes);
  thread.status = Status::done;
  leave_thread();
}

void stop(const char* kind, int line, const char* message, int first, int second) {
  find_at_line(kind, line, message, first, second);
  state.stopped = true;
}

// Lets every thread that is ready run until it waits or returns.
bool run_ready_threads(uint16_t* order) {
  int count = state.thread_count;
  if (state.flags & EMU_SHUFFLE)
    for (int i = count - 1; i > 0; i--)
      std::swap(order[i], order[next_random() % (uint64_t)(i + 1)]);
  for (int i = 0; i < count; i++) {
    Thread& thread = state.threads[order[i]];
    if (thread.status != Status::ready) continue;
    state.current = order[i];
    emu_switch(&state.scheduler_stack, thread.stack);
    state.current = -1;
    if (state.stopped) return false;
  }
  return true;
}

bool waits_at_simd(const Thread& thread) {
  return thread.status == Status::at_simd || thread.status == Status::at_simd_barrier;
}

bool meet(const Thread& a, const Thread& b) {
  return a.status == b.status && a.line == b.line && a.operation == b.operation &&
         a.parity == b.parity;
}

// Releases a SIMD group whose living lanes all stand at one operation.
// Returns whether it was released; stops the launch when the lanes have parted.
bool release_simdgroup(int number) {
  int begin = number * (int)kSimdWidth;
  int end = std::min(state.thread_count, begin + (int)kSimdWidth);
  const Thread* first = nullptr;
  int living = 0, together = 0;
  uint32_t active = 0;
  for (int i = begin; i < end; i++) {
    const Thread& thread = state.threads[i];
    if (thread.status == Status::done) continue;
    living++;
    if (!waits_at_simd(thread)) continue;
    if (!first) first = &thread;
    if (!meet(thread, *first)) continue;
    together++;
    active |= 1u << (i - begin);
  }
  if (!first) return false;
  if (together != living) {
    stop("divergence", first->line,
         "only %d of %d living lanes of a SIMD group arrive at this operation", together,
         living);
    return false;
  }
  Simdgroup& simdgroup = state.simdgroups[number];
  simdgroup.active = active;
  if (first->status == Status::at_simd_barrier) {
    if (first->operation & kFenceDevice) simdgroup.epoch_device++;
    if (first->operation & kFenceThreadgroup) simdgroup.epoch_threadgroup++;
  } else {
    state.report->simd_operations++;
  }
  for (int i = begin; i < end; i++)
    if (active >> (i - begin) & 1) state.threads[i].status = Status::ready;
  return true;
}

// All threads stand at a barrier or have returned.
bool release_barrier() {
  const Thread* first = nullptr;
  int waiting = 0, returned = 0;
  bool parted = false;
  for (int i = 0; i < state.thread_count; i++) {
    const Thread& thread = state.threads[i];
    if (thread.status == Status::done) {
      returned++;
      continue;
    }
    waiting++;
    if (!first) first = &thread;
    parted |= thread.line != first->line || thread.operation != first->operation;
  }
  if (returned) {
    stop("barrier", first->line, "%d threads wait while %d have returned", waiting,
         returned);
    return false;
  }
  if (parted) {
    stop("barrier", first->line,
         "the %d threads of a group wait at different barriers, thread %d at this one",
         waiting, (int)(first - state.threads));
    return false;
  }
  state.report->barriers++;
  state.barriers++;
  if (first->operation & kFenceDevice) state.epoch_device++;
  if (first->operation & kFenceThreadgroup) state.epoch_threadgroup++;
  for (int i = 0; i < state.thread_count; i++) state.threads[i].status = Status::ready;
  return true;
}

}  // namespace

void leave_thread() {
  emu_switch(&state.threads[state.current].stack, state.scheduler_stack);
}

void stop_launch() {
  state.stopped = true;
  leave_thread();
  __builtin_unreachable();
}

uint64_t next_random() {  // xorshift64
  state.random ^= state.random << 13;
  state.random ^= state.random >> 7;
  state.random ^= state.random << 17;
  return state.random;
}

bool run_group() {
  int count = state.thread_count;
  int simdgroups = (count + (int)kSimdWidth - 1) / (int)kSimdWidth;
  state.epoch_device = state.epoch_threadgroup = state.barriers = 1;
  for (int i = 0; i < simdgroups; i++)
    state.simdgroups[i].epoch_device = state.simdgroups[i].epoch_threadgroup = 1;
  static uint16_t order[kMostThreads];
  for (int i = 0; i < count; i++) {
    Thread& thread = state.threads[i];
    order[i] = (uint16_t)i;
    thread.status = Status::ready;
    thread.parity = 0;
    thread.blocks = 0;
    thread.stack = emu_new_stack(state.stacks + (size_t)(i + 1) * kStackBytes,
                                 start_thread);
  }
  for (;;) {
    if (!run_ready_threads(order)) return false;
    bool released = false;
    for (int i = 0; i < simdgroups && !state.stopped; i++)
      released |= release_simdgroup(i);
    if (state.stopped) return false;
    if (released) continue;
    bool all_done = true;
    for (int i = 0; i < count; i++)
      all_done &= state.threads[i].status == Status::done;
    if (all_done) return true;
    if (!release_barrier()) return false;
  }
}

}  // namespace emulator

using emulator::state;
using emulator::Status;
using emulator::Thread;

extern "C" {

unsigned emu_lane(void) {
  return state.threads[state.current].attributes.thread_index_in_simdgroup;
}

static void wait(Status status, int operation, int line) {
  Thread& thread = state.threads[state.current];
  thread.status = status;
  thread.operation = operation;
  thread.line = line;
  emulator::leave_thread();
}

void emu_threadgroup_barrier(unsigned fences, int line) {
  wait(Status::at_barrier, (int)fences, line);
}

void emu_simdgroup_barrier(unsigned fences, int line) {
  wait(Status::at_simd_barrier, (int)fences, line);
}

const void* emu_exchange(const void* value, unsigned size, int operation, int line,
                         uint32_t* active) {
  Thread& thread = state.threads[state.current];
  emulator::Simdgroup& simdgroup =
      state.simdgroups[thread.attributes.simdgroup_index_in_threadgroup];
  // Two sets of slots in turn: a fast lane must not overwrite what a slow one still reads.
  unsigned parity = thread.parity;
  thread.parity ^= 1;
  memcpy(simdgroup.slots[parity][thread.attributes.thread_index_in_simdgroup], value,
         size);
  wait(Status::at_simd, operation, line);
  *active = simdgroup.active;
  return simdgroup.slots[parity];
}

void emu_matrix_product(void) { state.report->matrix_products++; }

}  // extern "C"
