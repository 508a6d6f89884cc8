// Mathematics, bits and comparisons of Metal's standard library.
//
// Built-in functions of the compiler are called, not <math.h>: a name that Metal does not
// have must not be found by accident.
#pragma once

#include "vectors.h"

namespace metal {

using std::conditional_t;
using std::enable_if;
using std::enable_if_t;
using std::is_convertible_v;
using std::is_integral_v;
using std::is_same;
using std::is_same_v;
typedef ::size_t size_t;

template <class To, class From>
EMU_INLINE To as_type(const From& from) {
  return emu_bits<To>(from);
}

#define EMU_UNARY(name, expression)                                          \
  template <class T, emu_if_float<T> = 0>                                    \
  EMU_INLINE T name(T value) {                                               \
    float x = (float)value;                                                  \
    return T(expression);                                                    \
  }                                                                          \
  template <class A, emu_if_float_vector<A> = 0>                             \
  EMU_INLINE emu_vector_of<A> name(const A& a_) {                            \
    emu_vector_of<A> a = a_, r;                                              \
    EMU_EACH(i, emu_vector<A>::size) r.data[i] = name(a.data[i]);            \
    return r;                                                                \
  }
#define EMU_BINARY(name, expression)                                         \
  template <class T, emu_if_float<T> = 0>                                    \
  EMU_INLINE T name(T first, T second) {                                     \
    float x = (float)first, y = (float)second;                               \
    return T(expression);                                                    \
  }
#define EMU_MATHEMATICS                                                      \
  EMU_UNARY(exp, __builtin_expf(x))                                          \
  EMU_UNARY(exp2, __builtin_exp2f(x))                                        \
  EMU_UNARY(exp10, __builtin_powf(10.0f, x))                                 \
  EMU_UNARY(log, __builtin_logf(x))                                          \
  EMU_UNARY(log2, __builtin_log2f(x))                                        \
  EMU_UNARY(log10, __builtin_log10f(x))                                      \
  EMU_UNARY(sin, __builtin_sinf(x))                                          \
  EMU_UNARY(cos, __builtin_cosf(x))                                          \
  EMU_UNARY(tan, __builtin_tanf(x))                                          \
  EMU_UNARY(sinpi, __builtin_sinf(3.14159265358979f * x))                    \
  EMU_UNARY(cospi, __builtin_cosf(3.14159265358979f * x))                    \
  EMU_UNARY(asin, __builtin_asinf(x))                                        \
  EMU_UNARY(acos, __builtin_acosf(x))                                        \
  EMU_UNARY(atan, __builtin_atanf(x))                                        \
  EMU_UNARY(sinh, __builtin_sinhf(x))                                        \
  EMU_UNARY(cosh, __builtin_coshf(x))                                        \
  EMU_UNARY(tanh, __builtin_tanhf(x))                                        \
  EMU_UNARY(sqrt, __builtin_sqrtf(x))                                        \
  EMU_UNARY(rsqrt, 1.0f / __builtin_sqrtf(x))                                \
  EMU_UNARY(floor, __builtin_floorf(x))                                      \
  EMU_UNARY(ceil, __builtin_ceilf(x))                                        \
  EMU_UNARY(round, __builtin_roundf(x))                                      \
  EMU_UNARY(rint, __builtin_rintf(x))                                        \
  EMU_UNARY(trunc, __builtin_truncf(x))                                      \
  EMU_UNARY(fabs, __builtin_fabsf(x))                                        \
  EMU_UNARY(fract, x - __builtin_floorf(x))                                  \
  EMU_BINARY(pow, __builtin_powf(x, y))                                      \
  EMU_BINARY(powr, __builtin_powf(x, y))                                     \
  EMU_BINARY(atan2, __builtin_atan2f(x, y))                                  \
  EMU_BINARY(fmod, __builtin_fmodf(x, y))                                    \
  EMU_BINARY(fmin, __builtin_fminf(x, y))                                    \
  EMU_BINARY(fmax, __builtin_fmaxf(x, y))                                    \
  EMU_BINARY(copysign, __builtin_copysignf(x, y))                            \
  template <class T, emu_if_float<T> = 0>                                    \
  EMU_INLINE T sincos(T x, T& cosine) {                                      \
    cosine = T(__builtin_cosf((float)x));                                    \
    return T(__builtin_sinf((float)x));                                      \
  }                                                                          \
  template <class T, emu_if_float<T> = 0>                                    \
  EMU_INLINE T fma(T a, T b, T c) {                                          \
    return T(__builtin_fmaf((float)a, (float)b, (float)c));                  \
  }                                                                          \
  template <class A, emu_if_float_vector<A> = 0>                             \
  EMU_INLINE emu_vector_of<A> fma(const A& a_, const emu_vector_of<A>& b,    \
                                  const emu_vector_of<A>& c) {               \
    emu_vector_of<A> a = a_, r;                                              \
    EMU_EACH(i, emu_vector<A>::size)                                         \
    r.data[i] = fma(a.data[i], b.data[i], c.data[i]);                        \
    return r;                                                                \
  }
EMU_MATHEMATICS
EMU_UNARY(saturate, x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x)
EMU_UNARY(sign, (float)((x > 0.0f) - (x < 0.0f)))
namespace fast {
EMU_MATHEMATICS
}
namespace precise {
EMU_MATHEMATICS
}
#undef EMU_MATHEMATICS
#undef EMU_BINARY
#undef EMU_UNARY

template <class T, emu_if_float<T> = 0>
EMU_INLINE bool isnan(T x) { return (float)x != (float)x; }
template <class T, emu_if_float<T> = 0>
EMU_INLINE bool isinf(T x) {
  return __builtin_fabsf((float)x) == __builtin_huge_valf();
}
template <class T, emu_if_float<T> = 0>
EMU_INLINE bool isfinite(T x) { return !isnan(x) && !isinf(x); }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T min(T a, T b) { return b < a ? b : a; }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T max(T a, T b) { return a < b ? b : a; }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T clamp(T x, T low, T high) { return min(max(x, low), high); }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T abs(T x) { return x < T(0) ? T(-x) : x; }
template <class T>
EMU_INLINE T select(T if_false, T if_true, bool choice) {
  return choice ? if_true : if_false;
}
template <class T, emu_if_float<T> = 0>
EMU_INLINE T mix(T a, T b, T t) { return a + (b - a) * t; }
template <class A, emu_if_vector<A> = 0>
EMU_INLINE emu_element<A> dot(const A& a_, const emu_vector_of<A>& b) {
  emu_vector_of<A> a = a_;
  emu_element<A> sum = a.data[0] * b.data[0];
  for (int i = 1; i < emu_vector<A>::size; i++) sum = sum + a.data[i] * b.data[i];
  return sum;
}
template <class A, emu_if_float_vector<A> = 0>
EMU_INLINE emu_element<A> length(const A& a) { return sqrt(dot(a, a)); }

template <class T, emu_if_integer<T> = 0>
EMU_INLINE T popcount(T x) {
  return (T)__builtin_popcountll((std::make_unsigned_t<T>)x);
}
template <class T, emu_if_integer<T> = 0>
EMU_INLINE T clz(T x) {
  constexpr int width = sizeof(T) * 8;
  std::make_unsigned_t<T> bits = (std::make_unsigned_t<T>)x;
  return bits ? (T)(__builtin_clzll(bits) - (64 - width)) : (T)width;
}
template <class T, emu_if_integer<T> = 0>
EMU_INLINE T ctz(T x) {
  std::make_unsigned_t<T> bits = (std::make_unsigned_t<T>)x;
  return bits ? (T)__builtin_ctzll(bits) : (T)(sizeof(T) * 8);
}
template <class T, emu_if_integer<T> = 0>
EMU_INLINE T reverse_bits(T x) {
  std::make_unsigned_t<T> left = (std::make_unsigned_t<T>)x, reversed = 0;
  for (unsigned i = 0; i < sizeof(T) * 8; i++, left >>= 1)
    reversed = (std::make_unsigned_t<T>)(reversed << 1 | (left & 1));
  return (T)reversed;
}
template <class T, emu_if_integer<T> = 0>
EMU_INLINE T extract_bits(T x, uint offset, uint bits) {
  return bits >= sizeof(T) * 8 ? x : (T)(x >> offset & (((T)1 << bits) - 1));
}
EMU_INLINE uint mulhi(uint a, uint b) { return (uint)((uint64_t)a * b >> 32); }

}  // namespace metal
