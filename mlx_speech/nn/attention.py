"""Multi-head attention with fused projections and caches of keys and values.

Vaswani et al., "Attention Is All You Need", 2017, as Whisper uses it: one product makes
queries, keys and values, or keys and values of another sequence. Checkpoints hold the
three apart, and often no bias for the keys; fused, that bias is zero. It has no effect
in any case: it adds the same number to all scores of a query, which softmax ignores.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.fused_qkv_reference import split_heads
from mlx_speech.nn.cpu_attention import attend_on_cpu, is_for_cpu
from mlx_speech.nn.few_rows import Linear
from mlx_speech.nn.projections import project_heads

KeysValues = tuple[mx.array, mx.array]


class KeyValueCache:
    """Keys and values of the tokens so far, in buffers of a fixed size.

    Args:
        capacity: tokens that fit.

    Attributes:
        keys, values: [batch, heads, capacity, head channels] once something was added.
        length: tokens that are in.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.keys: mx.array | None = None
        self.values: mx.array | None = None

    def append(self, keys_bhlc: mx.array, values_bhlc: mx.array) -> KeysValues:
        """Add tokens; give all keys and values that are in now, [batch, heads, n, c].

        Raises:
            SpeechError: the buffers are too small, or made for another batch.
        """
        batch, heads, added, channels = keys_bhlc.shape
        end = self.length + added
        if end > self.capacity:
            raise SpeechError(
                f"{end} tokens do not fit in a cache for {self.capacity}",
                "make the cache larger",
            )
        if self.keys is None or self.values is None:
            shape = (batch, heads, self.capacity, channels)
            self.keys = mx.zeros(shape, keys_bhlc.dtype)
            self.values = mx.zeros(shape, values_bhlc.dtype)
        if self.keys.shape[0] != batch:
            raise SpeechError(
                f"the cache holds {self.keys.shape[0]} rows, not {batch}",
                "reorder it when rows leave or multiply",
            )
        self.keys[:, :, self.length : end] = keys_bhlc
        self.values[:, :, self.length : end] = values_bhlc
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def reorder(self, indices: mx.array) -> None:
        """Replace row i by row ``indices[i]``; there may be more or fewer rows."""
        if self.keys is not None and self.values is not None:
            self.keys = self.keys[indices]
            self.values = self.values[indices]

    def trim(self, length: int) -> None:
        """Forget all tokens but the first ``length``.

        Raises:
            SpeechError: there are fewer.
        """
        if not 0 <= length <= self.length:
            raise SpeechError(
                f"a cache of {self.length} tokens cannot be cut to {length}"
            )
        self.length = length


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; one product makes q, k and v.

    Args:
        channels: of input and output.
        n_heads: must divide ``channels``.
        bias: whether the projections have biases.

    Raises:
        SpeechError: ``channels`` is no multiple of ``n_heads``.
    """

    def __init__(self, channels: int, n_heads: int, bias: bool = True) -> None:
        super().__init__()
        check_heads(channels, n_heads)
        self.n_heads = n_heads
        self.qkv_proj = Linear(channels, 3 * channels, bias)
        self.out_proj = Linear(channels, channels, bias)

    def __call__(
        self,
        x_blc: mx.array,
        mask: mx.array | str | None = None,
        cache: KeyValueCache | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> mx.array:
        """Attend.

        Args:
            x_blc: [batch, length, channels].
            mask: "causal", or True where a key may be seen, broadcastable to
                [batch, heads, length, keys]; None: all may.
            cache: earlier tokens, which come before those of ``x``; these are added.
            norm: of ``x``; on Metal one kernel may norm and project.

        Returns:
            [batch, length, channels].
        """
        query, keys, values = project_heads(x_blc, self.qkv_proj, self.n_heads, norm)
        if cache is not None:
            keys, values = cache.append(keys, values)
        return self.out_proj(merge_heads(attend(query, keys, values, mask)))


class CrossAttention(nn.Module):
    """Attention to another sequence, whose keys and values are made once.

    Args:
        channels: of both sequences and of the output.
        n_heads: must divide ``channels``.
        bias: whether the projections have biases.

    Raises:
        SpeechError: ``channels`` is no multiple of ``n_heads``.
    """

    def __init__(self, channels: int, n_heads: int, bias: bool = True) -> None:
        super().__init__()
        check_heads(channels, n_heads)
        self.n_heads = n_heads
        self.q_proj = Linear(channels, channels, bias)
        self.kv_proj = Linear(channels, 2 * channels, bias)
        self.out_proj = Linear(channels, channels, bias)

    def key_values(self, context_bsc: mx.array) -> KeysValues:
        """Keys and values of [batch, positions, channels], each [batch, heads, p, c].

        They are laid out afresh, since every later token reads them.
        """
        keys, values = mx.split(self.kv_proj(context_bsc), 2, axis=-1)
        return (
            mx.contiguous(split_heads(keys, self.n_heads)),
            mx.contiguous(split_heads(values, self.n_heads)),
        )

    def __call__(self, x_blc: mx.array, key_values: KeysValues) -> mx.array:
        """Attend.

        Args:
            x_blc: [rows, length, channels]. There may be several consecutive rows for
                each context (beams): they share its keys and values.
            key_values: what :meth:`key_values` made.

        Returns:
            [rows, length, channels].

        Raises:
            SpeechError: the rows are no multiple of the contexts.
        """
        keys, values = key_values
        query = self._grouped_query(x_blc, keys)
        # All rows of a context lie along one axis now, [contexts, heads, queries, c].
        merged = merge_heads(attend(query, keys, values, None))
        return self.out_proj(merged.reshape(x_blc.shape))

    def scores(
        self, x_blc: mx.array, key_values: KeysValues, heads: Sequence[int]
    ) -> mx.array:
        """Scores before softmax of some heads, float32 [rows, heads, length, p]."""
        keys = key_values[0][:, mx.array(list(heads))]
        query = self._grouped_query(x_blc, keys)[:, mx.array(list(heads))]
        scale = query.shape[-1] ** -0.5
        scores = (query * scale).astype(mx.float32) @ keys.astype(mx.float32).swapaxes(
            -1, -2
        )
        contexts, n, _, positions = scores.shape
        split = scores.reshape(contexts, n, -1, x_blc.shape[1], positions)
        return split.swapaxes(1, 2).reshape(-1, n, x_blc.shape[1], positions)

    def _grouped_query(self, x_blc: mx.array, keys: mx.array) -> mx.array:
        rows, _, channels = x_blc.shape
        contexts = keys.shape[0]
        if rows % contexts:
            raise SpeechError(
                f"{rows} rows cannot share the keys of {contexts} contexts evenly"
            )
        query = self.q_proj(x_blc).reshape(contexts, -1, channels)
        return split_heads(query, self.n_heads)


def attend(
    query: mx.array, keys: mx.array, values: mx.array, mask: mx.array | str | None
) -> mx.array:
    """Scaled dot-product attention, all [batch, heads, length, head channels].

    The heads of the queries may be a multiple of those of keys and values, which
    consecutive ones share then.
    """
    if is_for_cpu(query, keys, mask):
        return attend_on_cpu(query, keys, values)
    scale = query.shape[-1] ** -0.5
    return mx.fast.scaled_dot_product_attention(
        query, keys, values, scale=scale, mask=mask
    )


def merge_heads(x_bhlc: mx.array) -> mx.array:
    """The inverse of :func:`split_heads`."""
    batch, heads, length, channels = x_bhlc.shape
    return x_bhlc.swapaxes(1, 2).reshape(batch, length, heads * channels)


def check_heads(channels: int, n_heads: int) -> None:
    """Refuse a number of heads that does not divide the channels (SpeechError)."""
    if n_heads < 1 or channels % n_heads:
        raise SpeechError(
            f"{channels} channels cannot be split into {n_heads} heads",
            "choose a number of heads that divides the channels",
        )
