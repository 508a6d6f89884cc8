// vec<T, 2>, vec<T, 3>, vec<T, 4> with their components and the usual swizzles.
#pragma once

#include "numbers.h"

// The CUDA twin has its own: the rest of this file serves both.
#ifndef EMU_EACH
#define EMU_EACH(i, n) _Pragma("GCC unroll 4") for (int i = 0; i < (n); i++)
#endif

namespace metal {

template <class T, int N>
struct vec;

// A view of some components; lies in a union with them, so it holds no data of its own.
template <class T, int Stored, int... Index>
struct emu_swizzle {
  T data[Stored];
  static constexpr int size = sizeof...(Index);
  typedef vec<T, size> value_type;
  EMU_INLINE operator value_type() const {
    const int index[] = {Index...};
    value_type value;
    EMU_EACH(i, size) value.data[i] = data[index[i]];
    return value;
  }
  EMU_INLINE emu_swizzle& operator=(value_type value) {
    const int index[] = {Index...};
    EMU_EACH(i, size) data[index[i]] = value.data[i];
    return *this;
  }
  EMU_INLINE emu_swizzle& operator=(const emu_swizzle& other) {
    return *this = (value_type)other;
  }
  template <class U> EMU_INLINE emu_swizzle& operator+=(const U& other) {
    return *this = (value_type)*this + other;
  }
  template <class U> EMU_INLINE emu_swizzle& operator-=(const U& other) {
    return *this = (value_type)*this - other;
  }
  template <class U> EMU_INLINE emu_swizzle& operator*=(const U& other) {
    return *this = (value_type)*this * other;
  }
};

#define EMU_VECTOR(N, Stored)                                                       \
  vec() = default;                                                                  \
  vec(const vec&) = default;                                                        \
  EMU_INLINE vec& operator=(const vec& other) {                                     \
    EMU_EACH(i, N) data[i] = other.data[i];                                         \
    return *this;                                                                   \
  }                                                                                 \
  template <class S, emu_if_scalar<S> = 0>                                          \
  EMU_INLINE vec(S value) {                                                         \
    EMU_EACH(i, N) data[i] = (T)value;                                              \
  }                                                                                 \
  template <class U, emu_std::enable_if_t<!emu_std::is_same<U, T>::value, int> = 0>         \
  EMU_INLINE explicit vec(const vec<U, N>& other) {                                 \
    EMU_EACH(i, N) data[i] = (T)other.data[i];                                      \
  }                                                                                 \
  template <class U, int M, int... I,                                               \
            emu_std::enable_if_t<sizeof...(I) == N && !emu_std::is_same<U, T>::value, int> = 0> \
  EMU_INLINE explicit vec(const emu_swizzle<U, M, I...>& other)                     \
      : vec((vec<U, N>)other) {}                                                    \
  EMU_INLINE T& operator[](int i) { return data[i]; }                               \
  EMU_INLINE const T& operator[](int i) const { return data[i]; }

template <class T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  union {
    T data[2];
    struct { T x, y; };
    struct { T r, g; };
    emu_swizzle<T, 2, 0, 0> xx;
    emu_swizzle<T, 2, 0, 1> xy;
    emu_swizzle<T, 2, 1, 0> yx;
    emu_swizzle<T, 2, 1, 1> yy;
    emu_swizzle<T, 2, 0, 1, 0, 1> xyxy;
  };
  EMU_VECTOR(2, 2)
  template <class A, class B, emu_if_scalar<A> = 0, emu_if_scalar<B> = 0>
  EMU_INLINE vec(A a, B b) {
    data[0] = (T)a;
    data[1] = (T)b;
  }
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  union {
    T data[4];
    struct { T x, y, z; };
    struct { T r, g, b; };
    emu_swizzle<T, 4, 0, 1> xy;
    emu_swizzle<T, 4, 0, 2> xz;
    emu_swizzle<T, 4, 1, 0> yx;
    emu_swizzle<T, 4, 1, 2> yz;
    emu_swizzle<T, 4, 2, 0> zx;
    emu_swizzle<T, 4, 2, 1> zy;
    emu_swizzle<T, 4, 0, 1, 2> xyz;
    emu_swizzle<T, 4, 2, 1, 0> zyx;
  };
  EMU_VECTOR(3, 4)
  template <class A, class B, class C, emu_if_scalar<A> = 0, emu_if_scalar<B> = 0,
            emu_if_scalar<C> = 0>
  EMU_INLINE vec(A a, B b, C c) {
    data[0] = (T)a;
    data[1] = (T)b;
    data[2] = (T)c;
  }
  EMU_INLINE vec(const vec<T, 2>& two, T c) : vec(two.data[0], two.data[1], c) {}
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  union {
    T data[4];
    struct { T x, y, z, w; };
    struct { T r, g, b, a; };
    emu_swizzle<T, 4, 0, 1> xy;
    emu_swizzle<T, 4, 0, 2> xz;
    emu_swizzle<T, 4, 1, 0> yx;
    emu_swizzle<T, 4, 1, 3> yw;
    emu_swizzle<T, 4, 2, 3> zw;
    emu_swizzle<T, 4, 3, 2> wz;
    emu_swizzle<T, 4, 0, 1, 2> xyz;
    emu_swizzle<T, 4, 0, 1, 2, 3> xyzw;
    emu_swizzle<T, 4, 1, 0, 3, 2> yxwz;
    emu_swizzle<T, 4, 2, 3, 0, 1> zwxy;
    emu_swizzle<T, 4, 3, 2, 1, 0> wzyx;
  };
  EMU_VECTOR(4, 4)
  template <class A, class B, class C, class D, emu_if_scalar<A> = 0,
            emu_if_scalar<B> = 0, emu_if_scalar<C> = 0, emu_if_scalar<D> = 0>
  EMU_INLINE vec(A a_, B b_, C c_, D d_) {
    data[0] = (T)a_;
    data[1] = (T)b_;
    data[2] = (T)c_;
    data[3] = (T)d_;
  }
  EMU_INLINE vec(const vec<T, 2>& p, const vec<T, 2>& q)
      : vec(p.data[0], p.data[1], q.data[0], q.data[1]) {}
  EMU_INLINE vec(const vec<T, 3>& p, T q)
      : vec(p.data[0], p.data[1], p.data[2], q) {}
};
#undef EMU_VECTOR

