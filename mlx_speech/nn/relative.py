"""Multi-head attention with learned relative positions.

Shaw et al. 2018 (arXiv 1803.02155) in the form of VITS's text encoder: each distance
up to ``window_size`` has a vector that is added to the keys and one that is added to
the values, shared by all heads. The terms beyond the window are zero, so only a band of
``2 window_size + 1`` distances is ever computed; padding and reshaping turn the band
into a diagonal stripe of the score matrix and back, without a gather.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.layers import Conv1d

# Added to a masked score: its exponential is zero in float32, and float16 holds it.
MASKED_SCORE = -1e4


class RelativeAttention(nn.Module):
    """Attention over [batch, time, channels], with relative positions if asked for.

    Args:
        channels: channels of the input and of queries, keys and values.
        out_channels: channels of the output.
        n_heads: heads; must divide ``channels``.
        window_size: largest distance with a vector of its own; None for none.
        p_dropout: dropout of the attention weights, in training mode.

    Raises:
        SpeechError: ``channels`` is not a multiple of ``n_heads``.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        n_heads: int,
        window_size: int | None = None,
        p_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if channels % n_heads:
            raise SpeechError(
                f"{channels} channels cannot be split into {n_heads} heads",
                "choose a number of heads that divides the channels",
            )
        self.n_heads = n_heads
        self.window_size = window_size
        self.conv_q = Conv1d(channels, channels, 1)
        self.conv_k = Conv1d(channels, channels, 1)
        self.conv_v = Conv1d(channels, channels, 1)
        self.conv_o = Conv1d(channels, out_channels, 1)
        xavier_bound = math.sqrt(6 / (2 * channels))
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            shape = conv.weight.shape
            conv.weight = mx.random.uniform(-xavier_bound, xavier_bound, shape)
        if window_size is not None:
            head_channels = channels // n_heads
            shape = (1, 2 * window_size + 1, head_channels)
            scale = head_channels**-0.5
            self.emb_rel_k = scale * mx.random.normal(shape)
            self.emb_rel_v = scale * mx.random.normal(shape)
        self.drop = nn.Dropout(p_dropout)

    def __call__(
        self, x_bqc: mx.array, context_bkc: mx.array, mask: mx.array | None = None
    ) -> mx.array:
        """Attend from ``x`` to ``context``.

        Args:
            x_bqc: [batch, queries, channels].
            context_bkc: [batch, keys, channels]; ``x`` itself for self-attention, which
                relative positions need.
            mask: 1 or True where a key may be seen, [batch, 1 or queries, keys]. A
                query that sees no key gives finite values without meaning.

        Returns:
            [batch, queries, out_channels].

        Raises:
            SpeechError: relative positions, and not as many queries as keys.
        """
        query = self._split_heads(self.conv_q(x_bqc))
        key = self._split_heads(self.conv_k(context_bkc))
        value = self._split_heads(self.conv_v(context_bkc))
        query = query * query.shape[-1] ** -0.5
        scores = query @ key.swapaxes(-1, -2)
        if self.window_size is not None:
            if x_bqc.shape[1] != context_bkc.shape[1]:
                raise SpeechError(
                    f"relative positions need as many queries as keys, not "
                    f"{x_bqc.shape[1]} and {context_bkc.shape[1]}",
                    "use window_size=None for attention to another sequence",
                )
            scores = scores + band_to_matrix(query @ self.emb_rel_k.swapaxes(-1, -2))
        if mask is not None:
            hidden_keys = 1 - mask[:, None].astype(scores.dtype)
            scores = scores + MASKED_SCORE * hidden_keys
        weights = self.drop(mx.softmax(scores, axis=-1))
        attended = weights @ value
        if self.window_size is not None:
            attended = (
                attended + matrix_to_band(weights, self.window_size) @ self.emb_rel_v
            )
        batch, _, queries, _ = attended.shape
        return self.conv_o(attended.swapaxes(1, 2).reshape(batch, queries, -1))

    def _split_heads(self, x_btc: mx.array) -> mx.array:
        batch, time, channels = x_btc.shape
        split = x_btc.reshape(batch, time, self.n_heads, channels // self.n_heads)
        return split.swapaxes(1, 2)


def band_to_matrix(band: mx.array) -> mx.array:
    """Put the terms of the distances -w..w on the diagonals of a square matrix.

    Args:
        band: [..., time, 2 w + 1]; entry d of row i belongs to column i + d - w.

    Returns:
        [..., time, time], zero outside of the band.
    """
    *lead, time, width = band.shape
    window = width // 2
    row = time + 2 * window
    # Rows one longer than `row`, read as rows of `row`, shift row i by i to the right.
    padding = [(0, 0)] * (len(lead) + 1) + [(0, row + 1 - width)]
    flat = mx.pad(band, padding).reshape(*lead, time * (row + 1))
    matrix = flat[..., : time * row].reshape(*lead, time, row)
    return matrix[..., window : window + time]


def matrix_to_band(matrix: mx.array, window: int) -> mx.array:
    """The diagonals of the distances -w..w of a square matrix.

    Args:
        matrix: [..., time, time].
        window: w.

    Returns:
        [..., time, 2 w + 1]; zero where a diagonal leaves the matrix.
    """
    *lead, time, _ = matrix.shape
    row = time + 2 * window
    padding = [(0, 0)] * (len(lead) + 1)
    wide = mx.pad(matrix, [*padding, (window, window)]).reshape(*lead, time * row)
    flat = mx.pad(wide, [*padding[1:], (0, time)])
    return flat.reshape(*lead, time, row + 1)[..., : 2 * window + 1]
