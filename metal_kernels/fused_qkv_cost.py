"""Costs of the fused projection, by kernel and by MLX operations."""

from __future__ import annotations

from mlx_speech.metal_kernels.cost import Cost
from mlx_speech.metal_kernels.fused_qkv_launch import DECODE_ROWS

_HALF = 2
_SINGLE = 4
# Of a tile of each kernel, as the texts say.
_DECODE_ROWS, _DECODE_OUTPUTS = 4, 32
_PREFILL_ROWS, _PREFILL_OUTPUTS = 32, 64
# An assumption: small tiles without double buffering reach less than MLX's products.
_PREFILL_FLOPS_SHARE = 0.45
# A SIMD group loads six 8 x 8 matrices for every eight channels.
_MATRICES, _MATRIX_BYTES, _SIMD_GROUPS = 6, 8 * 8 * _SINGLE, 4


def fused_qkv_costs(
    rows: int, channels: int, outputs: int, group_size: int = 0
) -> list[Cost]:
    """Layer norm and projection in float16: the kernel for so many rows and its rivals.

    Args:
        rows: of the input.
        channels: of the input.
        outputs: of q, k and v together.
        group_size: of weights of 4 bits; 0 for float16.
    """
    numbers = channels * outputs
    weights = _HALF * numbers
    if group_size:
        weights = numbers // 2 + 2 * _HALF * numbers // group_size
    small = _HALF * (outputs + 2 * channels)  # bias and norm
    read, written = _HALF * rows * channels, _HALF * rows * outputs
    flops = 2 * rows * numbers
    ends = weights + small + read + written
    product = "mx.quantized_matmul" if group_size else "mx.addmm"
    # The quantised product has no bias of its own.
    extra = 1 if group_size else 0
    tail = 2 * written * extra
    return [
        _fused(rows, channels, outputs, weights, ends, flops),
        Cost(f"layer norm, {product}", ends + 2 * read + tail, flops, 2 + extra),
        Cost(
            "layer norm, three products",
            ends + 4 * read + tail,
            flops,
            4 + 3 * extra,
        ),
    ]


def _fused(
    rows: int, channels: int, outputs: int, weights: int, ends: int, flops: int
) -> Cost:
    if rows <= DECODE_ROWS:
        blocks = -(-rows // _DECODE_ROWS)
        tiles = -(-outputs // _DECODE_OUTPUTS)
        # Every tile reads its rows three times: mean, variance, product.
        again = 3 * _HALF * rows * channels * tiles + weights * (blocks - 1)
        return Cost("fused kernel", ends, flops, 1, cache_bytes=again)
    row_tiles = -(-rows // _PREFILL_ROWS)
    tiles = row_tiles * -(-outputs // _PREFILL_OUTPUTS)
    sliced = channels * (3 * _PREFILL_ROWS + _PREFILL_OUTPUTS) * _HALF
    loads = _SIMD_GROUPS * _MATRICES * _MATRIX_BYTES * channels // 8
    stores = (_PREFILL_ROWS + _PREFILL_OUTPUTS) * channels * _SINGLE
    result = 2 * _PREFILL_ROWS * _PREFILL_OUTPUTS * _SINGLE
    return Cost(
        "fused kernel",
        ends,
        flops,
        1,
        cache_bytes=tiles * sliced,
        threadgroup_bytes=tiles * (loads + stores + result),
        flops_share=_PREFILL_FLOPS_SHARE,
    )
