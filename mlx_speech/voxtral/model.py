"""Voxtral 2507: a Whisper encoder, a projector and a Llama.

Liu et al., "Voxtral", 2025. Recordings are encoded in chunks of 30 s by themselves;
their features, four joined to one, stand in the place of a token among those of text.
"""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.activations import gelu
from mlx_speech.nn.caches import Cache
from mlx_speech.nn.conv import current_device
from mlx_speech.nn.speech_encoder import SpeechEncoder
from mlx_speech.voxtral.config import VoxtralConfig
from mlx_speech.voxtral.decoder import LanguageModel

# Chunks that are encoded at a time, and tokens of a prompt that are read at a time:
# what bounds memory for long recordings. On a CPU, attention holds all scores at once.
CHUNKS_AT_ONCE = 4
PREFILL_TOKENS = 2048
PREFILL_TOKENS_ON_CPU = 256


class Projector(nn.Module):
    """From joined features of the encoder to embeddings of the decoder."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, out_channels, False)
        self.linear_2 = nn.Linear(out_channels, out_channels, False)

    def __call__(self, x: mx.array) -> mx.array:
        """[..., in] to [..., out]."""
        return self.linear_2(gelu(self.linear_1(x)))


class Voxtral(nn.Module):
    """Voxtral Mini or Small, of July 2025.

    Args:
        config: sizes.

    Attributes:
        config: sizes.
        folder: where the weights came from, for what lies beside them; None: nowhere.
    """

    def __init__(self, config: VoxtralConfig) -> None:
        super().__init__()
        self.config = config
        self.folder: Path | None = None
        audio, text = config.audio, config.text
        self.audio_tower = SpeechEncoder(
            audio.num_mel_bins,
            audio.max_source_positions,
            audio.hidden_size,
            audio.num_attention_heads,
            audio.num_hidden_layers,
            audio.intermediate_size,
        )
        self.multi_modal_projector = Projector(
            audio.intermediate_size, text.hidden_size
        )
        self.language_model = LanguageModel(text)

    @property
    def dtype(self) -> mx.Dtype:
        """Dtype that the model computes in."""
        return self.audio_tower.embed_positions.dtype

    def encode(self, features_nfm: mx.array) -> mx.array:
        """Embeddings of audio.

        Args:
            features_nfm: log-mel of chunks, [chunks, frames, mel bands].

        Returns:
            [chunks * tokens per chunk, channels], evaluated.

        Raises:
            SpeechError: chunks of another length or number of bands.
        """
        frames = 2 * self.config.audio.max_source_positions
        if features_nfm.ndim != 3 or features_nfm.shape[1] != frames:
            raise SpeechError(
                f"the model takes chunks [chunks, {frames}, bands], not "
                f"{list(features_nfm.shape)}",
                "pad the recording to whole chunks",
            )
        found = []
        for start in range(0, features_nfm.shape[0], CHUNKS_AT_ONCE):
            encoded = self.audio_tower(features_nfm[start : start + CHUNKS_AT_ONCE])
            joined = encoded.reshape(-1, self.config.audio.intermediate_size)
            found.append(self.multi_modal_projector(joined))
            mx.eval(found[-1])
        return mx.concatenate(found)

    def embed(self, tokens: mx.array, audio: mx.array | None) -> mx.array:
        """Embeddings of a prompt.

        Args:
            tokens: ids [length], with ``config.audio_token_id`` for each embedding of
                audio.
            audio: [n, channels] of :meth:`encode`, in order; None: there is none.

        Returns:
            [1, length, channels].

        Raises:
            SpeechError: as many tokens of audio as there are embeddings are not there.
        """
        text = self.language_model.embed(tokens).astype(self.dtype)
        is_audio = tokens == self.config.audio_token_id
        expected = is_audio.sum().item()
        given = 0 if audio is None else audio.shape[0]
        if expected != given:
            raise SpeechError(
                f"the prompt has {expected} tokens of audio and the audio makes {given}"
            )
        if audio is None:
            return text[None]
        index = mx.maximum(mx.cumsum(is_audio.astype(mx.int32)) - 1, 0)
        return mx.where(is_audio[:, None], audio[index].astype(text.dtype), text)[None]

    def new_caches(self) -> list[Cache]:
        """Empty caches for a prompt and its answer."""
        return self.language_model.new_caches()

    def prefill(
        self, prompt_blc: mx.array, caches: list[Cache], step: int | None = None
    ) -> mx.array:
        """Read a prompt in parts.

        Args:
            prompt_blc: embeddings [1, length, channels].
            caches: receive it.
            step: tokens of a part; None: as many as the device is good for.

        Returns:
            Logits of the token after it, float32 [1, vocabulary].
        """
        if step is None:
            on_cpu = current_device() == "cpu"
            step = PREFILL_TOKENS_ON_CPU if on_cpu else PREFILL_TOKENS
        hidden = prompt_blc
        for start in range(0, prompt_blc.shape[1], step):
            hidden = self.language_model(prompt_blc[:, start : start + step], caches)
            mx.eval(hidden)
        return self.language_model.logits(hidden[:, -1])

    def step(self, tokens: mx.array, caches: list[Cache]) -> mx.array:
        """Logits after one more token: ids [1] to float32 [1, vocabulary]."""
        x = self.language_model.embed(tokens)[:, None].astype(self.dtype)
        return self.language_model.logits(self.language_model(x, caches)[:, -1])
