"""Audio of a stream on its way to Voxtral Realtime: silence around it, mel, embeddings.

The model was trained on silence before the recording, for which its prompt stands, and
after it, so that the text can catch up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.audio.mel import MelSpec
from mlx_speech.audio.streaming import stream_log_mel
from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.config import check_positive
from mlx_speech.voxtral.features import HOP_SAMPLES, SAMPLE_RATE
from mlx_speech.voxtral.realtime_config import TOKEN_MILLISECONDS, delay_in_tokens
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.tokenizer import BEGIN, END, Tekken

TOKEN_SECONDS = TOKEN_MILLISECONDS / 1000
# Tokens after the delay in which the last word can still be written, as published.
CATCH_UP_TOKENS = 11
LEFT_TOKENS = 32
# The release was trained on delays of 80 ms to 2.4 s.
MOST_DELAY_TOKENS = 30
# What is encoded at a time when a recording comes whole.
_BLOCK_SECONDS = 10


@dataclass(frozen=True)
class StreamSettings:
    """What fixes how a stream is read.

    Attributes:
        begin, pad, end: ids of the tokens that begin the prompt, fill it (and stand
            where nothing is to be written), and end the text.
        left_tokens: silence before the audio, in tokens.
        delay_tokens: how many tokens the text is behind the audio.
    """

    begin: int
    pad: int
    end: int
    left_tokens: int
    delay_tokens: int

    @classmethod
    def of(
        cls, model: VoxtralRealtime, tokenizer: Tekken, delay_tokens: int | None = None
    ) -> StreamSettings:
        """Those of a model.

        Args:
            model: the model.
            tokenizer: the model's.
            delay_tokens: 1 to 30 tokens of 80 ms; None: what the files say.

        Raises:
            SpeechError: another delay, a tokenizer of another model, or settings of it
                that are no numbers.
        """
        if delay_tokens is None:
            given = tokenizer.audio.get("transcription_delay_ms")
            delay_tokens = (
                model.config.delay_tokens if given is None else delay_in_tokens(given)
            )
        if not 1 <= delay_tokens <= MOST_DELAY_TOKENS:
            raise SpeechError(
                f"the text cannot be {delay_tokens} tokens of 80 ms behind the audio",
                f"choose a delay of 80 ms to {80 * MOST_DELAY_TOKENS} ms",
            )
        left = tokenizer.audio.get("streaming_n_left_pad_tokens") or LEFT_TOKENS
        check_positive("streaming_n_left_pad_tokens", left)
        return cls(
            tokenizer.special_id(BEGIN),
            tokenizer.special_id("[STREAMING_PAD]"),
            tokenizer.special_id(END),
            left,
            delay_tokens,
        )

    @property
    def prompt(self) -> list[int]:
        """The tokens that stand for the silence before the audio, and the delay."""
        return [self.begin] + [self.pad] * (self.left_tokens + self.delay_tokens)

    @property
    def right_tokens(self) -> int:
        """Silence after the audio, in tokens."""
        return self.delay_tokens + CATCH_UP_TOKENS

    def seconds(self, position: int) -> float:
        """About when in the audio was heard what the token at a position writes."""
        return max(
            0.0, TOKEN_SECONDS * (position - self.left_tokens - self.delay_tokens)
        )


class PaddedStream:
    """Blocks with silence before and after, cut to a length that memory can hold.

    Args:
        blocks: float [samples] each, of any lengths, at 16 kHz; or all in one array.
        settings: how much silence.
        samples_per_token: what one token stands for.

    Attributes:
        samples: of audio that went through so far, without the silence.
        total_tokens: of audio and silence; None before the audio has ended.

    Raises:
        SpeechError: while iterating; no samples, or values that are no numbers.
    """

    def __init__(
        self,
        blocks: np.ndarray | Iterable[np.ndarray],
        settings: StreamSettings,
        samples_per_token: int,
    ) -> None:
        self._blocks = [blocks] if isinstance(blocks, np.ndarray) else blocks
        self._settings = settings
        self._samples_per_token = samples_per_token
        self.samples = 0
        self.total_tokens: int | None = None

    @property
    def real_tokens(self) -> int | None:
        """Tokens up to the last one with audio in it; None: there may be more."""
        if self.total_tokens is None:
            return None
        return self.total_tokens - self._settings.right_tokens

    def __iter__(self) -> Iterator[np.ndarray]:
        per_token, settings = self._samples_per_token, self._settings
        most = _BLOCK_SECONDS * SAMPLE_RATE
        yield np.zeros(settings.left_tokens * per_token, np.float32)
        for block in self._blocks:
            checked = self._checked(block)
            for start in range(0, len(checked), most):
                part = checked[start : start + most]
                self.samples += len(part)
                yield part
        if not self.samples:
            raise SpeechError("the stream has no samples", "record it again")
        tokens = math.ceil(self.samples / per_token)
        self.total_tokens = settings.left_tokens + tokens + settings.right_tokens
        rest = tokens * per_token - self.samples
        yield np.zeros(rest + settings.right_tokens * per_token, np.float32)

    def _checked(self, block: np.ndarray) -> np.ndarray:
        block = np.asarray(block, dtype=np.float32)
        if block.ndim != 1 or not np.isfinite(block).all():
            raise SpeechError(
                f"a block of the stream, {list(block.shape)}, is no mono sound",
                "give blocks [samples] of finite numbers",
            )
        return block


def samples_per_token(model: VoxtralRealtime) -> int:
    """Samples at 16 kHz that one token stands for: 1280 for the release."""
    return model.config.frames_per_token * HOP_SAMPLES


def embed_stream(
    model: VoxtralRealtime, stream: Iterable[np.ndarray]
) -> Iterator[mx.array]:
    """Embeddings of the tokens of a stream, as soon as each is complete.

    Args:
        model: the model.
        stream: float [samples] at 16 kHz, with its silence.

    Yields:
        [tokens, channels], evaluated.
    """
    values = MelSpec.preset("voxtral-realtime").to_dict()
    spec = MelSpec.from_dict(values | {"n_mels": model.config.audio.num_mel_bins})
    state = model.audio_tower.new_state()
    per_token = model.config.frames_per_token
    pending: mx.array | None = None
    for frames in stream_log_mel(stream, spec):
        mel = frames if pending is None else mx.concatenate([pending, frames])
        whole = len(mel) // per_token * per_token
        pending = mel[whole:]
        if whole:
            embedded = model.encode(mel[:whole], state)
            mx.eval(embedded, state.frames, pending)
            yield embedded
