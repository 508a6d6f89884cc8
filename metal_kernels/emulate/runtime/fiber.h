// Switching between stacks: the registers that a call must keep, and the stack pointer.
#pragma once

#include <stdint.h>
#include <string.h>

extern "C" void emu_switch(void** save_here, void* continue_there);

#if defined(__APPLE__)
#define EMU_SYMBOL "_emu_switch"
#else
#define EMU_SYMBOL "emu_switch"
#endif

#if defined(__x86_64__)

// System V: rbx, rbp, r12 to r15 belong to the caller.
asm(".text\n.globl " EMU_SYMBOL "\n" EMU_SYMBOL ":\n"
    R"(
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

// A stack that starts `function` when it is switched to.
inline void* emu_new_stack(char* top, void (*function)()) {
  void** pointer = (void**)((uintptr_t)top & ~(uintptr_t)15);
  *--pointer = nullptr;  // the return address that a call would have left
  *--pointer = (void*)function;
  for (int saved = 0; saved < 6; saved++) *--pointer = nullptr;
  return pointer;
}

#elif defined(__aarch64__)

// AAPCS64: x19 to x30 and the low halves of v8 to v15 belong to the caller. Written with
// care, not run: the machine that this was made on is x86-64.
asm(".text\n.p2align 2\n.globl " EMU_SYMBOL "\n" EMU_SYMBOL ":\n"
    R"(
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");

inline void* emu_new_stack(char* top, void (*function)()) {
  uint64_t* pointer = (uint64_t*)(((uintptr_t)top & ~(uintptr_t)15) - 160);
  memset(pointer, 0, 160);
  pointer[11] = (uint64_t)function;  // x30, where `ret` goes
  return pointer;
}

#else
#error "write a switch of stacks for this processor"
#endif
