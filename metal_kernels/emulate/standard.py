"""What a kernel may call: functions of Metal's library with a known-good user.

Each stands in MLX's own kernels or in another Metal program that is known to compile.
A function of Metal that is missing here may be right all the same; but the emulator
does not know it.
"""

from __future__ import annotations

_MATHEMATICS = """
    exp exp2 exp10 log log2 log10 sin cos tan sinpi cospi asin acos atan sinh cosh tanh
    sqrt rsqrt floor ceil round rint trunc fabs fract pow powr atan2 fmod fmin fmax
    copysign sincos fma saturate sign isnan isinf isfinite min max clamp abs select mix
    dot length any all
"""
_BITS = """
    as_type popcount clz ctz reverse_bits extract_bits mulhi
"""
_GROUPS = """
    threadgroup_barrier simdgroup_barrier
    simd_sum simd_product simd_max simd_min simd_and simd_or simd_xor simd_all simd_any
    simd_is_first simd_prefix_inclusive_sum simd_prefix_exclusive_sum
    simd_broadcast simd_broadcast_first simd_shuffle simd_shuffle_xor simd_shuffle_up
    simd_shuffle_down simd_shuffle_rotate_up simd_shuffle_rotate_down
    simdgroup_load simdgroup_store simdgroup_multiply simdgroup_multiply_accumulate
    make_filled_simdgroup_matrix simdgroup_matrix thread_elements
    simdgroup_float8x8 simdgroup_half8x8 simdgroup_bfloat8x8
"""
_ATOMICS = """
    atomic_load_explicit atomic_store_explicit atomic_exchange_explicit
    atomic_compare_exchange_weak_explicit atomic_fetch_add_explicit
    atomic_fetch_sub_explicit atomic_fetch_max_explicit atomic_fetch_min_explicit
    atomic_fetch_and_explicit atomic_fetch_or_explicit atomic_fetch_xor_explicit
"""
_LIMITS = "infinity lowest epsilon quiet_NaN"
# Of MLX's preamble; the emulator has these with the same meaning.
_MLX = "complex64_t ceildiv elem_to_loc"

_SCALARS = (
    *("bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong"),
    *("float", "half", "bfloat"),
)
# What C++ itself has.
NUMBERS = frozenset(
    [
        *(scalar for scalar in _SCALARS if scalar not in ("half", "bfloat")),
        *(f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        "size_t",
    ]
)
TYPES = frozenset(
    [
        *NUMBERS,
        *_SCALARS,
        *(f"{scalar}{size}" for scalar in _SCALARS for size in (2, 3, 4)),
        *("float16_t", "bfloat16_t", "complex64_t", "vec", "void", "auto"),
        *("atomic", "atomic_int", "atomic_uint", "atomic_float", "atomic_bool"),
        *("simdgroup_float8x8", "simdgroup_half8x8", "simdgroup_bfloat8x8"),
    ]
)
_KEYWORDS = """
    if for while switch return sizeof alignof decltype static_assert static_cast
    reinterpret_cast const_cast operator else do case
"""
KEYWORDS = frozenset(_KEYWORDS.split())
STANDARD_CALLS = frozenset(
    " ".join([_MATHEMATICS, _BITS, _GROUPS, _ATOMICS, _LIMITS, _MLX]).split()
)

# Words that no Metal kernel of MLX can use, and why.
FORBIDDEN = {
    "double": "Metal has no double",
    "goto": "Metal has no goto",
    "throw": "Metal has no exceptions",
    "try": "Metal has no exceptions",
    "catch": "Metal has no exceptions",
    "virtual": "Metal has no virtual functions",
    "new": "Metal has no heap",
    "delete": "Metal has no heap",
    "dynamic_cast": "Metal has no run-time types",
    "typeid": "Metal has no run-time types",
    "thread_local": "Metal has no thread_local",
    "std": "Metal has its own library in namespace metal",
    "printf": "kernels of MLX cannot print",
    "assert": "kernels of MLX cannot assert",
    "memcpy": "Metal has no memcpy",
    "memset": "Metal has no memset",
    "texture2d": "MLX binds buffers only",
    "sampler": "MLX binds buffers only",
    "memory_order_seq_cst": "Metal's atomics are relaxed",
    "memory_order_acquire": "Metal's atomics are relaxed",
    "memory_order_release": "Metal's atomics are relaxed",
    "memory_order_acq_rel": "Metal's atomics are relaxed",
}
