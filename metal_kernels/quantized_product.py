"""The product with a quantised matrix by MLX operations, on any device.

MLX's product with such a matrix is meant for GPUs; on a CPU it beats unpacking for one
row only (measured: 40 times slower at 256 rows), so there more rows are multiplied by
the unpacked matrix.
"""

from __future__ import annotations

import mlx.core as mx


def quantized_product(
    x: mx.array,
    packed: mx.array,
    scales: mx.array,
    offsets: mx.array,
    *,
    bits: int,
    group_size: int,
) -> mx.array:
    """x times the transposed matrix.

    Args:
        x: [..., columns].
        packed: [rows, columns * bits / 32], unsigned 32-bit words.
        scales, offsets: [rows, columns / group_size], MLX's affine quantisation.
        bits, group_size: of the quantisation.

    Returns:
        [..., rows] in the dtype of ``x``.
    """
    if mx.default_device() == mx.Device(mx.cpu) and x.size > x.shape[-1]:
        unpacked = mx.dequantize(packed, scales, offsets, group_size, bits)
        return x @ unpacked.astype(x.dtype).T
    return mx.quantized_matmul(
        x, packed, scales, offsets, transpose=True, group_size=group_size, bits=bits
    )
