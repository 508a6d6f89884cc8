// The vocabulary of Metal as declarations only, with address spaces that are real.
//
// Clang keeps `device`, `constant` and `threadgroup` apart as Apple's compiler (a clang
// too) does. The numbers are those in code that Apple's compiler makes: device 1,
// constant 2, threadgroup 3. Nothing here is ever run.
#pragma once

typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned long size_t;
typedef _Float16 half;
typedef __bf16 bfloat;
typedef half float16_t;
typedef bfloat bfloat16_t;

#define __METAL__ 1
#define __METAL_VERSION__ 320
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
#define thread
#define kernel

constexpr half operator""_emu_half(long double value) { return (half)value; }
constexpr bfloat operator""_emu_bfloat(long double value) { return (bfloat)value; }

namespace metal {

typedef ::half half;
typedef ::bfloat bfloat;
typedef ::size_t size_t;

template <bool, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool Condition, class T = void>
using enable_if_t = typename enable_if<Condition, T>::type;
template <bool, class A, class> struct emu_choice { typedef A type; };
template <class A, class B> struct emu_choice<false, A, B> { typedef B type; };
template <bool Condition, class A, class B>
using conditional_t = typename emu_choice<Condition, A, B>::type;
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> constexpr bool is_same_v = is_same<A, B>::value;
template <class T> constexpr bool is_integral_v = __is_integral(T);
template <class A, class B> constexpr bool is_convertible_v = __is_convertible(A, B);

template <class T>
constexpr bool emu_is_float = is_same_v<T, float> || is_same_v<T, half> ||
                              is_same_v<T, bfloat>;
template <class T> constexpr bool emu_is_scalar = emu_is_float<T> || is_integral_v<T>;
template <class T> using emu_if_float = enable_if_t<emu_is_float<T>, int>;
template <class T> using emu_if_integer = enable_if_t<is_integral_v<T>, int>;
template <class T> using emu_if_scalar = enable_if_t<emu_is_scalar<T>, int>;
// Takes a type from elsewhere instead of deducing it.
template <class T> struct emu_given { typedef T type; };
template <class T> using emu_as = typename emu_given<T>::type;

template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));

// `float2(a, b)` becomes emu_make<float, 2>(a, b): clang's vectors have no constructor.
template <class T, int N, class A, emu_if_scalar<A> = 0> vec<T, N> emu_make(A);
template <class T, int N, class U> vec<T, N> emu_make(vec<U, N>);
template <class T, int N, class A, class B,
          enable_if_t<N == 2 && emu_is_scalar<A> && emu_is_scalar<B>, int> = 0>
vec<T, N> emu_make(A, B);
template <class T, int N, class A, class B, class C,
          enable_if_t<N == 3 && emu_is_scalar<A> && emu_is_scalar<B> &&
                      emu_is_scalar<C>, int> = 0>
vec<T, N> emu_make(A, B, C);
template <class T, int N, class A, class B, class C, class D,
          enable_if_t<N == 4 && emu_is_scalar<A> && emu_is_scalar<B> &&
                      emu_is_scalar<C> && emu_is_scalar<D>, int> = 0>
vec<T, N> emu_make(A, B, C, D);
template <class T, int N, enable_if_t<N == 3, int> = 0> vec<T, N> emu_make(vec<T, 2>, T);
template <class T, int N, enable_if_t<N == 4, int> = 0>
vec<T, N> emu_make(vec<T, 2>, vec<T, 2>);
template <class T, int N, enable_if_t<N == 4, int> = 0> vec<T, N> emu_make(vec<T, 3>, T);

template <class To, class From> To as_type(From);

template <class T> struct numeric_limits {
  static constexpr T max();
  static constexpr T min();
  static constexpr T lowest();
  static constexpr T epsilon();
  static constexpr T infinity();
  static constexpr T quiet_NaN();
};

#define EMU_UNARY(name)                       \
  float name(float);                          \
  half name(half);                            \
  bfloat name(bfloat);                        \
  template <int N> vec<float, N> name(vec<float, N>); \
  template <int N> vec<half, N> name(vec<half, N>);
#define EMU_BINARY(name)      \
  float name(float, float);   \
  half name(half, half);      \
  bfloat name(bfloat, bfloat);
