"""How long Whisper takes, stage by stage and for a whole recording, as fixed work.

Random weights of a true size never know when to stop, so every window decodes the same
number of tokens: text tokens are all that is allowed, no threshold is set, and windows
follow each other every 30 s. On a CPU times are processor time, which a busy machine
disturbs less than the clock's; elsewhere they are the clock's. Medians of several runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.bench.clock import clock_name, median_seconds
from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.whisper.checkpoints import load_whisper, save_whisper
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import (
    DecodingOptions,
    decode,
    encode_windows,
)
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcribe import transcribe
from mlx_speech.whisper.transcription_options import TranscriptionOptions

SAMPLE_RATE = 16_000
WINDOW_SECONDS = 30
# Windows that are decoded at once in the figure for batches.
BATCH = 8
# Name -> bands, channels, heads, layers of the encoder and of the decoder, vocabulary.
SIZES = {
    "tiny": (80, 384, 6, 4, 4, 51865),
    "base": (80, 512, 8, 6, 6, 51865),
    "small": (80, 768, 12, 12, 12, 51865),
    "medium": (80, 1024, 16, 24, 24, 51865),
    "large-v2": (80, 1280, 20, 32, 32, 51865),
    "large-v3": (128, 1280, 20, 32, 32, 51866),
    "turbo": (128, 1280, 20, 32, 4, 51866),
    "distil-large-v3": (128, 1280, 20, 32, 2, 51866),
}


@dataclass(frozen=True)
class WhisperCase:
    """What is measured.

    Args:
        size: a key of ``SIZES``.
        minutes: of sound, which is noise.
        tokens: that each window decodes.
        half: whether the weights are float16.

    Raises:
        SpeechError: no such size, or numbers that make no sense.
    """

    size: str
    minutes: float = 5.0
    tokens: int = 128
    half: bool = False

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise SpeechError(
                f"there is no size {self.size!r}", f"choose from {', '.join(SIZES)}"
            )
        if not 0 < self.minutes < float("inf") or not 1 <= self.tokens <= 224:
            raise SpeechError(
                f"{self.minutes} minutes and {self.tokens} tokens cannot be measured",
                "give a length above 0, and 1 to 224 tokens",
            )

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.minutes * 60

    @property
    def windows(self) -> int:
        """Windows of 30 s, the last one perhaps not full."""
        return -(-len(self.samples()) // (WINDOW_SECONDS * SAMPLE_RATE))

    def samples(self) -> np.ndarray:
        """The recording, float32 [samples]; equal at every call."""
        count = round(self.seconds * SAMPLE_RATE)
        noise = np.random.default_rng(0).standard_normal(count, dtype=np.float32)
        return 0.05 * noise

    def model(self) -> Whisper:
        """A model of this size; its random weights are equal at every call."""
        mels, channels, heads, encoder, decoder, vocabulary = SIZES[self.size]
        mx.random.seed(0)
        model = Whisper(
            WhisperConfig(
                n_mels=mels,
                n_audio_ctx=WINDOW_SECONDS * 50,
                n_audio_state=channels,
                n_audio_head=heads,
                n_audio_layer=encoder,
                n_vocab=vocabulary,
                n_text_ctx=448,
                n_text_state=channels,
                n_text_head=heads,
                n_text_layer=decoder,
            )
        )
        model.set_dtype(mx.float16 if self.half else mx.float32)
        mx.eval(model.parameters())
        return model

    def options(self) -> dict[str, Any]:
        """Settings of a transcription that make its work fixed, as Whisper calls them.

        openai-whisper, mlx-whisper and this package all take them.
        """
        vocabulary = SIZES[self.size][-1]
        end = Tokenizer.for_size(vocabulary).eot
        return {
            "language": "en",
            "temperature": 0.0,
            "sample_len": self.tokens,
            "without_timestamps": True,
            "condition_on_previous_text": False,
            "compression_ratio_threshold": None,
            "logprob_threshold": None,
            "no_speech_threshold": None,
            "suppress_tokens": [-1, *range(end, vocabulary)],
        }


@dataclass(frozen=True)
class WhisperTiming:
    """Seconds of one model.

    Attributes:
        size, dtype, parameters: the model.
        clock: "processor" or "wall".
        load_s: from a folder.
        mel_s: the spectrogram of one window.
        encoder_s: one window, with the keys and values that the decoder reads.
        tokens_per_s: one window's tokens, one after another, the prompt included.
        batch_tokens_per_s: those of ``BATCH`` windows at once, all counted.
        exact_s, batched_s: the whole recording, by either algorithm.
        audio_s, windows, tokens: length of the recording, and what was decoded in it.
        peak_bytes: that MLX held at most.
    """

    size: str
    dtype: str
    parameters: int
    clock: str
    load_s: float
    mel_s: float
    encoder_s: float
    tokens_per_s: float
    batch_tokens_per_s: float
    exact_s: float
    batched_s: float
    audio_s: float
    windows: int
    tokens: int
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields, and how many times faster than real time either algorithm is."""
        return {
            **asdict(self),
            "exact_x_real_time": self.audio_s / self.exact_s,
            "batched_x_real_time": self.audio_s / self.batched_s,
        }


