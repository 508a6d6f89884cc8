"""Launching the three kernels of the fused projection: which, on what grid, for what.

What a variant's text does not read (bias, norm) is bound to the input, which is there
in any case.
"""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx

from mlx_speech.metal_kernels.fused_qkv_reference import HeadArrays, Projection
from mlx_speech.metal_kernels.launch import digest, dtype_name
from mlx_speech.metal_kernels.text import KernelText, load_text

DECODE = "fused_qkv_decode"
DECODE_4BIT = "fused_qkv_decode_4bit"
PREFILL = "fused_qkv_prefill"

FLOATS = (mx.float32, mx.float16, mx.bfloat16)
GROUP_SIZES = (32, 64, 128)
# More rows than this are a matter of matrix products.
DECODE_ROWS = 8

# MLX binds arrays of fewer elements than this to another address space.
_LEAST_ELEMENTS = 8
# Indices in the kernels have 32 bits.
_MOST_ELEMENTS = 2**31
# Threads of a group, rows and outputs that it computes, as the texts say.
_DECODE_TILE = (256, 4, 32)
_PREFILL_TILE = (128, 32, 64)


def suitable_kernel(x_blc: mx.array, projection: Projection) -> str:
    """The kernel for these arrays, "" if only MLX operations can compute with them.

    Kernels take one dtype throughout (float32, float16, bfloat16), 8 channels and 8
    outputs or more, fewer than 2**31 elements an array. For up to ``DECODE_ROWS`` rows
    the channels have to be a multiple of four; 4 bits are read for as many rows only.
    """
    dtype = x_blc.dtype
    rows, channels = _n_rows(x_blc), x_blc.shape[2]
    outputs = projection.n_outputs
    floats = (*projection.weights[1 if projection.bits else 0 :], *projection.optional)
    if (
        dtype not in FLOATS
        or any(array.dtype != dtype for array in floats)
        or rows == 0
        or min(channels, outputs) < _LEAST_ELEMENTS
        or max(rows, outputs) * max(channels, outputs) >= _MOST_ELEMENTS
    ):
        return ""
    few = rows <= DECODE_ROWS
    if projection.bits:
        known = projection.bits == 4 and projection.group_size in GROUP_SIZES
        return DECODE_4BIT if few and known else ""
    if not few:
        return PREFILL
    return DECODE if channels % 4 == 0 else ""


def launch(name: str, x_blc: mx.array, projection: Projection) -> HeadArrays:
    """Compute by the kernel ``name``, which has to be suitable; not differentiable."""
    threads, rows, outputs = _PREFILL_TILE if name == PREFILL else _DECODE_TILE
    part = projection.n_outputs // 3
    head_channels = part // projection.n_heads
    template: list[tuple[str, Any]] = [
        ("T", x_blc.dtype),
        ("CHANNELS", projection.channels),
        ("PART", part),
        ("HEAD_CHANNELS", head_channels),
        ("NORM", projection.norm is not None),
        ("BIAS", projection.bias is not None),
    ]
    if name != PREFILL:
        rows = min(rows, _n_rows(x_blc))
        template.append(("BLOCK_ROWS", rows))
    if name == DECODE_4BIT:
        template.append(("GROUP", projection.group_size))
    norm, bias = projection.norm, projection.bias
    batch, length, _ = x_blc.shape
    shape = (batch, projection.n_heads, length, head_channels)
    tiles = -(-projection.n_outputs // outputs), -(-_n_rows(x_blc) // rows)
    q, k, v = kernel_text(name).build()(
        inputs=[
            x_blc,
            *projection.weights,
            x_blc if bias is None else bias,
            x_blc if norm is None else norm.weight,
            x_blc if norm is None else norm.bias,
            _scalar(0.0 if norm is None else norm.epsilon),
        ],
        template=template,
        grid=(tiles[0] * threads, tiles[1], 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[shape] * 3,
        output_dtypes=[x_blc.dtype] * 3,
    )
    return q, k, v


@functools.cache
def kernel_text(name: str) -> KernelText:
    """The text of one of the three, read once."""
    return load_text(name)


@functools.cache
def kernel_digest(name: str) -> str:
    """What changes with a kernel's text, found once."""
    return digest(kernel_text(name))


def variant_name(x_blc: mx.array, projection: Projection) -> str:
    """What a kernel's text is compiled for, for example "float16 norm bias"."""
    return _variant_name(
        x_blc.dtype,
        projection.group_size,
        projection.norm is not None,
        projection.bias is not None,
    )


@functools.cache
def _variant_name(dtype: mx.Dtype, group_size: int, norm: bool, bias: bool) -> str:
    words = [dtype_name(dtype)]
    words += [f"groups of {group_size}"] if group_size else []
    words += ["norm"] if norm else []
    words += ["bias"] if bias else []
    return " ".join(words)


@functools.cache
def _scalar(value: float) -> mx.array:
    return mx.array(value, mx.float32)


def _n_rows(x_blc: mx.array) -> int:
    return x_blc.shape[0] * x_blc.shape[1]
