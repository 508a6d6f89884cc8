"""Masks of padded batches, and segments cut out of them."""

from __future__ import annotations

import mlx.core as mx


def sequence_mask(lengths_b: mx.array, time: int) -> mx.array:
    """1.0 at the first ``lengths`` positions, else 0.0: float32 [batch, time, 1]."""
    return (mx.arange(time)[None, :, None] < lengths_b[:, None, None]).astype(
        mx.float32
    )


def slice_segments(x: mx.array, starts_b: mx.array, length: int) -> mx.array:
    """Cut one segment of equal length out of each item.

    Args:
        x: [batch, time] or [batch, time, channels].
        starts_b: first position of each segment, int [batch]; the segment must lie
            inside of ``x``.
        length: positions of a segment.

    Returns:
        [batch, length] or [batch, length, channels].
    """
    positions = starts_b[:, None] + mx.arange(length)[None, :]
    if x.ndim == 3:
        positions = positions[..., None]
    return mx.take_along_axis(x, positions, axis=1)
