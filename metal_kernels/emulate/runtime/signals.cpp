// A kernel that crashes ends its launch, not the process.
//
// With checks on, accesses are refused before they happen; what is left are stacks that
// run over, divisions that overflow, and fast mode, which checks nothing.
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "state.h"

namespace emulator {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr int kCount = sizeof kSignals / sizeof kSignals[0];
struct sigaction before[kCount];
stack_t stack_before;
// The stack of the thread may be what has run over, so the handler has its own.
alignas(16) char handler_stack[128 << 10];

const void* place_of(void* context) {
#if defined(__linux__) && defined(__x86_64__)
  return (const void*)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__linux__) && defined(__aarch64__)
  return (const void*)((ucontext_t*)context)->uc_mcontext.pc;
#else
  (void)context;
  return nullptr;
#endif
}

void on_signal(int number, siginfo_t* information, void* context) {
  if (state.current < 0) {  // not the kernel's doing: as if this were not here
    catch_signals(false);
    raise(number);
    return;
  }
  // Behind a return address stands the next instruction; this is the one itself.
  const char* place = (const char*)place_of(context);
  find_at_pc("crash", place ? place + 1 : nullptr,
             "%s at 0x%llx, thread %d of group %u", strsignal(number),
             (unsigned long long)(uintptr_t)information->si_addr, state.current,
             state.group);
  stop_launch();  // leaves this stack for good
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
  // The handler does not return, so its signal must not stay blocked.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int i = 0; i < kCount; i++) sigaction(kSignals[i], &action, &before[i]);
}

}  // namespace emulator
