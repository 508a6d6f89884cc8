"""Whisper: an encoder of speech and a decoder that writes what was said.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022. The
encoder's stack is `nn.speech_encoder`; here is the decoder, with caches so that each
window is encoded once and each token decoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.attention import KeysValues, KeyValueCache
from mlx_speech.nn.few_rows import Embedding
from mlx_speech.nn.speech_encoder import SpeechEncoder, TransformerLayer
from mlx_speech.whisper.config import WhisperConfig

# Keys and values of the encoder's features for each layer of the decoder.
CrossKeyValues = list[KeysValues]


class DecoderCache:
    """Keys and values of the tokens so far, for all layers of the decoder.

    Args:
        n_layers: layers.
        capacity: tokens that fit.
    """

    def __init__(self, n_layers: int, capacity: int) -> None:
        self.layers = [KeyValueCache(capacity) for _ in range(n_layers)]

    @property
    def length(self) -> int:
        """Tokens that are in."""
        return self.layers[0].length

    def reorder(self, indices: mx.array) -> None:
        """Replace row i by row ``indices[i]``; there may be more or fewer rows."""
        for layer in self.layers:
            layer.reorder(indices)

    def trim(self, length: int) -> None:
        """Forget all tokens but the first ``length`` (SpeechError: there are fewer)."""
        for layer in self.layers:
            layer.trim(length)


class TextDecoder(nn.Module):
    """The layers that turn tokens and features into the next token's logits."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        channels = config.n_text_state
        self.embed_tokens = Embedding(config.n_vocab, channels)
        self.embed_positions = 0.01 * mx.random.normal((config.n_text_ctx, channels))
        self.layers = [
            TransformerLayer(channels, config.n_text_head, config.n_text_mlp, True)
            for _ in range(config.n_text_layer)
        ]
        self.layer_norm = nn.LayerNorm(channels)


class Whisper(nn.Module):
    """Whisper of any size.

    Args:
        config: sizes.

    Attributes:
        config: sizes, and the heads that align.
        folder: where the weights came from, for what lies beside them; None: nowhere.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.folder: Path | None = None
        self.encoder = SpeechEncoder(
            config.n_mels,
            config.n_audio_ctx,
            config.n_audio_state,
            config.n_audio_head,
            config.n_audio_layer,
            config.n_audio_mlp,
        )
        self.decoder = TextDecoder(config)

    @property
    def dtype(self) -> mx.Dtype:
        """Dtype that the model computes in."""
        return self.decoder.embed_positions.dtype

    def encode(self, mel_bfm: mx.array) -> mx.array:
        """Encode windows of log-mel spectrogram.

        Args:
            mel_bfm: [batch, frames, n_mels], at most ``config.n_frames`` frames.

        Returns:
            Features [batch, positions, channels], two frames each.

        Raises:
            SpeechError: another number of bands or frames.
        """
        return self.encoder(mel_bfm)

    def cross_key_values(self, features_bpc: mx.array) -> CrossKeyValues:
        """Keys and values of features for all layers of the decoder, made once.

        Args:
            features_bpc: [batch, positions, channels] of :meth:`encode`.
        """
        return [
            layer.encoder_attn.key_values(features_bpc) for layer in self.decoder.layers
        ]

    def new_cache(self, capacity: int | None = None) -> DecoderCache:
        """An empty cache for ``capacity`` tokens (None: as many as there may be)."""
        return DecoderCache(
            self.config.n_text_layer, capacity or self.config.n_text_ctx
        )

    def decode(
        self,
        tokens_bl: mx.array,
        cross: CrossKeyValues,
        cache: DecoderCache | None = None,
        keep: Sequence[int] | None = None,
    ) -> mx.array:
        """Logits of the token after each token.

        Args:
            tokens_bl: ids [rows, length]. Consecutive rows share a window when there
                are more rows than windows (beams, or several samples of one window).
            cross: keys and values of the windows.
            cache: earlier tokens; those given are added.
            keep: indices of the tokens whose logits are wanted; None: all.

        Returns:
            float32 [rows, length or len(keep), n_vocab].

        Raises:
            SpeechError: more tokens than the model can hold, or a cache that is full.
        """
        x, mask = self._embed(tokens_bl, cache)
        caches = cache.layers if cache is not None else [None] * len(cross)
        for layer, layer_cache, context in zip(
            self.decoder.layers, caches, cross, strict=True
        ):
            x = layer(x, mask, layer_cache, context)
        return self._logits(x, keep)

    def decode_with_alignment(
        self,
        tokens_bl: mx.array,
        cross: CrossKeyValues,
        heads: Sequence[tuple[int, int]] | None = None,
        keep: Sequence[int] | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Logits, and how the tokens attend to the positions of their windows.

        Args:
            tokens_bl, cross, keep: as in :meth:`decode`.
            heads: (layer, head) pairs; None: those that the configuration says align.

        Returns:
            Logits as of :meth:`decode`, and scores before softmax, float32
            [rows, heads, length, positions], in the order of ``heads``.
        """
        heads = self.config.alignment_heads if heads is None else heads
        x, mask = self._embed(tokens_bl, None)
        scores: dict[tuple[int, int], mx.array] = {}
        layers = zip(self.decoder.layers, cross, strict=True)
        for index, (layer, context) in enumerate(layers):
            x = layer.attend_to_itself(x, mask, None)
            normed = layer.encoder_attn_layer_norm(x)
            wanted = sorted({head for at, head in heads if at == index})
            if wanted:
                found = layer.encoder_attn.scores(normed, context, wanted)
                scores |= {(index, h): found[:, i] for i, h in enumerate(wanted)}
            x = layer.feed_forward(x + layer.encoder_attn(normed, context))
        stacked = mx.stack([scores[at, head] for at, head in heads], axis=1)
        return self._logits(x, keep), stacked

    def _embed(
        self, tokens_bl: mx.array, cache: DecoderCache | None
    ) -> tuple[mx.array, str | None]:
        """Tokens with their positions, and the mask of the self-attention."""
        length = tokens_bl.shape[1]
        first = cache.length if cache is not None else 0
        if first + length > self.config.n_text_ctx:
            raise SpeechError(
                f"{first + length} tokens are more than the {self.config.n_text_ctx} "
                "that this model can hold",
                "shorten the prompt, or ask for fewer tokens",
            )
        table = self.decoder.embed_positions
        x = self.decoder.embed_tokens(tokens_bl).astype(table.dtype)
        return x + table[first : first + length], "causal" if length > 1 else None

    def _logits(self, x_blc: mx.array, keep: Sequence[int] | None) -> mx.array:
        if keep is not None:
            x_blc = x_blc[:, mx.array(list(keep))]
        x = self.decoder.layer_norm(x_blc)
        return self.decoder.embed_tokens.as_linear(x).astype(mx.float32)