// Vectors and swizzles answer as vectors, everything else as nothing.
template <class A>
struct emu_vector { static constexpr bool is = false; typedef void element; };
template <class T, int N>
struct emu_vector<vec<T, N>> {
  static constexpr bool is = true;
  static constexpr int size = N;
  typedef vec<T, N> type;
  typedef T element;
};
template <class T, int M, int... I>
struct emu_vector<emu_swizzle<T, M, I...>> : emu_vector<vec<T, sizeof...(I)>> {};

template <class A>
using emu_vector_of = typename emu_vector<A>::type;
template <class A>
using emu_element = typename emu_vector<A>::element;
template <class A>
using emu_if_vector = emu_std::enable_if_t<emu_vector<A>::is, int>;
template <class A>
using emu_if_float_vector = emu_std::enable_if_t<emu_is_float<emu_element<A>>, int>;
template <class A, class B>
using emu_if_alike = emu_std::enable_if_t<
    emu_std::is_same<emu_vector_of<A>, emu_vector_of<B>>::value, int>;
// A scalar joins a vector of its own type; an integer joins any.
template <class A, class S>
using emu_if_joins = emu_std::enable_if_t<
    emu_vector<A>::is && (emu_std::is_same<emu_element<A>, S>::value ||
                          emu_std::is_integral<S>::value), int>;

