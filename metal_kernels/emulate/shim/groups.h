// Barriers, SIMD-group functions, 8x8 matrices held by a SIMD group.
#pragma once

#include "../runtime/emulator.h"
#include "functions.h"

// The line of the call tells one operation from another.
#define EMU_LINE int line = __builtin_LINE()

namespace metal {

enum class mem_flags : unsigned {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
};
EMU_INLINE mem_flags operator|(mem_flags a, mem_flags b) {
  return (mem_flags)((unsigned)a | (unsigned)b);
}
EMU_INLINE void threadgroup_barrier(mem_flags fences, EMU_LINE) {
  emu_threadgroup_barrier((unsigned)fences, line);
}
EMU_INLINE void simdgroup_barrier(mem_flags fences, EMU_LINE) {
  emu_simdgroup_barrier((unsigned)fences, line);
}

// What the 32 lanes handed in.
template <class T>
struct emu_lanes {
  const char* slots;
  uint32_t active;
  EMU_INLINE bool has(unsigned lane) const { return lane < 32 && active >> lane & 1; }
  EMU_INLINE T at(unsigned lane) const {
    T value;
    __builtin_memcpy((void*)&value, slots + 64 * lane, sizeof value);
    return value;
  }
  // Reading a lane that is not there is undefined on a GPU: all ones, which is NaN.
  EMU_INLINE T at_or_poison(unsigned lane) const {
    if (has(lane)) return at(lane);
    T poison;
    __builtin_memset((void*)&poison, 0xff, sizeof poison);
    return poison;
  }
};
template <class T>
EMU_INLINE emu_lanes<T> emu_share(const T& value, int operation, int line) {
  static_assert(sizeof(T) <= 64, "a slot holds 64 bytes");
  emu_lanes<T> lanes;
  lanes.slots = (const char*)emu_exchange(&value, sizeof value, operation, line,
                                          &lanes.active);
  return lanes;
}

// A GPU adds in an order of its own; here it is that of a tree.
template <class T, class Join>
EMU_INLINE T emu_reduce(const T& value, int operation, int line, Join join) {
  emu_lanes<T> lanes = emu_share(value, operation, line);
  T values[32];
  bool has[32];
  for (unsigned i = 0; i < 32; i++) {
    has[i] = lanes.has(i);
    if (has[i]) values[i] = lanes.at(i);
  }
  for (unsigned half_width = 16; half_width; half_width /= 2)
    for (unsigned i = 0; i < half_width; i++) {
      if (!has[i + half_width]) continue;
      values[i] = has[i] ? join(values[i], values[i + half_width])
                         : values[i + half_width];
      has[i] = true;
    }
  return values[0];
}
#define EMU_REDUCTION(name, number, expression)                                 \
  template <class T>                                                            \
  EMU_INLINE T name(T value, EMU_LINE) {                                        \
    return emu_reduce(value, number, line, [](T a, T b) { return expression; }); \
  }
EMU_REDUCTION(simd_sum, 1, T(a + b))
EMU_REDUCTION(simd_product, 2, T(a * b))
EMU_REDUCTION(simd_max, 3, a < b ? b : a)
EMU_REDUCTION(simd_min, 4, b < a ? b : a)
EMU_REDUCTION(simd_and, 5, T(a & b))
EMU_REDUCTION(simd_or, 6, T(a | b))
EMU_REDUCTION(simd_xor, 7, T(a ^ b))
#undef EMU_REDUCTION
EMU_INLINE bool simd_all(bool value, EMU_LINE) {
  return emu_reduce(value, 8, line, [](bool a, bool b) { return a && b; });
}
EMU_INLINE bool simd_any(bool value, EMU_LINE) {
  return emu_reduce(value, 9, line, [](bool a, bool b) { return a || b; });
}
EMU_INLINE bool simd_is_first(EMU_LINE) {
  return (unsigned)__builtin_ctz(emu_share(0, 10, line).active) == emu_lane();
}
template <class T>
EMU_INLINE T simd_prefix_inclusive_sum(T value, EMU_LINE) {
  emu_lanes<T> lanes = emu_share(value, 11, line);
  T sum = T(0);
  for (unsigned i = 0; i <= emu_lane(); i++)
    if (lanes.has(i)) sum = sum + lanes.at(i);
  return sum;
}
template <class T>
EMU_INLINE T simd_prefix_exclusive_sum(T value, EMU_LINE) {
  emu_lanes<T> lanes = emu_share(value, 12, line);
  T sum = T(0);
  for (unsigned i = 0; i < emu_lane(); i++)
    if (lanes.has(i)) sum = sum + lanes.at(i);
  return sum;
}
template <class T>
EMU_INLINE T simd_broadcast_first(T value, EMU_LINE) {
  emu_lanes<T> lanes = emu_share(value, 13, line);
  return lanes.at((unsigned)__builtin_ctz(lanes.active));
}
#define EMU_SHUFFLE_FUNCTION(name, number, source)                 \
  template <class T>                                               \
  EMU_INLINE T name(T value, ushort by, EMU_LINE) {                \
    unsigned lane = emu_lane();                                    \
    (void)lane;                                                    \
    return emu_share(value, number, line).at_or_poison(source);    \
  }
EMU_SHUFFLE_FUNCTION(simd_broadcast, 14, by)
EMU_SHUFFLE_FUNCTION(simd_shuffle, 15, by)
EMU_SHUFFLE_FUNCTION(simd_shuffle_xor, 16, lane ^ by)
EMU_SHUFFLE_FUNCTION(simd_shuffle_up, 17, lane - (unsigned)by)
EMU_SHUFFLE_FUNCTION(simd_shuffle_down, 18, lane + by)
EMU_SHUFFLE_FUNCTION(simd_shuffle_rotate_up, 19, (lane - (unsigned)by) & 31)
EMU_SHUFFLE_FUNCTION(simd_shuffle_rotate_down, 20, (lane + by) & 31)
#undef EMU_SHUFFLE_FUNCTION

// Each lane holds two neighbours of one row. The places are those that MLX's own matrix
// kernels rely on.
EMU_INLINE unsigned emu_row(unsigned lane) { return (lane >> 2 & 4) + (lane >> 1 & 3); }
EMU_INLINE unsigned emu_column(unsigned lane) {
  return (lane >> 1 & 4) + (lane & 1) * 2;
}
EMU_INLINE unsigned emu_holder(unsigned row, unsigned column) {
  return (row & 4) << 2 | (column & 4) << 1 | (row & 3) << 1 | (column & 3) >> 1;
}

template <class T, int Columns, int Rows>
struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8 && emu_is_float<T>,
                "simdgroup_matrix is 8x8, of float, half or bfloat");
  vec<T, 2> held;
  EMU_INLINE simdgroup_matrix() {  // what was never set is NaN
    __builtin_memset((void*)&held, 0xff, sizeof held);
  }
  EMU_INLINE explicit simdgroup_matrix(T diagonal) {
    for (unsigned i = 0; i < 2; i++)
      held.data[i] = emu_row(emu_lane()) == emu_column(emu_lane()) + i ? diagonal : T(0);
  }
  EMU_INLINE vec<T, 2>& thread_elements() { return held; }
  EMU_INLINE const vec<T, 2>& thread_elements() const { return held; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int Columns, int Rows = Columns>
EMU_INLINE simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, Columns, Rows> matrix;
  matrix.held = vec<T, 2>(value, value);
  return matrix;
}
EMU_INLINE ulong emu_offset(unsigned i, ulong stride, ulong2 origin, bool transpose) {
  unsigned row = emu_row(emu_lane()), column = emu_column(emu_lane()) + i;
  if (transpose) std::swap(row, column);
  return (origin.y + row) * stride + origin.x + column;
}
template <class T>
EMU_INLINE void simdgroup_load(simdgroup_matrix<T, 8, 8>& matrix, const T* from,
                               ulong stride = 8, ulong2 origin = ulong2(0),
                               bool transpose = false, EMU_LINE) {
  emu_share(0, 30, line);
  for (unsigned i = 0; i < 2; i++)
    matrix.held.data[i] = from[emu_offset(i, stride, origin, transpose)];
}
template <class T>
EMU_INLINE void simdgroup_store(const simdgroup_matrix<T, 8, 8>& matrix, T* to,
                                ulong stride = 8, ulong2 origin = ulong2(0),
                                bool transpose = false, EMU_LINE) {
  emu_share(0, 31, line);
  for (unsigned i = 0; i < 2; i++)
    to[emu_offset(i, stride, origin, transpose)] = matrix.held.data[i];
}
// d = a b + c, added up in float. All 32 lanes must be there.
template <class D, class A, class B, class C>
EMU_INLINE void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d,
                                              const simdgroup_matrix<A, 8, 8>& a,
                                              const simdgroup_matrix<B, 8, 8>& b,
                                              const simdgroup_matrix<C, 8, 8>& c,
                                              EMU_LINE) {
  struct Both { float a[2], b[2]; };
  Both mine = {{(float)a.held.data[0], (float)a.held.data[1]},
               {(float)b.held.data[0], (float)b.held.data[1]}};
  emu_lanes<Both> lanes = emu_share(mine, 32, line);
  unsigned row = emu_row(emu_lane()), column = emu_column(emu_lane());
  float sum[2] = {(float)c.held.data[0], (float)c.held.data[1]};
  for (unsigned k = 0; k < 8; k++) {
    float left = lanes.at_or_poison(emu_holder(row, k)).a[k & 1];
    Both right = lanes.at_or_poison(emu_holder(k, column));
    for (unsigned i = 0; i < 2; i++)
      sum[i] = __builtin_fmaf(left, right.b[i], sum[i]);
  }
  d.held = vec<D, 2>(D(sum[0]), D(sum[1]));
  if (emu_lane() == 0) emu_matrix_product();
}
template <class D, class A, class B>
EMU_INLINE void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d,
                                   const simdgroup_matrix<A, 8, 8>& a,
                                   const simdgroup_matrix<B, 8, 8>& b, EMU_LINE) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<D, 8>(D(0)), line);
}

}  // namespace metal
