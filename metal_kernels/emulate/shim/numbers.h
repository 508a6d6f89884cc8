// half and bfloat as classes that round to nearest even after every operation.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <limits>
#include <type_traits>
#include <utility>

// Lines are those of the kernel: clang can leave out the ones of this library itself.
#if defined(__clang__)
#define EMU_INLINE inline __attribute__((always_inline, nodebug))
#else
#define EMU_INLINE inline __attribute__((always_inline))
#endif

namespace emu_std = std;

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

namespace metal {

template <class To, class From>
EMU_INLINE To emu_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "types of one size");
  To to;
  __builtin_memcpy((void*)&to, (const void*)&from, sizeof to);
  return to;
}

EMU_INLINE uint16_t emu_float_to_half(float value) {
  uint32_t bits = emu_bits<uint32_t>(value);
  uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);   // not a number
  if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);  // rounds to infinity
  if (size < 0x38800000) {                                   // subnormal, or zero
    // Adding 0.5 leaves the 10 bits of the half at the low end, rounded by the addition.
    float shifted = emu_bits<float>(size) + 0.5f;
    return (uint16_t)(sign | (emu_bits<uint32_t>(shifted) - 0x3f000000));
  }
  uint32_t rounded = size - 0x38000000 + 0xfff + (size >> 13 & 1);
  return (uint16_t)(sign | rounded >> 13);
}

EMU_INLINE float emu_half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
  uint32_t fraction = half & 0x3ff;
  if (exponent == 31) return emu_bits<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent) return emu_bits<float>(sign | (exponent + 112) << 23 | fraction << 13);
  return emu_bits<float>(sign | emu_bits<uint32_t>((float)fraction * 0x1p-24f));
}

EMU_INLINE uint16_t emu_float_to_bfloat(float value) {
  uint32_t bits = emu_bits<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class T>
using emu_if_integer = std::enable_if_t<std::is_integral<T>::value, int>;

struct bfloat;

struct half {
  uint16_t bits;
  half() = default;
  EMU_INLINE half(float value) : bits(emu_float_to_half(value)) {}
  template <class T, emu_if_integer<T> = 0>
  EMU_INLINE half(T value) : half((float)value) {}
  EMU_INLINE explicit half(bfloat value);
  EMU_INLINE operator float() const { return emu_half_to_float(bits); }
};

struct bfloat {
  uint16_t bits;
  bfloat() = default;
  // Metal converts to bfloat only when asked.
  EMU_INLINE explicit bfloat(float value) : bits(emu_float_to_bfloat(value)) {}
  EMU_INLINE explicit bfloat(half value) : bfloat((float)value) {}
  template <class T, emu_if_integer<T> = 0>
  EMU_INLINE explicit bfloat(T value) : bfloat((float)value) {}
  EMU_INLINE operator float() const { return emu_bits<float>((uint32_t)bits << 16); }
};

EMU_INLINE half::half(bfloat value) : half((float)value) {}

// Two small numbers give a small one, one of them and a float give a float.
#define EMU_ARITHMETIC(T, op)                                                     \
  EMU_INLINE T operator op(T a, T b) { return T((float)a op(float) b); }          \
  EMU_INLINE float operator op(T a, float b) { return (float)a op b; }            \
  EMU_INLINE float operator op(float a, T b) { return a op(float) b; }            \
  template <class I, emu_if_integer<I> = 0>                                       \
  EMU_INLINE T operator op(T a, I b) { return T((float)a op(float) T(b)); }       \
  template <class I, emu_if_integer<I> = 0>                                       \
  EMU_INLINE T operator op(I a, T b) { return T((float)T(a) op(float) b); }       \
  EMU_INLINE T& operator op##=(T & a, T b) { return a = T((float)a op(float) b); }
#define EMU_ALL(T) \
  EMU_ARITHMETIC(T, +) EMU_ARITHMETIC(T, -) EMU_ARITHMETIC(T, *) EMU_ARITHMETIC(T, /)
EMU_ALL(half)
EMU_ALL(bfloat)
#undef EMU_ALL
#undef EMU_ARITHMETIC
// half += float converts back by itself; bfloat += float does not compile, as in Metal.
EMU_INLINE half& operator+=(half& a, float b) { return a = half((float)a + b); }
EMU_INLINE half& operator-=(half& a, float b) { return a = half((float)a - b); }
EMU_INLINE half& operator*=(half& a, float b) { return a = half((float)a * b); }
EMU_INLINE half& operator/=(half& a, float b) { return a = half((float)a / b); }

EMU_INLINE half operator-(half a) { a.bits ^= 0x8000; return a; }
EMU_INLINE bfloat operator-(bfloat a) { a.bits ^= 0x8000; return a; }

template <class T>
constexpr bool emu_is_float = std::is_same<T, float>::value ||
                              std::is_same<T, half>::value ||
                              std::is_same<T, bfloat>::value;
template <class T>
constexpr bool emu_is_scalar = std::is_integral<T>::value || emu_is_float<T>;
template <class T>
using emu_if_float = std::enable_if_t<emu_is_float<T>, int>;
template <class T>
using emu_if_scalar = std::enable_if_t<emu_is_scalar<T>, int>;

template <class T>
struct numeric_limits : std::numeric_limits<T> {};
#define EMU_LIMITS(T, largest, smallest, step)                                 \
  template <>                                                                  \
  struct numeric_limits<T> {                                                   \
    static constexpr bool is_specialized = true, has_infinity = true;          \
    static T from(uint16_t bits) { T value; value.bits = bits; return value; } \
    static T max() { return from(largest); }                                   \
    static T lowest() { return from((largest) | 0x8000); }                     \
    static T min() { return from(smallest); }                                  \
    static T epsilon() { return from(step); }                                  \
    static T infinity() { return from((largest) + 1); }                        \
    static T quiet_NaN() { return from(0x7fff); }                              \
  };
EMU_LIMITS(half, 0x7bff, 0x0400, 0x1400)
EMU_LIMITS(bfloat, 0x7f7f, 0x0080, 0x3c00)
#undef EMU_LIMITS

}  // namespace metal

typedef metal::half half;
typedef metal::bfloat bfloat;
typedef half float16_t;
typedef bfloat bfloat16_t;
EMU_INLINE half operator""_emu_half(long double value) { return half((float)value); }
EMU_INLINE bfloat operator""_emu_bfloat(long double value) {
  return bfloat((float)value);
}