#define EMU_OPERATOR(op)                                                           \
  template <class A, class B, emu_if_alike<A, B> = 0>                              \
  EMU_INLINE emu_vector_of<A> operator op(const A& a_, const B& b_) {              \
    emu_vector_of<A> a = a_, b = b_, r;                                            \
    EMU_EACH(i, emu_vector<A>::size) r.data[i] = a.data[i] op b.data[i];           \
    return r;                                                                      \
  }                                                                                \
  template <class A, class S, emu_if_joins<A, S> = 0>                              \
  EMU_INLINE emu_vector_of<A> operator op(const A& a_, S s) {                      \
    emu_vector_of<A> a = a_, r;                                                    \
    EMU_EACH(i, emu_vector<A>::size) r.data[i] = a.data[i] op emu_element<A>(s);   \
    return r;                                                                      \
  }                                                                                \
  template <class A, class S, emu_if_joins<A, S> = 0>                              \
  EMU_INLINE emu_vector_of<A> operator op(S s, const A& a_) {                      \
    emu_vector_of<A> a = a_, r;                                                    \
    EMU_EACH(i, emu_vector<A>::size) r.data[i] = emu_element<A>(s) op a.data[i];   \
    return r;                                                                      \
  }                                                                                \
  template <class T, int N, class B>                                               \
  EMU_INLINE auto operator op##=(vec<T, N>& a, const B& b)->decltype(a = a op b) { \
    return a = a op b;                                                             \
  }
EMU_OPERATOR(+) EMU_OPERATOR(-) EMU_OPERATOR(*) EMU_OPERATOR(/) EMU_OPERATOR(%)
EMU_OPERATOR(&) EMU_OPERATOR(|) EMU_OPERATOR(^) EMU_OPERATOR(<<) EMU_OPERATOR(>>)
#undef EMU_OPERATOR

#define EMU_COMPARE(op)                                                            \
  template <class A, class B, emu_if_alike<A, B> = 0>                              \
  EMU_INLINE vec<bool, emu_vector<A>::size> operator op(const A& a_, const B& b_) { \
    emu_vector_of<A> a = a_, b = b_;                                               \
    vec<bool, emu_vector<A>::size> r;                                              \
    EMU_EACH(i, emu_vector<A>::size) r.data[i] = a.data[i] op b.data[i];           \
    return r;                                                                      \
  }                                                                                \
  template <class A, class S, emu_if_joins<A, S> = 0>                              \
  EMU_INLINE vec<bool, emu_vector<A>::size> operator op(const A& a, S s) {         \
    return a op emu_vector_of<A>(s);                                               \
  }
EMU_COMPARE(<) EMU_COMPARE(>) EMU_COMPARE(<=) EMU_COMPARE(>=)
EMU_COMPARE(==) EMU_COMPARE(!=)
#undef EMU_COMPARE

template <class A, emu_if_vector<A> = 0>
EMU_INLINE emu_vector_of<A> operator-(const A& a_) {
  emu_vector_of<A> a = a_, r;
  EMU_EACH(i, emu_vector<A>::size) r.data[i] = -a.data[i];
  return r;
}
template <int N>
EMU_INLINE bool any(vec<bool, N> v) {
  bool r = false;
  EMU_EACH(i, N) r |= v.data[i];
  return r;
}
template <int N>
EMU_INLINE bool all(vec<bool, N> v) {
  bool r = true;
  EMU_EACH(i, N) r &= v.data[i];
  return r;
}

}  // namespace metal

#define EMU_NAMES(T)                                                  \
  typedef metal::vec<T, 2> T##2;                                      \
  typedef metal::vec<T, 3> T##3;                                      \
  typedef metal::vec<T, 4> T##4;
EMU_NAMES(bool) EMU_NAMES(char) EMU_NAMES(uchar) EMU_NAMES(short) EMU_NAMES(ushort)
EMU_NAMES(int) EMU_NAMES(uint) EMU_NAMES(long) EMU_NAMES(ulong) EMU_NAMES(float)
EMU_NAMES(half) EMU_NAMES(bfloat)
#undef EMU_NAMES
