"""The three kernels against double precision, over dtypes, options and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.fused_qkv_launch import (
    DECODE,
    DECODE_4BIT,
    FLOATS,
    PREFILL,
    launch,
    suitable_kernel,
)
from mlx_speech.metal_kernels.fused_qkv_reference import (
    Projection,
    fused_qkv_reference,
)
from mlx_speech.metal_kernels.fused_qkv_samples import (
    draw_input,
    draw_projection,
    in_float32,
)
from mlx_speech.metal_kernels.launch import dtype_name

TOLERANCES = {mx.float32: 5e-7, mx.float16: 1e-3, mx.bfloat16: 5e-3}
# Kernel: [(batch, length), channels, heads, head channels, group size]; the smallest
# that it takes, odd ones, the channels of Whisper's largest models (one head of them).
SIZES = {
    DECODE: [
        ((1, 1), 8, 1, 3, 0),
        ((2, 3), 36, 3, 4, 0),
        ((1, 8), 1280, 1, 64, 0),
    ],
    DECODE_4BIT: [
        ((1, 1), 32, 1, 3, 32),
        ((1, 5), 192, 3, 5, 64),
        ((8, 1), 1280, 1, 64, 128),
    ],
    PREFILL: [
        ((1, 9), 8, 1, 3, 0),
        ((2, 21), 37, 3, 5, 0),
        ((1, 33), 1280, 1, 64, 0),
    ],
}
ODD = 1  # the sizes on which all options are tried
BOTH, NEITHER = (True, True), (False, False)


def variants() -> Iterator[tuple[str, mx.Dtype, tuple[bool, bool], int]]:
    """(kernel, dtype, (norm, bias), index of the sizes)."""
    for kernel in SIZES:
        for dtype in FLOATS:
            for index in range(len(SIZES[kernel])):
                yield kernel, dtype, BOTH, index
            for options in (NEITHER, (True, False), (False, True)):
                if dtype == mx.float32 or options == NEITHER:
                    yield kernel, dtype, options, ODD


def label(variant: tuple[str, mx.Dtype, tuple[bool, bool], int]) -> str:
    kernel, dtype, options, index = variant
    words = [w for w, there in zip(("norm", "bias"), options, strict=True) if there]
    return "-".join([kernel, dtype_name(dtype), *words, str(SIZES[kernel][index][:2])])


def draw(
    variant: tuple[str, mx.Dtype, tuple[bool, bool], int], seed: int
) -> tuple[mx.array, Projection]:
    kernel, dtype, (norm, bias), index = variant
    (batch, length), channels, n_heads, head_channels, group = SIZES[kernel][index]
    x = draw_input((batch, length, channels), dtype, seed)
    projection = draw_projection(
        channels,
        n_heads,
        head_channels,
        dtype,
        bias=bias,
        norm=norm,
        group_size=group,
        seed=seed,
    )
    return x, projection


def error(found: list[mx.array], expected: list[np.ndarray]) -> float:
    """The largest difference relative to the largest value."""
    doubles = [np.array(a.astype(mx.float32)).astype(np.float64) for a in found]
    assert [a.shape for a in doubles] == [a.shape for a in expected]
    scale = max(np.abs(a).max() for a in expected)
    gaps = [np.abs(a - b).max() for a, b in zip(doubles, expected, strict=True)]
    return float(np.max(gaps) / scale)


@pytest.mark.parametrize("variant", list(variants()), ids=label)
def test_a_kernel_agrees_with_double_precision(
    variant: tuple[str, mx.Dtype, tuple[bool, bool], int],
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> None:
    kernel, dtype, _, _ = variant
    for seed in (1, 2):
        x, projection = draw(variant, seed)
        assert suitable_kernel(x, projection) == kernel
        with emulate.dropin(seed=seed) as launches:
            found = list(launch(kernel, x, projection))
        assert launches.names == [kernel]
        assert launches.done[0].outcome.threadgroup_bytes <= 32768
        assert [array.dtype for array in found] == [dtype] * 3
        assert error(found, exact(x, projection)) <= TOLERANCES[dtype]


@pytest.mark.parametrize("rows", [(1, 2), (3, 1)])
def test_blocks_of_two_and_three_rows(
    rows: tuple[int, int],
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> None:
    for kernel, group in ((DECODE, 0), (DECODE_4BIT, 32)):
        x = draw_input((*rows, 32), mx.float32)
        projection = draw_projection(
            32, 2, 4, mx.float32, bias=True, norm=True, group_size=group
        )
        with emulate.dropin():
            found = list(launch(kernel, x, projection))
        assert error(found, exact(x, projection)) <= TOLERANCES[mx.float32]


def test_strided_arrays_give_the_same(
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> None:
    wide = draw_input((2, 3, 64), mx.float32)
    projection = draw_projection(32, 2, 4, mx.float32, bias=False, norm=True)
    x = wide[:, :, ::2]
    with emulate.dropin():
        found = list(launch(DECODE, x, projection))
    assert error(found, exact(x, projection)) <= TOLERANCES[mx.float32]


def test_a_mean_far_from_zero_does_not_cost_accuracy(
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> None:
    x = 300.0 + draw_input((1, 12, 64), mx.float32)
    projection = draw_projection(64, 2, 4, mx.float32, bias=True, norm=True)
    with emulate.dropin():
        found = list(launch(PREFILL, x, projection))
    # The variance is 1: the input itself is rounded to 1.5e-5 of it.
    assert error(found, exact(x, projection)) <= 2e-5


@pytest.mark.parametrize("variant", list(variants()), ids=label)
def test_the_reference_means_the_same(
    variant: tuple[str, mx.Dtype, tuple[bool, bool], int],
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> None:
    x, projection = draw(variant, 1)
    found = list(fused_qkv_reference(x.astype(mx.float32), in_float32(projection)))
    assert error(found, exact(x, projection)) <= 2e-6
