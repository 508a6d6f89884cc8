"""The encoder of Whisper, which Voxtral shares: mel spectrogram to features.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022: two
convolutions halve the frame rate, sinusoids tell the position, and layers of attention
and feed-forward follow, each with its norm in front. Parameters have the names of the
Hugging Face checkpoints, except that projections are fused (`nn.attention`) and tables
of positions are plain arrays.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.nn.activations import gelu
from mlx_speech.nn.attention import (
    CrossAttention,
    KeysValues,
    KeyValueCache,
    SelfAttention,
)
from mlx_speech.nn.few_rows import Linear
from mlx_speech.nn.layers import Conv1d

# The second convolution makes one position of two frames of the mel spectrogram.
FRAMES_PER_POSITION = 2
LONGEST_PERIOD = 10000


class TransformerLayer(nn.Module):
    """Self-attention, perhaps attention to a context, and a feed-forward network.

    Args:
        channels: of input and output.
        n_heads: of either attention.
        mlp_channels: inside the feed-forward network.
        has_context: whether there is attention to a context (a decoder's layer).
    """

    def __init__(
        self, channels: int, n_heads: int, mlp_channels: int, has_context: bool = False
    ) -> None:
        super().__init__()
        self.self_attn = SelfAttention(channels, n_heads)
        self.self_attn_layer_norm = nn.LayerNorm(channels)
        if has_context:
            self.encoder_attn = CrossAttention(channels, n_heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(channels)
        self.fc1 = Linear(channels, mlp_channels)
        self.fc2 = Linear(mlp_channels, channels)
        self.final_layer_norm = nn.LayerNorm(channels)

    def __call__(
        self,
        x_blc: mx.array,
        mask: mx.array | str | None = None,
        cache: KeyValueCache | None = None,
        context: KeysValues | None = None,
    ) -> mx.array:
        """[batch, length, channels] to the same; see the two attentions."""
        x = self.attend_to_itself(x_blc, mask, cache)
        if context is not None:
            x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), context)
        return self.feed_forward(x)

    def attend_to_itself(
        self, x_blc: mx.array, mask: mx.array | str | None, cache: KeyValueCache | None
    ) -> mx.array:
        """The first part of the layer, with its residual connection."""
        return x_blc + self.self_attn(x_blc, mask, cache, self.self_attn_layer_norm)

    def feed_forward(self, x_blc: mx.array) -> mx.array:
        """The last part of the layer, with its residual connection."""
        return x_blc + self.fc2(gelu(self.fc1(self.final_layer_norm(x_blc))))


class SpeechEncoder(nn.Module):
    """Log-mel spectrogram to features.

    Args:
        n_mels: bands of the spectrogram.
        n_positions: most positions of the output; half as many as frames of the input.
        channels: of the features (even, for the sinusoids).
        n_heads, n_layers, mlp_channels: see :class:`TransformerLayer`.
    """

    def __init__(
        self,
        n_mels: int,
        n_positions: int,
        channels: int,
        n_heads: int,
        n_layers: int,
        mlp_channels: int,
    ) -> None:
        super().__init__()
        self.conv1 = Conv1d(n_mels, channels, 3, padding=1)
        self.conv2 = Conv1d(channels, channels, 3, stride=2, padding=1)
        self.embed_positions = sinusoids(n_positions, channels)
        self.layers = [
            TransformerLayer(channels, n_heads, mlp_channels) for _ in range(n_layers)
        ]
        self.layer_norm = nn.LayerNorm(channels)
        # The table is computed, not learned.
        self.freeze(recurse=False, keys="embed_positions")

    def __call__(self, mel_bfm: mx.array) -> mx.array:
        """Encode.

        Args:
            mel_bfm: [batch, frames, n_mels]; cast to the dtype of the weights. An even
                number of frames up to 2 ``n_positions``. Fewer than that is not what
                Whisper was trained on.

        Returns:
            [batch, frames / 2, channels].

        Raises:
            SpeechError: another number of bands or frames.
        """
        self._check(mel_bfm)
        table = self.embed_positions
        x = gelu(self.conv1(mel_bfm.astype(table.dtype)))
        x = gelu(self.conv2(x))
        x = x + table[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)

    def _check(self, mel_bfm: mx.array) -> None:
        n_mels = self.conv1.weight.shape[2]
        most = FRAMES_PER_POSITION * self.embed_positions.shape[0]
        if mel_bfm.ndim != 3 or mel_bfm.shape[2] != n_mels:
            raise SpeechError(
                f"the encoder takes [batch, frames, {n_mels}], not "
                f"{list(mel_bfm.shape)}",
                f"make a log-mel spectrogram of {n_mels} bands, frames before bands",
            )
        frames = mel_bfm.shape[1]
        if not 0 < frames <= most or frames % FRAMES_PER_POSITION:
            raise SpeechError(
                f"the encoder takes an even number of frames up to {most}, not "
                f"{frames}",
                "pad or cut the spectrogram",
            )


def sinusoids(length: int, channels: int) -> mx.array:
    """Sines, then cosines, of geometrically spaced frequencies, float32 [length, c].

    In single precision like the original: with angles up to 1500 the last bit of a
    frequency shows in the fourth decimal of a sine.

    Raises:
        SpeechError: an odd number of channels, or fewer than four.
    """
    if channels % 2 or channels < 4:
        raise SpeechError(
            f"{channels} channels cannot hold sines and cosines of several frequencies",
            "choose an even number from 4 on",
        )
    step = np.log(LONGEST_PERIOD) / (channels // 2 - 1)
    steps = np.float32(-step) * np.arange(channels // 2, dtype=np.float32)
    frequencies = np.exp(steps.astype(np.float64)).astype(np.float32)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    return mx.array(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
