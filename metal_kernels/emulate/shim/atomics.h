// Atomic operations, relaxed only, as in Metal. One CPU thread runs all: a plain load and
// store are atomic here; the runtime is told so that it sees no race.
#pragma once

#include "../runtime/emulator.h"
#include "vectors.h"

namespace metal {

template <class T>
struct atomic {
  T value;
  atomic() = default;
  atomic(const atomic&) = delete;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<float> atomic_float;
typedef atomic<bool> atomic_bool;
enum memory_order { memory_order_relaxed };

#define EMU_UNCHECKED __attribute__((noinline, no_sanitize("thread")))
template <class T>
EMU_UNCHECKED T emu_load(const T* from) { return *from; }
template <class T>
EMU_UNCHECKED void emu_store(T* to, T value) { *to = value; }

template <class T>
EMU_INLINE T atomic_load_explicit(const atomic<T>* at, memory_order) {
  emu_atomic(at, sizeof(T), EMU_ATOMIC_LOAD);
  return emu_load(&at->value);
}
template <class T, class U>
EMU_INLINE void atomic_store_explicit(atomic<T>* at, U value, memory_order) {
  emu_atomic(at, sizeof(T), EMU_ATOMIC_STORE);
  emu_store(&at->value, (T)value);
}
template <class T, class U>
EMU_INLINE T atomic_exchange_explicit(atomic<T>* at, U value, memory_order) {
  emu_atomic(at, sizeof(T), EMU_ATOMIC_UPDATE);
  T before = emu_load(&at->value);
  emu_store(&at->value, (T)value);
  return before;
}
template <class T, class U>
EMU_INLINE bool atomic_compare_exchange_weak_explicit(atomic<T>* at, T* expected,
                                                      U value, memory_order,
                                                      memory_order) {
  emu_atomic(at, sizeof(T), EMU_ATOMIC_UPDATE);
  T before = emu_load(&at->value);
  bool equal = before == *expected;
  if (equal) emu_store(&at->value, (T)value);
  else *expected = before;
  return equal;
}
#define EMU_FETCH(name, expression)                                                  \
  template <class T, class U>                                                        \
  EMU_INLINE T atomic_fetch_##name##_explicit(atomic<T>* at, U with, memory_order) { \
    emu_atomic(at, sizeof(T), EMU_ATOMIC_UPDATE);                                    \
    T before = emu_load(&at->value), value = (T)with;                                \
    emu_store(&at->value, (T)(expression));                                          \
    return before;                                                                   \
  }
EMU_FETCH(add, before + value)
EMU_FETCH(sub, before - value)
EMU_FETCH(max, before < value ? value : before)
EMU_FETCH(min, value < before ? value : before)
EMU_FETCH(and, before & value)
EMU_FETCH(or, before | value)
EMU_FETCH(xor, before ^ value)
#undef EMU_FETCH

}  // namespace metal
