"""VITS's text encoder: symbols to the prior's mean and variance.

A Transformer with relative positions, layer norm after each residual, and a
convolutional feed-forward part (Kim et al. 2020, Glow-TTS, arXiv 2005.11129).
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.layers import Conv1d
from mlx_speech.nn.norm import ChannelLayerNorm
from mlx_speech.nn.relative import RelativeAttention
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.masks import sequence_mask


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between them."""

    def __init__(
        self, channels: int, filter_channels: int, kernel_size: int, p_dropout: float
    ) -> None:
        super().__init__()
        self.conv_1 = Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = Conv1d(filter_channels, channels, kernel_size)
        self.drop = nn.Dropout(p_dropout)
        # An even kernel has one tap more on the left, as in the reference.
        self._padding = [(0, 0), ((kernel_size - 1) // 2, kernel_size // 2), (0, 0)]

    def __call__(self, x_blc: mx.array, mask_bl1: mx.array) -> mx.array:
        hidden = self.conv_1(mx.pad(x_blc * mask_bl1, self._padding))
        hidden = self.drop(mx.maximum(hidden, 0))
        return self.conv_2(mx.pad(hidden * mask_bl1, self._padding)) * mask_bl1


class Encoder(nn.Module):
    """The Transformer stack, [batch, symbols, hidden_channels] in and out."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.attn_layers = []
        self.norm_layers_1 = []
        self.ffn_layers = []
        self.norm_layers_2 = []
        for _ in range(config.n_layers):
            self.attn_layers.append(
                RelativeAttention(
                    hidden, hidden, config.n_heads, config.window_size, config.p_dropout
                )
            )
            self.norm_layers_1.append(ChannelLayerNorm(hidden))
            self.ffn_layers.append(
                FeedForward(
                    hidden, config.filter_channels, config.kernel_size, config.p_dropout
                )
            )
            self.norm_layers_2.append(ChannelLayerNorm(hidden))
        self.drop = nn.Dropout(config.p_dropout)

    def __call__(self, x_blc: mx.array, mask_bl1: mx.array) -> mx.array:
        """``mask_bl1`` is 1 at valid symbols; padding comes out as zero."""
        key_mask = mask_bl1.swapaxes(1, 2)
        x = x_blc * mask_bl1
        for attention, norm_1, feed_forward, norm_2 in zip(
            self.attn_layers,
            self.norm_layers_1,
            self.ffn_layers,
            self.norm_layers_2,
            strict=True,
        ):
            x = norm_1(x + self.drop(attention(x, x, key_mask)))
            x = norm_2(x + self.drop(feed_forward(x, mask_bl1)))
        return x * mask_bl1


class TextEncoder(nn.Module):
    """Embedding, Transformer, and the projection to the prior.

    Args:
        config: ``n_vocab``, ``hidden_channels``, ``filter_channels``, ``n_heads``,
            ``n_layers``, ``kernel_size``, ``window_size``, ``p_dropout`` and
            ``inter_channels`` are used.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self._embedding_scale = math.sqrt(hidden)
        self.emb = nn.Embedding(config.n_vocab, hidden)
        self.emb.weight = hidden**-0.5 * mx.random.normal((config.n_vocab, hidden))
        self.encoder = Encoder(config)
        self.proj = Conv1d(hidden, 2 * config.inter_channels, 1)

    def __call__(
        self, text_bl: mx.array, text_lengths_b: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        """Encode a padded batch of symbol ids.

        Args:
            text_bl: symbol ids below ``n_vocab``, int [batch, symbols].
            text_lengths_b: valid symbols of each item, int [batch].

        Returns:
            x [batch, symbols, hidden_channels]; m_p and logs_p, mean and log standard
            deviation of the prior, each [batch, symbols, inter_channels]; and the mask
            [batch, symbols, 1]. All are zero at padding.
        """
        mask_bl1 = sequence_mask(text_lengths_b, text_bl.shape[1])
        x = self.encoder(self.emb(text_bl) * self._embedding_scale, mask_bl1)
        m_p, logs_p = mx.split(self.proj(x) * mask_bl1, 2, axis=-1)
        return x, m_p, logs_p, mask_bl1
