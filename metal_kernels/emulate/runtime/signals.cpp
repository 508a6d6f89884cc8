// A kernel that crashes ends its launch, not the process.
//
// With checks on, accesses are refused before they happen; what is left are stacks that
// run over, divisions that overflow, and fast mode, which checks nothing.
#include <signal.h>
#include <string.h>
#include <sys/ucontext.h>

#include "state.h"

namespace emulator {
namespace {

// SIGTRAP: how a compiler for Arm marks what must not be reached.
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
constexpr int kCount = sizeof kSignals / sizeof kSignals[0];
struct sigaction before[kCount];
stack_t stack_before;
// The stack of the thread may be what has run over, so the handler has its own, and so
// has what follows it.
alignas(16) char handler_stack[128 << 10];
alignas(16) char landing_stack[16 << 10];

void land() { stop_launch(); }

// Answers where the crash was, and lets the thread go on at land() when the handler has
// returned: a handler that never returns would leave its stack taken.
const void* exchange_place(void* context) {
  uintptr_t top = (uintptr_t)(landing_stack + sizeof landing_stack);
  uintptr_t place = 0;
#if defined(__linux__) && defined(__x86_64__)
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  place = (uintptr_t)registers[REG_RIP];
  registers[REG_RIP] = (greg_t)land;
  registers[REG_RSP] = (greg_t)(top - 8);  // as behind a call
#elif defined(__linux__) && defined(__aarch64__)
  auto& registers = ((ucontext_t*)context)->uc_mcontext;
  place = registers.pc;
  registers.pc = (uintptr_t)land;
  registers.sp = top;
#elif defined(__APPLE__) && defined(__x86_64__)
  auto& registers = ((ucontext_t*)context)->uc_mcontext->__ss;
  place = registers.__rip;
  registers.__rip = (uintptr_t)land;
  registers.__rsp = top - 8;
#elif defined(__APPLE__) && defined(__aarch64__)
  auto& registers = ((ucontext_t*)context)->uc_mcontext->__ss;
  place = registers.__pc;
  registers.__pc = (uintptr_t)land;
  registers.__sp = top;
#else
#error "say where the registers of an interrupted thread are on this system"
#endif
  return (const void*)place;
}

void on_signal(int number, siginfo_t* information, void* context) {
  if (state.current < 0) {  // not the kernel's doing: as if this were not here
    catch_signals(false);
    raise(number);
    return;
  }
  // Behind a return address stands the next instruction; this is the one itself.
  const char* place = (const char*)exchange_place(context);
  find_at_pc("crash", place + 1, "%s at 0x%llx, thread %d of group %u",
             strsignal(number), (unsigned long long)(uintptr_t)information->si_addr,
             state.current, state.group);
}

}  // namespace

void catch_signals(bool on) {
  if (!on) {
    for (int i = 0; i < kCount; i++) sigaction(kSignals[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
    return;
  }
  stack_t stack = {};
  stack.ss_sp = handler_stack;
  stack.ss_size = sizeof handler_stack;
  sigaltstack(&stack, &stack_before);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int i = 0; i < kCount; i++) sigaction(kSignals[i], &action, &before[i]);
}

}  // namespace emulator
