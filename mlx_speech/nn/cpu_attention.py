"""Attention without a mask on a CPU: scores in the cache, exponentials from products.

MLX's attention makes all scores of all heads at once there, 54 MB for six heads of 1500
positions, and spends four fifths of its time on exponentials. Here the scores of a
block of queries are made, used and dropped before the next one (Dao et al.,
"FlashAttention", 2022, without its running maximum: a block sees all keys). They lie
keys first, so that maxima and sums over the keys are those of rows, which are
vectorised. The gradient makes the scores again instead of keeping them.

One query at a time, as decoding asks, needs the keys in slabs instead; see `few_rows`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import mlx.core as mx

from mlx_speech.nn.conv import current_device
from mlx_speech.nn.exponentials import LOG2_E, is_slow, powers_of_two
from mlx_speech.nn.few_rows import slab_of

# Scores of a block: 1.5 MB, about what a core has for itself.
_BLOCK = 384_000
# From so many queries on, blocks are worth their making.
_MANY_QUERIES = 32
# From so many keys on, a few queries are worth the slabs.
_MANY_KEYS = 512


def is_for_cpu(query: mx.array, keys: mx.array, mask: mx.array | str | None) -> bool:
    """Whether :func:`attend_on_cpu` is the quicker way, arguments as of attention.

    Heads that share keys are left to MLX.
    """
    if mask is not None or query.dtype != mx.float32 or current_device() != "cpu":
        return False
    if query.shape[1] != keys.shape[1]:
        return False
    return query.shape[2] >= _MANY_QUERIES or keys.shape[2] >= _MANY_KEYS


def attend_on_cpu(query: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    """Scaled dot-product attention, all float32 [batch, heads, length, channels].

    Queries, keys and values have the same heads.
    """
    scale = query.shape[-1] ** -0.5
    if query.shape[2] < _MANY_QUERIES:
        return _attend_few(query * scale, keys, values)
    batch, heads, length, _ = query.shape
    # Scores in base 2 take a power of two each.
    rows = (_as_rows(array) for array in (query * (scale * LOG2_E), keys, values))
    made = cast(mx.array, _attend_many(*rows))
    return made.reshape(batch, heads, length, values.shape[-1])


def _attend_few(query: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    batch, heads, length, channels = query.shape
    positions = keys.shape[2]
    size = slab_of(positions, length, channels)
    if size is None or positions % size:
        scores = query @ keys.swapaxes(-1, -2)
    else:
        slabs = keys.reshape(batch, heads, -1, size, channels)
        scores = query[:, :, None] @ slabs.swapaxes(-1, -2)
        scores = scores.swapaxes(2, 3).reshape(batch, heads, length, positions)
    if not is_slow(scores):
        return mx.softmax(scores, axis=-1) @ values
    scores = scores * LOG2_E
    powers = powers_of_two(scores, mx.ceil(scores.max(axis=-1, keepdims=True)))
    return (powers @ values) / powers.sum(axis=-1, keepdims=True)


@mx.custom_function
def _attend_many(query: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    """Attention of [rows, length, channels], one row for each head of each example."""
    pieces: list[list[mx.array]] = []
    for rows, queries in _blocks(query.shape[0], query.shape[1], keys.shape[1]):
        powers, totals = _powers(query[rows, queries], keys[rows])
        piece = (powers.swapaxes(-1, -2) @ values[rows]) / totals.swapaxes(-1, -2)
        if queries.start == 0:
            pieces.append([])
        pieces[-1].append(piece)
    return mx.concatenate([mx.concatenate(row, axis=1) for row in pieces], axis=0)


@_attend_many.vjp
def _gradients(
    primals: Sequence[mx.array], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    query, keys, values = primals
    of_queries: list[list[mx.array]] = []
    of_keys: list[mx.array] = []
    of_values: list[mx.array] = []
    for rows, queries in _blocks(query.shape[0], query.shape[1], keys.shape[1]):
        part, k, v = query[rows, queries], keys[rows], values[rows]
        above, made = cotangent[rows, queries], output[rows, queries]
        powers, totals = _powers(part, k)
        weights = powers / totals
        # What softmax passes on: the change of a weight less that of their mean.
        mean = (above * made).sum(axis=-1)[:, None]
        change = (v @ above.swapaxes(-1, -2) - mean) * weights * math.log(2)
        if queries.start == 0:
            of_queries.append([])
            of_keys.append(mx.zeros_like(k))
            of_values.append(mx.zeros_like(v))
        of_queries[-1].append(change.swapaxes(-1, -2) @ k)
        of_keys[-1] = of_keys[-1] + change @ part
        of_values[-1] = of_values[-1] + weights @ above
    joined = mx.concatenate([mx.concatenate(row, axis=1) for row in of_queries], axis=0)
    return joined, mx.concatenate(of_keys, axis=0), mx.concatenate(of_values, axis=0)


def _powers(query: mx.array, keys: mx.array) -> tuple[mx.array, mx.array]:
    """Weights [rows, keys, queries] before they are divided by their sums.

    The sums are [rows, 1, queries].
    """
    scores = keys @ query.swapaxes(-1, -2)
    powers = powers_of_two(scores, mx.ceil(scores.max(axis=-2, keepdims=True)))
    return powers, powers.sum(axis=-2, keepdims=True)


def _blocks(rows: int, queries: int, keys: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and of queries whose scores fit: whole rows where one does."""
    together = max(1, _BLOCK // (queries * keys))
    width = queries if queries * keys <= _BLOCK else max(1, _BLOCK // keys)
    for row in range(0, rows, together):
        for first in range(0, queries, width):
            yield slice(row, row + together), slice(first, first + width)


def _as_rows(x_bhlc: mx.array) -> mx.array:
    return x_bhlc.reshape(-1, *x_bhlc.shape[2:])
