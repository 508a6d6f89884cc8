"""Random arrays for the fused projection: to check a kernel on, and to time it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx

from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.choices import Timing
from mlx_speech.metal_kernels.fused_qkv_launch import PREFILL, launch
from mlx_speech.metal_kernels.fused_qkv_reference import (
    HeadArrays,
    LayerNormWeights,
    Projection,
    fused_qkv_reference,
)

# Relative to the largest value. The tests demand half of it against float64; the other
# half is for the order in which the reference sums.
TOLERANCES = {mx.float32: 1e-6, mx.float16: 2e-3, mx.bfloat16: 1e-2}

# [batch, length] of what a kernel has to agree on before it is used; odd sizes.
_FEW_ROWS = ((1, 1), (2, 1), (1, 3), (2, 3))
_MANY_ROWS = ((1, 9), (2, 21))
_HEADS, _HEAD_CHANNELS, _CHANNELS = 3, 4, 36


def draw_input(shape: tuple[int, int, int], dtype: mx.Dtype, seed: int = 0) -> mx.array:
    """Numbers around 0.3, [batch, length, channels]."""
    return (0.3 + _normal(shape, seed)).astype(dtype)


def draw_projection(
    channels: int,
    n_heads: int,
    head_channels: int,
    dtype: mx.Dtype,
    *,
    bias: bool,
    norm: bool,
    group_size: int = 0,
    seed: int = 0,
) -> Projection:
    """Random weights; ``group_size`` above 0 quantises them to 4 bits."""
    outputs = 3 * n_heads * head_channels
    weight = (_normal((outputs, channels), seed + 1) / channels**0.5).astype(dtype)
    near_one = (1 + 0.1 * _normal((channels,), seed + 3)).astype(dtype)
    near_zero = (0.1 * _normal((channels,), seed + 4)).astype(dtype)
    return Projection(
        tuple(mx.quantize(weight, group_size, 4)) if group_size else (weight,),
        n_heads,
        _normal((outputs,), seed + 2).astype(dtype) if bias else None,
        LayerNormWeights(near_one, near_zero) if norm else None,
        bits=4 if group_size else 0,
        group_size=group_size,
    )


def in_float32(projection: Projection) -> Projection:
    """The same numbers in single precision; packed words stay as they are."""
    norm, bias = projection.norm, projection.bias
    return replace(
        projection,
        weights=tuple(
            array if array.dtype == mx.uint32 else array.astype(mx.float32)
            for array in projection.weights
        ),
        bias=None if bias is None else bias.astype(mx.float32),
        norm=None
        if norm is None
        else LayerNormWeights(
            norm.weight.astype(mx.float32), norm.bias.astype(mx.float32), norm.epsilon
        ),
    )


def expected_values(x_blc: mx.array, projection: Projection) -> HeadArrays:
    """What a kernel should give: MLX operations in float32 on the CPU, evaluated.

    Not on the GPU, where MLX may multiply float32 in fewer bits than it has.
    """
    with mx.stream(mx.cpu):
        found = fused_qkv_reference(x_blc.astype(mx.float32), in_float32(projection))
        mx.eval(found)
    return found


def self_check(
    name: str, dtype: mx.Dtype, *, bias: bool, norm: bool, group_size: int = 0
) -> str:
    """Compare a kernel with MLX operations on small arrays; say what differs, or "".

    Raises:
        RuntimeError, ValueError: the kernel does not compile, fit or run.
    """
    channels = 3 * group_size or _CHANNELS
    for seed, (batch, length) in enumerate(
        _MANY_ROWS if name == PREFILL else _FEW_ROWS
    ):
        x = draw_input((batch, length, channels), dtype, seed)
        projection = draw_projection(
            channels,
            _HEADS,
            _HEAD_CHANNELS,
            dtype,
            bias=bias,
            norm=norm,
            group_size=group_size,
            seed=seed,
        )
        found: Sequence[mx.array] = launch(name, x, projection)
        expected = expected_values(x, projection)
        problem = select.difference(found, expected, TOLERANCES[dtype])
        if problem:
            return f"batch {batch}, length {length}: {problem}"
    return ""


def time_sample(name: str, rows: int, like: Projection, dtype: mx.Dtype) -> Timing:
    """Time a kernel and MLX operations on random arrays of these sizes."""
    x = draw_input((1, rows, like.channels), dtype)
    projection = draw_projection(
        like.channels,
        like.n_heads,
        like.n_outputs // (3 * like.n_heads),
        dtype,
        bias=like.bias is not None,
        norm=like.norm is not None,
        group_size=like.group_size,
    )
    mx.eval(x, projection.weights, projection.optional)
    return select.time_both(
        lambda: launch(name, x, projection),
        lambda: fused_qkv_reference(x, projection),
    )


def _normal(shape: tuple[int, ...], seed: int) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))
