"""The language model that reads features of audio among, or added to, its tokens.

Voxtral 2507 has a Llama, Voxtral Realtime a Mistral whose feed-forward networks are
scaled by how long it may wait. Names are those of the Hugging Face checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.activations import gelu
from mlx_speech.nn.caches import Cache, Mask, new_caches
from mlx_speech.nn.rotary import RotaryAttention, SwiGLU
from mlx_speech.voxtral.config import TextConfig


class DelayScale(nn.Module):
    """Two layers that make, of the delay, a scale for each channel of one layer."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, inner, False)
        self.linear2 = nn.Linear(inner, channels, False)

    def __call__(self, delay: mx.array) -> mx.array:
        """[..., channels] to the same."""
        return 1 + self.linear2(gelu(self.linear1(delay)))


class DecoderLayer(nn.Module):
    """Attention and feed-forward network, each with a norm in front.

    Args:
        config: sizes.
        delay_channels: inside :class:`DelayScale`; 0: the layer has none.
    """

    def __init__(self, config: TextConfig, delay_channels: int = 0) -> None:
        super().__init__()
        channels, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = RotaryAttention(
            channels,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.rope_theta,
        )
        self.mlp = SwiGLU(channels, config.intermediate_size)
        self.input_layernorm = nn.RMSNorm(channels, eps)
        self.post_attention_layernorm = nn.RMSNorm(channels, eps)
        if delay_channels:
            self.ada_rms_norm = DelayScale(channels, delay_channels)

    def __call__(
        self, x_blc: mx.array, mask: Mask, cache: Cache, scale: mx.array | None
    ) -> mx.array:
        """[batch, length, channels] to the same; ``scale``: see :class:`DelayScale`."""
        x = x_blc + self.self_attn(self.input_layernorm(x_blc), mask, cache)
        normed = self.post_attention_layernorm(x)
        return x + self.mlp(normed if scale is None else normed * scale)


class DecoderStack(nn.Module):
    """The table of tokens, the layers and the last norm."""

    def __init__(self, config: TextConfig, delay_channels: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = [
            DecoderLayer(config, delay_channels)
            for _ in range(config.num_hidden_layers)
        ]
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)


class LanguageModel(nn.Module):
    """Embeddings of tokens to logits of the next.

    Args:
        config: sizes.
        tied: whether the table of tokens makes the logits too.
        delay_channels: see :class:`DecoderLayer`.
    """

    def __init__(
        self, config: TextConfig, tied: bool = False, delay_channels: int = 0
    ) -> None:
        super().__init__()
        self.model = DecoderStack(config, delay_channels)
        if not tied:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, False)
        self._window = config.sliding_window

    def embed(self, tokens: mx.array) -> mx.array:
        """Ids [...] to [..., channels]."""
        return self.model.embed_tokens(tokens)

    def new_caches(self) -> list[Cache]:
        """Empty caches for a sequence."""
        return new_caches(len(self.model.layers), self._window)

    def __call__(
        self,
        x_blc: mx.array,
        caches: Sequence[Cache],
        scales: Sequence[mx.array] | None = None,
    ) -> mx.array:
        """Read a part of a sequence.

        Args:
            x_blc: embeddings [batch, length, channels].
            caches: of the parts before; this one is added.
            scales: of each layer, when the layers have scales.

        Returns:
            Hidden states [batch, length, channels]; see :meth:`logits`.
        """
        mask = caches[0].mask(x_blc.shape[1])
        x = x_blc
        for index, (layer, cache) in enumerate(
            zip(self.model.layers, caches, strict=True)
        ):
            x = layer(x, mask, cache, None if scales is None else scales[index])
        return self.model.norm(x)

    def logits(self, hidden: mx.array) -> mx.array:
        """Hidden states [..., channels] to float32 [..., vocabulary]."""
        if "lm_head" in self:
            return self.lm_head(hidden).astype(mx.float32)
        return self.model.embed_tokens.as_linear(hidden).astype(mx.float32)