def measure(
    case: WhisperCase,
    folder: str | Path,
    repeats: int = 3,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> WhisperTiming:
    """Measure every stage.

    Args:
        case: what to measure.
        folder: the weights are written there, and stay.
        repeats: runs of each measurement, after one that is not counted; the whole
            recording has none of those.
        on_progress: told (done, total) measurements.

    Raises:
        SpeechError: the weights cannot be written, or a window decoded another number
            of tokens.
    """
    save_whisper(folder, case.model(), layout="mlx")
    mx.reset_peak_memory()
    model = load_whisper(folder, mx.float16 if case.half else None)
    samples, options = case.samples(), TranscriptionOptions(**case.options())
    one = samples[: WINDOW_SECONDS * SAMPLE_RATE]
    mel = MelWindows(one, model.config).window(0, min(len(one) // 160, 3000))
    window = encode_windows(model, mel.astype(model.dtype))
    batch = encode_windows(model, mx.repeat(window.features, BATCH, axis=0))
    mx.eval(window.features, window.cross, batch.cross)

    def decode_some(windows: Any) -> None:
        found = decode(model, windows, _decoding(options))
        _check([result.tokens for result in found], case.tokens)

    def whole(exact: bool) -> None:
        made = transcribe(model, samples, options, exact=exact, find_speech=None)
        tokens = sum(len(segment.tokens) for segment in made.segments)
        _check([range(tokens)], case.windows * case.tokens)

    stages: list[tuple[Callable[[], object], bool]] = [
        (lambda: load_whisper(folder), True),
        (lambda: mx.eval(MelWindows(one, model.config).window(0, 3000)), True),
        (lambda: _evaluate(encode_windows(model, mel.astype(model.dtype))), True),
        (lambda: decode_some(window), True),
        (lambda: decode_some(batch), True),
        (lambda: whole(True), False),
        (lambda: whole(False), False),
    ]
    found = []
    for done, (stage, warm_up) in enumerate(stages):
        found.append(median_seconds(stage, repeats, warm_up))
        on_progress(done + 1, len(stages))
    load_s, mel_s, encoder_s, row_s, batch_s, exact_s, batched_s = found
    return WhisperTiming(
        size=case.size,
        dtype=str(model.dtype).removeprefix("mlx.core."),
        parameters=sum(a.size for a in flatten_parameters(model).values()),
        clock=clock_name(),
        load_s=load_s,
        mel_s=mel_s,
        encoder_s=encoder_s,
        tokens_per_s=case.tokens / row_s,
        batch_tokens_per_s=BATCH * case.tokens / batch_s,
        exact_s=exact_s,
        batched_s=batched_s,
        audio_s=case.seconds,
        windows=case.windows,
        tokens=case.windows * case.tokens,
        peak_bytes=mx.get_peak_memory(),
    )


def _decoding(options: TranscriptionOptions) -> DecodingOptions:
    return options.decoding(0.0, "en", ())


def _evaluate(windows: Any) -> None:
    mx.eval(windows.features, windows.cross)


def _check(rows: list[Any], wanted: int) -> None:
    for row in rows:
        if len(row) != wanted:
            raise SpeechError(
                f"{len(row)} tokens were decoded instead of {wanted}, so that the work "
                "is not fixed"
            )
