// What C++ leaves undefined inside one thread: alignment, fixed arrays, shifts, division.
//
// The kernel is compiled with parts of -fsanitize=undefined and with a call at the start
// of each basic block. libubsan is not linked: these functions take the calls.
#include "state.h"

using emulator::find_at_line;
using emulator::find_at_pc;
using emulator::state;
using emulator::stop_launch;

#define CALLER __builtin_return_address(0)

static long long as_number(const void* value) { return (int)(intptr_t)value; }

extern "C" {

constexpr const char* kIndex =
    "index %lld is outside of the array, thread %d of group %u";

void __ubsan_handle_out_of_bounds(void*, void* index) {
  find_at_pc("array index", CALLER, kIndex, as_number(index), state.current, state.group);
  if (state.current >= 0) stop_launch();
}

void emu_array_index(long long index, int line) {
  if (!state.checking()) return;
  find_at_line("array index", line, kIndex, index, state.current, state.group);
  stop_launch();
}

void __ubsan_handle_shift_out_of_bounds(void*, void*, void* amount) {
  find_at_pc("shift", CALLER, "by %lld, thread %d of group %u", as_number(amount),
             state.current, state.group);
}

void __ubsan_handle_divrem_overflow(void*, void*, void* divisor) {
  find_at_pc("division", CALLER, "of an integer by %lld, thread %d of group %u",
             as_number(divisor), state.current, state.group);
  if (state.current >= 0) stop_launch();
}

void __ubsan_handle_float_cast_overflow(void*, void*) {
  find_at_pc("conversion", CALLER, "the floating-point value does not fit the integer "
             "type, thread %d of group %u", state.current, state.group);
}

void __ubsan_handle_type_mismatch_v1(void*, void* address) {
  find_at_pc("misaligned", CALLER, "access at 0x%llx, thread %d of group %u",
             (unsigned long long)(uintptr_t)address, state.current, state.group);
  // The processor may refuse such an access as a GPU would.
  if (state.current >= 0) stop_launch();
}

// -fsanitize-coverage=trace-pc. A thread that enters this many blocks never ends.
void __sanitizer_cov_trace_pc(void) {
  if (state.current < 0) return;
  if (++state.threads[state.current].blocks < emulator::kMostBlocks) return;
  find_at_pc("endless loop", CALLER, "thread %d of group %u has run %llu basic blocks",
             state.current, state.group, (unsigned long long)emulator::kMostBlocks);
  stop_launch();
}

}  // extern "C"