#define EMU_MATHEMATICS                                                               \
  EMU_UNARY(exp) EMU_UNARY(exp2) EMU_UNARY(exp10) EMU_UNARY(log) EMU_UNARY(log2)      \
  EMU_UNARY(log10) EMU_UNARY(sin) EMU_UNARY(cos) EMU_UNARY(tan) EMU_UNARY(sinpi)      \
  EMU_UNARY(cospi) EMU_UNARY(asin) EMU_UNARY(acos) EMU_UNARY(atan) EMU_UNARY(sinh)    \
  EMU_UNARY(cosh) EMU_UNARY(tanh) EMU_UNARY(sqrt) EMU_UNARY(rsqrt) EMU_UNARY(floor)   \
  EMU_UNARY(ceil) EMU_UNARY(round) EMU_UNARY(rint) EMU_UNARY(trunc) EMU_UNARY(fabs)   \
  EMU_UNARY(fract) EMU_BINARY(pow) EMU_BINARY(powr) EMU_BINARY(atan2)                 \
  EMU_BINARY(fmod) EMU_BINARY(fmin) EMU_BINARY(fmax) EMU_BINARY(copysign)             \
  float sincos(float, thread float&);                                                 \
  half sincos(half, thread half&);                                                    \
  float fma(float, float, float);                                                     \
  half fma(half, half, half);                                                         \
  template <int N> vec<float, N> fma(vec<float, N>, vec<float, N>, vec<float, N>);
EMU_MATHEMATICS
EMU_UNARY(saturate) EMU_UNARY(sign)
namespace fast {
EMU_MATHEMATICS
}
namespace precise {
EMU_MATHEMATICS
}

template <class T, emu_if_float<T> = 0> bool isnan(T);
template <class T, emu_if_float<T> = 0> bool isinf(T);
template <class T, emu_if_float<T> = 0> bool isfinite(T);
template <class T, emu_if_scalar<T> = 0> T min(T, T);
template <class T, emu_if_scalar<T> = 0> T max(T, T);
template <class T, emu_if_scalar<T> = 0> T clamp(T, T, T);
template <class T, emu_if_scalar<T> = 0> T abs(T);
template <class T> T select(T, T, bool);
template <class T, emu_if_float<T> = 0> T mix(T, T, T);
template <class T, int N> T dot(vec<T, N>, vec<T, N>);
template <class T, int N> T length(vec<T, N>);
template <int N> bool any(vec<bool, N>);
template <int N> bool all(vec<bool, N>);
template <class T, emu_if_integer<T> = 0> T popcount(T);
template <class T, emu_if_integer<T> = 0> T clz(T);
template <class T, emu_if_integer<T> = 0> T ctz(T);
template <class T, emu_if_integer<T> = 0> T reverse_bits(T);
template <class T, emu_if_integer<T> = 0> T extract_bits(T, uint, uint);
uint mulhi(uint, uint);

enum class mem_flags : uint {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
};
mem_flags operator|(mem_flags, mem_flags);
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);

#define EMU_REDUCTION(name) template <class T> T name(T);
EMU_REDUCTION(simd_sum) EMU_REDUCTION(simd_product) EMU_REDUCTION(simd_max)
EMU_REDUCTION(simd_min) EMU_REDUCTION(simd_and) EMU_REDUCTION(simd_or)
EMU_REDUCTION(simd_xor) EMU_REDUCTION(simd_prefix_inclusive_sum)
EMU_REDUCTION(simd_prefix_exclusive_sum) EMU_REDUCTION(simd_broadcast_first)
bool simd_all(bool);
bool simd_any(bool);
bool simd_is_first();
#define EMU_SHUFFLE(name) template <class T> T name(T, ushort);
EMU_SHUFFLE(simd_broadcast) EMU_SHUFFLE(simd_shuffle) EMU_SHUFFLE(simd_shuffle_xor)
EMU_SHUFFLE(simd_shuffle_up) EMU_SHUFFLE(simd_shuffle_down)
EMU_SHUFFLE(simd_shuffle_rotate_up) EMU_SHUFFLE(simd_shuffle_rotate_down)

