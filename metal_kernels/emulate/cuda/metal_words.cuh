// Metal's vocabulary in CUDA C++17. A SIMD group is a warp: both have 32 lanes.
//
// vectors.h of the emulator is put where the marker stands; all this lies inside
// mlx::core::cu, where mx.fast.cuda_kernel compiles its kernels.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cuda/std/limits>
#include <cuda/std/type_traits>

#define EMU_INLINE __device__ __forceinline__
#define EMU_EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)
#define METAL_FUNC __device__ __forceinline__
#define MTL_CONST static constexpr const
#define MLX_MTL_PRAGMA_UNROLL _Pragma("unroll")
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_SQRT2_F 1.41421356237309504880f

namespace mlx {
namespace core {
namespace cu {

namespace emu_std = ::cuda::std;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long long ulong;
typedef ::__half half;
typedef ::__nv_bfloat16 bfloat;
typedef half float16_t;
typedef bfloat bfloat16_t;

namespace metal {

template <class T>
constexpr bool emu_is_float = emu_std::is_same<T, float>::value ||
                              emu_std::is_same<T, half>::value ||
                              emu_std::is_same<T, bfloat>::value;
template <class T>
constexpr bool emu_is_scalar = emu_std::is_integral<T>::value || emu_is_float<T>;
template <class T>
using emu_if_float = emu_std::enable_if_t<emu_is_float<T>, int>;
template <class T>
using emu_if_scalar = emu_std::enable_if_t<emu_is_scalar<T>, int>;

}  // namespace metal

EMU_VECTORS_GO_HERE

namespace metal {

using emu_std::conditional_t;
using emu_std::enable_if_t;
using emu_std::is_integral_v;
using emu_std::is_same_v;
using emu_std::numeric_limits;

template <class To, class From>
EMU_INLINE To as_type(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "types of one size");
  union { From from; To to; } both = {from};
  return both.to;
}

#define EMU_UNARY(name, expression)                                           \
  template <class T, emu_if_float<T> = 0>                                     \
  EMU_INLINE T name(T value) {                                                \
    float x = (float)value;                                                   \
    return T(expression);                                                     \
  }                                                                           \
  template <class A, emu_if_float_vector<A> = 0>                              \
  EMU_INLINE emu_vector_of<A> name(const A& a_) {                             \
    emu_vector_of<A> a = a_, r;                                               \
    EMU_EACH(i, emu_vector<A>::size) r.data[i] = name(a.data[i]);             \
    return r;                                                                 \
  }
#define EMU_BINARY(name, expression)                                          \
  template <class T, emu_if_float<T> = 0>                                     \
  EMU_INLINE T name(T first, T second) {                                      \
    float x = (float)first, y = (float)second;                                \
    return T(expression);                                                     \
  }
#define EMU_MATHEMATICS                                                       \
  EMU_UNARY(exp, ::expf(x)) EMU_UNARY(exp2, ::exp2f(x))                       \
  EMU_UNARY(exp10, ::exp10f(x)) EMU_UNARY(log, ::logf(x))                     \
  EMU_UNARY(log2, ::log2f(x)) EMU_UNARY(log10, ::log10f(x))                   \
  EMU_UNARY(sin, ::sinf(x)) EMU_UNARY(cos, ::cosf(x))                         \
  EMU_UNARY(tan, ::tanf(x)) EMU_UNARY(tanh, ::tanhf(x))                       \
  EMU_UNARY(sqrt, ::sqrtf(x)) EMU_UNARY(rsqrt, ::rsqrtf(x))                   \
  EMU_UNARY(floor, ::floorf(x)) EMU_UNARY(ceil, ::ceilf(x))                   \
  EMU_UNARY(round, ::roundf(x)) EMU_UNARY(rint, ::rintf(x))                   \
  EMU_UNARY(trunc, ::truncf(x)) EMU_UNARY(fabs, ::fabsf(x))                   \
  EMU_BINARY(pow, ::powf(x, y)) EMU_BINARY(atan2, ::atan2f(x, y))             \
  EMU_BINARY(fmod, ::fmodf(x, y)) EMU_BINARY(fmin, ::fminf(x, y))             \
  EMU_BINARY(fmax, ::fmaxf(x, y))                                             \
  template <class T, emu_if_float<T> = 0>                                     \
  EMU_INLINE T fma(T a, T b, T c) {                                           \
    return T(::fmaf((float)a, (float)b, (float)c));                           \
  }
EMU_MATHEMATICS
namespace fast {
EMU_MATHEMATICS
}
namespace precise {
EMU_MATHEMATICS
}

template <class T, emu_if_float<T> = 0>
EMU_INLINE bool isnan(T x) { return (float)x != (float)x; }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T min(T a, T b) { return b < a ? b : a; }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T max(T a, T b) { return a < b ? b : a; }
template <class T, emu_if_scalar<T> = 0>
EMU_INLINE T clamp(T x, T low, T high) { return min(max(x, low), high); }
template <class T>
EMU_INLINE T select(T if_false, T if_true, bool choice) {
  return choice ? if_true : if_false;
}
template <class A, emu_if_vector<A> = 0>
EMU_INLINE emu_element<A> dot(const A& a_, const emu_vector_of<A>& b) {
  emu_vector_of<A> a = a_;
  emu_element<A> sum = a.data[0] * b.data[0];
  EMU_EACH(i, emu_vector<A>::size - 1) sum = sum + a.data[i + 1] * b.data[i + 1];
  return sum;
}
EMU_INLINE uint reverse_bits(uint x) { return __brev(x); }
EMU_INLINE uint popcount(uint x) { return (uint)__popc((int)x); }
EMU_INLINE uint clz(uint x) { return (uint)__clz((int)x); }
EMU_INLINE uint ctz(uint x) { return x ? (uint)__ffs((int)x) - 1 : 32u; }
EMU_INLINE uint mulhi(uint a, uint b) { return __umulhi(a, b); }
EMU_INLINE uint extract_bits(uint x, uint offset, uint bits) {
  return bits >= 32 ? x : x >> offset & ((1u << bits) - 1);
}

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
EMU_INLINE mem_flags operator|(mem_flags a, mem_flags b) {
  return (mem_flags)((int)a | (int)b);
}
EMU_INLINE void threadgroup_barrier(mem_flags) { __syncthreads(); }
EMU_INLINE void simdgroup_barrier(mem_flags) { __syncwarp(); }

EMU_INLINE uint emu_lane() {
  uint lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}
constexpr unsigned emu_all_lanes = 0xffffffffu;
#define EMU_SHUFFLE(name, intrinsic)                                     \
  template <class T, emu_if_scalar<T> = 0>                               \
  EMU_INLINE T name(T value, ushort by) {                                \
    return intrinsic(emu_all_lanes, value, by);                          \
  }                                                                      \
  template <class A, emu_if_vector<A> = 0>                               \
  EMU_INLINE emu_vector_of<A> name(const A& value_, ushort by) {         \
    emu_vector_of<A> value = value_;                                     \
    EMU_EACH(i, emu_vector<A>::size)                                     \
    value.data[i] = intrinsic(emu_all_lanes, value.data[i], by);         \
    return value;                                                        \
  }
EMU_SHUFFLE(simd_shuffle, __shfl_sync)
EMU_SHUFFLE(simd_broadcast, __shfl_sync)
EMU_SHUFFLE(simd_shuffle_xor, __shfl_xor_sync)
EMU_SHUFFLE(simd_shuffle_up, __shfl_up_sync)
EMU_SHUFFLE(simd_shuffle_down, __shfl_down_sync)
#define EMU_REDUCTION(name, expression)                                  \
  template <class T>                                                     \
  EMU_INLINE T name(T a) {                                               \
    for (ushort by = 16; by; by /= 2) {                                  \
      T b = simd_shuffle_xor(a, by);                                     \
      a = expression;                                                    \
    }                                                                    \
    return a;                                                            \
  }
EMU_REDUCTION(simd_sum, a + b)
EMU_REDUCTION(simd_product, a * b)
EMU_REDUCTION(simd_max, a < b ? b : a)
EMU_REDUCTION(simd_min, b < a ? b : a)
EMU_INLINE bool simd_all(bool value) { return __all_sync(emu_all_lanes, value); }
EMU_INLINE bool simd_any(bool value) { return __any_sync(emu_all_lanes, value); }

// 8x8 matrices by shuffles: right, and slow. Tensor cores want other shapes.
EMU_INLINE uint emu_row(uint lane) { return (lane >> 2 & 4) + (lane >> 1 & 3); }
EMU_INLINE uint emu_column(uint lane) { return (lane >> 1 & 4) + (lane & 1) * 2; }
EMU_INLINE uint emu_holder(uint row, uint column) {
  return (row & 4) << 2 | (column & 4) << 1 | (row & 3) << 1 | (column & 3) >> 1;
}
template <class T, int Columns, int Rows>
struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "simdgroup_matrix is 8x8");
  vec<T, 2> held;
  simdgroup_matrix() = default;
  EMU_INLINE vec<T, 2>& thread_elements() { return held; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
template <class T, int Columns, int Rows = Columns>
EMU_INLINE simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, Columns, Rows> matrix;
  matrix.held = vec<T, 2>(value, value);
  return matrix;
}
template <class T>
EMU_INLINE void simdgroup_load(simdgroup_matrix<T, 8, 8>& matrix, const T* from,
                               ulong stride = 8, ulong2 origin = ulong2(0),
                               bool transpose = false) {
  EMU_EACH(i, 2) {
    uint row = emu_row(emu_lane()), column = emu_column(emu_lane()) + i;
    matrix.held.data[i] =
        transpose ? from[(origin.y + column) * stride + origin.x + row]
                  : from[(origin.y + row) * stride + origin.x + column];
  }
}
template <class T>
EMU_INLINE void simdgroup_store(const simdgroup_matrix<T, 8, 8>& matrix, T* to,
                                ulong stride = 8, ulong2 origin = ulong2(0),
                                bool transpose = false) {
  EMU_EACH(i, 2) {
    uint row = emu_row(emu_lane()), column = emu_column(emu_lane()) + i;
    to[transpose ? (origin.y + column) * stride + origin.x + row
                 : (origin.y + row) * stride + origin.x + column] =
        matrix.held.data[i];
  }
}
template <class D, class A, class B, class C>
EMU_INLINE void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d,
                                              const simdgroup_matrix<A, 8, 8>& a,
                                              const simdgroup_matrix<B, 8, 8>& b,
                                              const simdgroup_matrix<C, 8, 8>& c) {
  uint row = emu_row(emu_lane()), column = emu_column(emu_lane());
  float sum[2] = {(float)c.held.data[0], (float)c.held.data[1]};
  EMU_EACH(k, 8) {
    uint from = emu_holder(row, k), below = emu_holder(k, column);
    float left = __shfl_sync(emu_all_lanes, (float)a.held.data[k & 1], from);
    EMU_EACH(i, 2)
    sum[i] = ::fmaf(left, __shfl_sync(emu_all_lanes, (float)b.held.data[i], below),
                    sum[i]);
  }
  d.held = vec<D, 2>(D(sum[0]), D(sum[1]));
}
template <class D, class A, class B>
EMU_INLINE void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d,
                                   const simdgroup_matrix<A, 8, 8>& a,
                                   const simdgroup_matrix<B, 8, 8>& b) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<D, 8>(D(0.0f)));
}

// MLX passes plain pointers on CUDA, so an atomic is what it points to.
template <class T>
using atomic = T;
enum memory_order { memory_order_relaxed };
template <class T>
EMU_INLINE T atomic_fetch_add_explicit(T* at, T value, memory_order) {
  return atomicAdd(at, value);
}

template <class T, class U>
EMU_INLINE T ceildiv(T value, U by) { return (value + by - 1) / by; }

}  // namespace metal
using namespace metal;

}  // namespace cu
}  // namespace core
}  // namespace mlx
