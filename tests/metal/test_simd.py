"""SIMD groups, matrices, vectors and small floats mean what they mean in Metal."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate.dtypes import (
    from_bfloat16_bits,
    to_bfloat16_bits,
)
from mlx_speech.metal_kernels.text import KernelText


def per_thread(
    source: str,
    x: np.ndarray,
    *,
    threads: int = 64,
    dtype: mx.Dtype = mx.float32,
    outputs: int = 1,
) -> np.ndarray:
    """Run a body that writes ``outputs`` values per thread, in groups of 64."""
    kernel = KernelText(
        "lanes",
        ("x",),
        ("y",),
        "",
        "const uint i = thread_position_in_grid.x;\n"
        "const uint lane = thread_index_in_simdgroup;\n" + source,
    )
    shape = (threads, outputs) if outputs > 1 else (threads,)
    (y,) = emulate.run(kernel, [x], (threads, 1, 1), (64, 1, 1), [shape], [dtype])
    return y


def test_reductions_and_prefixes() -> None:
    x = np.random.default_rng(0).integers(-9, 9, 64).astype(np.float32)
    y = per_thread(
        "y[i * 6 + 0] = simd_sum(x[i]);\n"
        "y[i * 6 + 1] = simd_max(x[i]);\n"
        "y[i * 6 + 2] = simd_min(x[i]);\n"
        "y[i * 6 + 3] = simd_prefix_inclusive_sum(x[i]);\n"
        "y[i * 6 + 4] = simd_prefix_exclusive_sum(x[i]);\n"
        "y[i * 6 + 5] = simd_broadcast_first(x[i]);\n",
        x,
        outputs=6,
    ).reshape(2, 32, 6)
    rows = x.reshape(2, 32)
    ones = np.ones((1, 32))
    assert np.array_equal(y[..., 0], rows.sum(1)[:, None] * ones)
    assert np.array_equal(y[..., 1], rows.max(1)[:, None] * ones)
    assert np.array_equal(y[..., 2], rows.min(1)[:, None] * ones)
    assert np.array_equal(y[..., 3], rows.cumsum(1))
    assert np.array_equal(y[..., 4], rows.cumsum(1) - rows)
    assert np.array_equal(y[..., 5], rows[:, :1] * ones)


def test_shuffles_and_lanes_that_are_not_there() -> None:
    x = np.arange(64, dtype=np.float32)
    y = per_thread(
        "y[i * 5 + 0] = simd_shuffle_xor(x[i], 5);\n"
        "y[i * 5 + 1] = simd_shuffle(x[i], 31 - lane);\n"
        "y[i * 5 + 2] = simd_shuffle_rotate_down(x[i], 3);\n"
        "y[i * 5 + 3] = simd_shuffle_up(x[i], 2);\n"
        "y[i * 5 + 4] = simd_shuffle_down(x[i], 1);\n",
        x,
        outputs=5,
    ).reshape(2, 32, 5)
    rows = x.reshape(2, 32)
    assert np.array_equal(y[..., 0], rows[:, np.arange(32) ^ 5])
    assert np.array_equal(y[..., 1], rows[:, ::-1])
    assert np.array_equal(y[..., 2], np.roll(rows, -3, axis=1))
    assert np.array_equal(y[:, 2:, 3], rows[:, :-2]) and np.isnan(y[:, :2, 3]).all()
    assert np.array_equal(y[:, :-1, 4], rows[:, 1:]) and np.isnan(y[:, -1, 4]).all()


def test_a_simd_group_at_the_edge_is_smaller() -> None:
    x = np.ones(40, np.float32)
    y = per_thread("y[i] = simd_sum(x[i]);\n", x, threads=40)
    assert y.tolist() == [32] * 32 + [8] * 8


def test_thread_attributes_at_the_edge_of_the_grid() -> None:
    kernel = KernelText(
        "where",
        ("x",),
        ("y",),
        "",
        "const uint3 at = thread_position_in_grid;\n"
        "const uint i = at.x + threads_per_grid.x * at.y;\n"
        "y[i] = int(threadgroup_position_in_grid.x * 10000\n"
        "    + threads_per_threadgroup.x * 1000 + threadgroups_per_grid.x * 100\n"
        "    + thread_index_in_threadgroup) + x[0];\n",
    )
    x = np.zeros(1, np.int32)
    (y,) = emulate.run(kernel, [x], (10, 2, 1), (4, 2, 1), [(2, 10)], [mx.int32])
    column = np.arange(10)
    width = np.where(column < 8, 4, 2)
    index = column % 4 + width * np.arange(2)[:, None]
    assert np.array_equal(y, column // 4 * 10000 + width * 1000 + 300 + index)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("transpose", [False, True])
def test_matrices_multiply(dtype: mx.Dtype, transpose: bool) -> None:
    kernel = KernelText(
        "multiply",
        ("a", "b"),
        ("c",),
        "",
        "threadgroup float tile[64];\n"
        "const uint lane = thread_index_in_simdgroup;\n"
        "simdgroup_matrix<T, 8, 8> l, r;\n"
        "simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8>(1.0);\n"
        "simdgroup_load(l, a, 8);\n"
        f"simdgroup_load(r, b, 12, ulong2(0, 0), {str(transpose).lower()});\n"
        "simdgroup_multiply_accumulate(m, l, r, m);\n"
        "simdgroup_store(m, tile, 8);\n"
        "simdgroup_barrier(mem_flags::mem_threadgroup);\n"
        "c[lane] = tile[lane];\nc[lane + 32] = tile[lane + 32];\n",
    )
    draw = np.random.default_rng(2)
    a, b = (mx.array(draw.standard_normal(s)).astype(dtype) for s in ((8, 8), (8, 12)))
    (c,) = emulate.run(
        kernel, [a, b], (32, 1, 1), (32, 1, 1), [(8, 8)], [mx.float32], [("T", dtype)]
    )
    left, right = (np.array(z.astype(mx.float32)).astype(np.float64) for z in (a, b))
    right = right[:, :8].T if transpose else right[:, :8]
    assert np.abs(c - (left @ right + 1)).max() < 1e-5


def test_a_matrix_that_was_never_set_is_not_a_number() -> None:
    y = per_thread(
        "simdgroup_matrix<float, 8, 8> m, one(1.0f);\n"
        "y[i * 2] = m.thread_elements().x;\n"
        "y[i * 2 + 1] = simd_sum(one.thread_elements().x + one.thread_elements().y);\n",
        np.zeros(8, np.float32),
        outputs=2,
    )
    assert np.isnan(y[:, 0]).all() and (y[:, 1] == 8).all()


def test_vectors_and_swizzles() -> None:
    y = per_thread(
        "const float2 v = float2(x[i], 2.0);\n"
        "const float4 w = float4(v, v.yx) * 2 + 1;\n"
        "uint3 u = uint3(1, 2, 3);\n"
        "u.xy = u.yx;\n"
        "float2 s = v;\n"
        "s -= v.yx;\n"
        "y[i * 6 + 0] = w.z;\n"
        "y[i * 6 + 1] = dot(v, float2(3, 4));\n"
        "y[i * 6 + 2] = float(u.x * 100 + u.y * 10 + u.z);\n"
        "y[i * 6 + 3] = s.x;\n"
        "y[i * 6 + 4] = all(v == v) && !any(v != v) ? 1.0 : 0.0;\n"
        "y[i * 6 + 5] = float2(half2(v)).x + as_type<float>(as_type<uint>(v.y));\n",
        np.arange(64, dtype=np.float32),
        outputs=6,
    )
    x = np.arange(64.0)
    expected = [5 + 0 * x, 3 * x + 8, 213 + 0 * x, x - 2, 1 + 0 * x, x + 2]
    assert np.array_equal(y, np.stack(expected, 1))


def test_half_rounds_as_numpy_does() -> None:
    draw = np.random.default_rng(3)
    values = np.concatenate(
        [
            draw.standard_normal(4000) * 10.0 ** draw.integers(-9, 6, 4000),
            [0.0, -0.0, 65504, 65519.99, 65520, np.inf, -np.inf, np.nan],
            [2.0**-24, 2.0**-25],
            np.float16(draw.integers(0, 0x7C00, 54).astype(np.uint16).view(np.float16)),
        ]
    ).astype(np.float32)
    y = per_thread("y[i] = half(x[i]);\n", values, threads=4064, dtype=mx.float16)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    assert np.array_equal(y, expected, equal_nan=True)


def test_bfloat_rounds_as_mlx_does() -> None:
    draw = np.random.default_rng(4)
    values = (draw.standard_normal(4096) * 10.0 ** draw.integers(-30, 30, 4096)).astype(
        np.float32
    )
    y = per_thread("y[i] = bfloat(x[i]);\n", values, threads=4096, dtype=mx.bfloat16)
    expected = np.array(mx.array(values).astype(mx.bfloat16).astype(mx.float32))
    assert np.array_equal(y, expected)
    assert np.array_equal(from_bfloat16_bits(to_bfloat16_bits(values)), expected)


def test_small_floats_round_at_every_operation() -> None:
    y = per_thread(
        "const half big = half(2048.0);\n"
        "y[i * 2] = float((big + half(1.0)) - big);\n"
        "half h = half(x[i]);\nh += 0.1;\nh *= half(3);\n"
        "y[i * 2 + 1] = float(h);\n",
        np.arange(64, dtype=np.float32),
        outputs=2,
    )
    x = np.arange(64, dtype=np.float32)
    h = (x + np.float32(0.1)).astype(np.float16)
    assert (y[:, 0] == 0).all()
    assert np.array_equal(y[:, 1], (h * np.float16(3)).astype(np.float32))


def test_bits_and_mathematics() -> None:
    y = per_thread(
        "const uint u = uint(x[i]);\n"
        "y[i * 6 + 0] = float(reverse_bits(u) >> 26);\n"
        "y[i * 6 + 1] = float(popcount(u));\n"
        "y[i * 6 + 2] = float(clz(u));\n"
        "y[i * 6 + 3] = precise::exp(x[i] / 64);\n"
        "y[i * 6 + 4] = fma(x[i], 2.0, 1.0);\n"
        "y[i * 6 + 5] = rsqrt(x[i] + 1);\n",
        np.arange(64, dtype=np.float32),
        outputs=6,
    )
    x = np.arange(64)
    assert y[:, 0].tolist() == [int(f"{v:06b}"[::-1], 2) for v in x]
    assert y[:, 1].tolist() == [v.bit_count() for v in x.tolist()]
    assert y[:, 2].tolist() == [32 - v.bit_length() for v in x.tolist()]
    assert np.allclose(y[:, 3], np.exp(x / 64), rtol=1e-6)
    assert np.array_equal(y[:, 4], 2 * x + 1)
    assert np.allclose(y[:, 5], 1 / np.sqrt(x + 1), rtol=1e-6)