template <class T, int Columns, int Rows> struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8 && emu_is_float<T>,
                "simdgroup_matrix is 8x8, of float, half or bfloat");
  simdgroup_matrix();
  explicit simdgroup_matrix(T diagonal);
  vec<T, 2>& thread_elements();
 private:
  vec<T, 2> held;
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
template <class T, int Columns, int Rows = Columns>
simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T);
#define EMU_MATRIX_MEMORY(space)                                                      \
  template <class T>                                                                  \
  void simdgroup_load(thread simdgroup_matrix<T, 8, 8>&, const space T*, ulong = 8,   \
                      vec<ulong, 2> = 0, bool = false);                               \
  template <class T>                                                                  \
  void simdgroup_store(simdgroup_matrix<T, 8, 8>, space T*, ulong = 8,                \
                       vec<ulong, 2> = 0, bool = false);
EMU_MATRIX_MEMORY(device)
EMU_MATRIX_MEMORY(threadgroup)
template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(thread simdgroup_matrix<D, 8, 8>&,
                                   simdgroup_matrix<A, 8, 8>,
                                   simdgroup_matrix<B, 8, 8>,
                                   simdgroup_matrix<C, 8, 8>);
template <class D, class A, class B>
void simdgroup_multiply(thread simdgroup_matrix<D, 8, 8>&, simdgroup_matrix<A, 8, 8>,
                        simdgroup_matrix<B, 8, 8>);

template <class T> struct atomic {
 private:
  T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<float> atomic_float;
typedef atomic<bool> atomic_bool;
enum memory_order { memory_order_relaxed };
// Threadgroup memory has no float atomics; floats can only be added and subtracted.
#define EMU_FETCH(name, types)                                                        \
  template <class T, enable_if_t<types, int> = 0>                                     \
  T atomic_fetch_##name##_explicit(device atomic<T>*, emu_as<T>, memory_order);       \
  template <class T, emu_if_integer<T> = 0>                                           \
  T atomic_fetch_##name##_explicit(threadgroup atomic<T>*, emu_as<T>, memory_order);
EMU_FETCH(add, emu_is_scalar<T>) EMU_FETCH(sub, emu_is_scalar<T>)
EMU_FETCH(max, is_integral_v<T>) EMU_FETCH(min, is_integral_v<T>)
EMU_FETCH(and, is_integral_v<T>) EMU_FETCH(or, is_integral_v<T>)
EMU_FETCH(xor, is_integral_v<T>)
#define EMU_ATOMICS(space)                                                            \
  template <class T> T atomic_load_explicit(const space atomic<T>*, memory_order);    \
  template <class T>                                                                  \
  void atomic_store_explicit(space atomic<T>*, emu_as<T>, memory_order);              \
  template <class T>                                                                  \
  T atomic_exchange_explicit(space atomic<T>*, emu_as<T>, memory_order);              \
  template <class T>                                                                  \
  bool atomic_compare_exchange_weak_explicit(space atomic<T>*, thread T*, emu_as<T>,  \
                                             memory_order, memory_order);
EMU_ATOMICS(device)
EMU_ATOMICS(threadgroup)

}  // namespace metal

using namespace metal;

#define EMU_NAMES(T)            \
  typedef metal::vec<T, 2> T##2; \
  typedef metal::vec<T, 3> T##3; \
  typedef metal::vec<T, 4> T##4;
EMU_NAMES(bool) EMU_NAMES(char) EMU_NAMES(uchar) EMU_NAMES(short) EMU_NAMES(ushort)
EMU_NAMES(int) EMU_NAMES(uint) EMU_NAMES(long) EMU_NAMES(ulong) EMU_NAMES(float)
EMU_NAMES(half) EMU_NAMES(bfloat)

#define INFINITY __builtin_huge_valf()
#define NAN __builtin_nanf("")
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_SQRT2_F 1.41421356237309504880f
#define FLT_MAX 3.40282346638528859812e38f
#define FLT_EPSILON 1.1920928955078125e-7f

// What MLX's preamble adds and kernels use.
#define METAL_FUNC inline __attribute__((always_inline))
#define MTL_CONST static constant constexpr const
#define MLX_MTL_PRAGMA_UNROLL
struct complex64_t {
  float real, imag;
  complex64_t() = default;
  constexpr complex64_t(float, float);
  explicit constexpr complex64_t(float);
};
complex64_t operator+(complex64_t, complex64_t);
complex64_t operator-(complex64_t, complex64_t);
complex64_t operator-(complex64_t);
complex64_t operator*(complex64_t, complex64_t);
template <class T, class U> T ceildiv(T, U);
template <class Index = int64_t>
Index elem_to_loc(Index, constant const int*, constant const int64_t*, int);
