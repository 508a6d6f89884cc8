// Stands in for <metal_stdlib>: Metal kernel text compiles as C++17 behind this header.
//
// Written from the public Metal Shading Language specification. Address spaces are not
// checked here (the words vanish) but by the type check, with a compiler that knows them.
#pragma once

#define __METAL__ 1
#define __METAL_VERSION__ 320

#include "atomics.h"
#include "functions.h"
#include "groups.h"
#include "numbers.h"
#include "vectors.h"

namespace metal {

// Bytes of one shadow cell of a threadgroup variable: its scalar.
template <class T>
struct emu_cell {
  static constexpr unsigned bytes = emu_is_scalar<T> ? sizeof(T)
                                    : alignof(T) >= 4 ? 4 : alignof(T);
};
template <class T, int N>
struct emu_cell<vec<T, N>> : emu_cell<T> {};
template <class T>
struct emu_cell<atomic<T>> : emu_cell<T> {};
template <class T, ::size_t N>
struct emu_cell<T[N]> : emu_cell<T> {};

}  // namespace metal

// An index of a private array; see arrays.py.
template <::size_t Bound, class I>
EMU_INLINE I emu_index(I index, EMU_LINE) {
  if ((::size_t)index >= Bound) emu_array_index((long long)index, line);
  return index;
}

using namespace metal;

// Some C++ libraries bring C's along.
#undef INFINITY
#undef NAN
#undef FLT_MAX
#undef FLT_EPSILON
#define INFINITY __builtin_huge_valf()
#define NAN __builtin_nanf("")
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_SQRT2_F 1.41421356237309504880f
#define FLT_MAX 3.40282346638528859812e38f
#define FLT_EPSILON 1.1920928955078125e-7f

// What MLX's preamble adds and kernels use: the same names and meaning, own code.
#define METAL_FUNC inline
#define MTL_CONST static constexpr const
#define MLX_MTL_PRAGMA_UNROLL

struct complex64_t {
  float real, imag;
  complex64_t() = default;
  EMU_INLINE complex64_t(float r, float i) : real(r), imag(i) {}
  EMU_INLINE explicit complex64_t(float r) : real(r), imag(0.0f) {}
};
EMU_INLINE complex64_t operator+(complex64_t a, complex64_t b) {
  return {a.real + b.real, a.imag + b.imag};
}
EMU_INLINE complex64_t operator-(complex64_t a, complex64_t b) {
  return {a.real - b.real, a.imag - b.imag};
}
EMU_INLINE complex64_t operator-(complex64_t a) { return {-a.real, -a.imag}; }
EMU_INLINE complex64_t operator*(complex64_t a, complex64_t b) {
  return {a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real};
}
template <class T, class U>
EMU_INLINE T ceildiv(T value, U by) { return (value + by - 1) / by; }
template <class Index = int64_t>
EMU_INLINE Index elem_to_loc(Index element, const int* shape, const int64_t* strides,
                             int dimensions) {
  Index place = 0;
  for (int i = dimensions - 1; i >= 0 && element > 0; i--) {
    place += (Index)(element % shape[i]) * (Index)strides[i];
    element /= shape[i];
  }
  return place;
}

// Last: the C++ headers above must not see these.
#define constant
#define device
#define kernel
#define thread
#define threadgroup
