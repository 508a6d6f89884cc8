"""Voxtral Realtime: text that follows a stream of audio by a fixed delay.

Mistral AI, "Voxtral Realtime", 2026 (arXiv 2602.11298). The encoder sees only what came
before, so it works on parts of a stream as on the whole; every token of the decoder
is the last token plus 80 ms of audio, and gives the next one.
"""

from __future__ import annotations

import math
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.activations import gelu
from mlx_speech.nn.caches import Cache, Mask, new_caches
from mlx_speech.nn.layers import Conv1d
from mlx_speech.nn.rotary import RotaryAttention, SwiGLU
from mlx_speech.voxtral.decoder import LanguageModel
from mlx_speech.voxtral.model import Projector
from mlx_speech.voxtral.realtime_config import RealtimeAudioConfig, RealtimeConfig

LONGEST_PERIOD = 10000


class EncoderState:
    """What the encoder must remember of the parts before.

    Attributes:
        caches: keys and values of the latest positions, for each layer.
        frames: the latest frames of mel before the first convolution, [1, 2, bands];
            the latest of its output before the second, [1, 1, channels]. At first both
            are silent.
    """

    def __init__(self, caches: list[Cache]) -> None:
        self.caches = caches
        self.frames: list[mx.array | None] = [None, None]

    def with_earlier(self, index: int, x_btc: mx.array, taps: int) -> mx.array:
        """``x`` behind the ``taps`` frames that came before it, which it replaces."""
        earlier = self.frames[index]
        if earlier is None:
            earlier = mx.zeros((x_btc.shape[0], taps, x_btc.shape[2]), x_btc.dtype)
        joined = mx.concatenate([earlier, x_btc], axis=1)
        self.frames[index] = joined[:, -taps:]
        return joined


class Embedder(nn.Module):
    """Two convolutions that see no future; the second halves the frame rate."""

    def __init__(self, n_mels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv1d(n_mels, channels, 3)
        self.conv2 = Conv1d(channels, channels, 3, stride=2)

    def __call__(self, mel_bfm: mx.array, state: EncoderState) -> mx.array:
        """[batch, frames, bands] to [batch, frames / 2, channels]; frames are even."""
        x = gelu(self.conv1(state.with_earlier(0, mel_bfm, 2)))
        return gelu(self.conv2(state.with_earlier(1, x, 1)))


class EncoderLayer(nn.Module):
    """Attention to the latest positions and a gated feed-forward network."""

    def __init__(self, config: RealtimeAudioConfig) -> None:
        super().__init__()
        channels, heads = config.hidden_size, config.num_attention_heads
        self.self_attn = RotaryAttention(
            channels, heads, heads, config.head_dim, config.rope_theta, biases="qvo"
        )
        self.self_attn_layer_norm = nn.RMSNorm(channels, config.rms_norm_eps)
        self.mlp = SwiGLU(channels, config.intermediate_size, down_bias=True)
        self.final_layer_norm = nn.RMSNorm(channels, config.rms_norm_eps)

    def __call__(self, x_blc: mx.array, mask: Mask, cache: Cache) -> mx.array:
        """[batch, length, channels] to the same."""
        x = x_blc + self.self_attn(self.self_attn_layer_norm(x_blc), mask, cache)
        return x + self.mlp(self.final_layer_norm(x))


class RealtimeEncoder(nn.Module):
    """Log-mel spectrogram to features, part by part."""

    def __init__(self, config: RealtimeAudioConfig) -> None:
        super().__init__()
        self.embedder = Embedder(config.num_mel_bins, config.hidden_size)
        self.layers = [EncoderLayer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self._window = config.sliding_window

    def new_state(self) -> EncoderState:
        """The state before the first part."""
        return EncoderState(new_caches(len(self.layers), self._window))

    def __call__(self, mel_bfm: mx.array, state: EncoderState) -> mx.array:
        """Encode the next part.

        Args:
            mel_bfm: [batch, frames, mel bands], an even number of frames.
            state: of the parts before; changes.

        Returns:
            [batch, frames / 2, channels].
        """
        x = self.embedder(mel_bfm.astype(self.norm.weight.dtype), state)
        mask = state.caches[0].mask(x.shape[1])
        for layer, cache in zip(self.layers, state.caches, strict=True):
            x = layer(x, mask, cache)
        return self.norm(x)


class VoxtralRealtime(nn.Module):
    """Voxtral Mini 4B Realtime, of February 2026.

    Args:
        config: sizes.

    Attributes:
        config: sizes.
        folder: where the weights came from, for what lies beside them; None: nowhere.
    """

    def __init__(self, config: RealtimeConfig) -> None:
        super().__init__()
        self.config = config
        self.folder: Path | None = None
        joined = config.downsample_factor * config.audio.hidden_size
        self.audio_tower = RealtimeEncoder(config.audio)
        self.multi_modal_projector = Projector(joined, config.text.hidden_size)
        self.language_model = LanguageModel(
            config.text, tied=True, delay_channels=config.delay_channels
        )

    @property
    def dtype(self) -> mx.Dtype:
        """Dtype that the model computes in."""
        return self.language_model.model.norm.weight.dtype

    def encode(self, mel_fm: mx.array, state: EncoderState) -> mx.array:
        """Embeddings of the next part of the audio.

        Args:
            mel_fm: log-mel [frames, mel bands], frames of whole tokens.
            state: of the audio tower.

        Returns:
            [tokens, channels].
        """
        features = self.audio_tower(mel_fm[None], state)
        channels = self.config.downsample_factor * self.config.audio.hidden_size
        return self.multi_modal_projector(features.reshape(-1, channels))

    def delay_scales(self, delay_tokens: int) -> list[mx.array]:
        """What the delay does to the feed-forward network of each layer, [channels].

        Args:
            delay_tokens: how many tokens of 80 ms the text is behind.
        """
        half = self.config.text.hidden_size // 2
        steps = mx.arange(half, dtype=mx.float32) * (-math.log(LONGEST_PERIOD) / half)
        # In the model's precision, as it was trained.
        angles = delay_tokens * mx.exp(steps).astype(self.dtype)
        delay = mx.concatenate([mx.cos(angles), mx.sin(angles)])
        return [layer.ada_rms_norm(delay) for layer in self.language_model.model.layers]

    def read(
        self,
        tokens: mx.array,
        audio: mx.array,
        caches: list[Cache],
        scales: list[mx.array],
    ) -> mx.array:
        """Read tokens with their audio.

        Args:
            tokens: ids [length].
            audio: [length, channels] of :meth:`encode`, added to the tokens.
            caches: of the tokens before; these are added.
            scales: of :meth:`delay_scales`.

        Returns:
            Logits of the token after each, float32 [length, vocabulary].
        """
        text = self.language_model.embed(tokens).astype(self.dtype)
        x = (text + audio.astype(self.dtype))[None]
        return self.language_model.logits(self.language_model(x, caches, scales))[0]
