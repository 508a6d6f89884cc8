"""Word error rate of Whisper behind a learned transform, with a control.

A transform that is exact to rounding must change no word; one that has learned nothing
must ruin them, or the measurement would not see a difference at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.audio.mel import MelSpec
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.butterfly import ButterflyFFT
from mlx_speech.butterfly.fit_hierarchical import fit_hierarchical
from mlx_speech.butterfly.learned_mel import LearnedMel, as_rfft
from mlx_speech.models import transcribe
from mlx_speech.text.word_errors import WordErrors, word_errors

SPEC = MelSpec.preset("whisper-80")
MLX, LEARNED, CONTROL = "mx.fft", "learned from data", "control: not learned"
# Points of word error rate: what an exact transform may change, and a control must.
STILL, VISIBLE = 0.1, 1.0


@dataclass(frozen=True)
class SpokenText:
    """A recording and what it says.

    Attributes:
        samples: float32 [samples] at 16 kHz.
        text: the words.
    """

    samples: np.ndarray
    text: str


@dataclass(frozen=True)
class FrontEndRow:
    """What a transform does to a recogniser.

    Attributes:
        what: the transform.
        transform_error: relative, of its matrix; None where there is none.
        mel_change: mean absolute change of Whisper's log-mel, in its own units.
        errors: of all recordings together.
    """

    what: str
    transform_error: float | None
    mel_change: float
    errors: WordErrors

    @property
    def points(self) -> float:
        """Word error rate in percent."""
        return 100 * self.errors.rate


def front_end_rows(
    model: Any,
    spoken: Sequence[SpokenText],
    more: tuple[str, Transform] | None = None,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[FrontEndRow]:
    """Rows for MLX's transform, for a learned one, for the control, and for ``more``.

    Args:
        model: a Whisper with 400-point frames.
        spoken: the recordings.
        more: name and transform of another row.
        observe: told (recordings done, recordings of all rows).
    """
    control = ButterflyFFT(SPEC.n_fft, init="haar")
    learned = ButterflyFFT(SPEC.n_fft, init="haar")
    fit_hierarchical(learned)
    cases: list[tuple[str, Transform, float | None]] = [
        (MLX, real_fft, None),
        (LEARNED, as_rfft(learned, SPEC.n_fft), learned.error().relative),
        (CONTROL, as_rfft(control, SPEC.n_fft), control.error().relative),
    ]
    if more is not None:
        cases.append((*more, None))
    total = len(cases) * len(spoken)
    done = 0
    for what, rfft, error in cases:
        mel = LearnedMel(rfft, SPEC)
        heard, changes = [], []
        for each in spoken:
            found = transcribe(each.samples, model, language="en", rfft=rfft)
            heard.append(found.text)
            changes.append(mel.change(mx.array(each.samples)).mean)
            done += 1
            observe(done, total)
        errors = word_errors([each.text for each in spoken], heard)
        yield FrontEndRow(what, error, float(np.mean(changes)), errors)


def missed_limits(rows: Sequence[FrontEndRow]) -> list[str]:
    """What of the two claims does not hold, in words."""
    points = {row.what: row.points for row in rows}
    missed = []
    moved = abs(points[LEARNED] - points[MLX])
    if not moved <= STILL:
        missed.append(f"the learned transform moves the rate by {moved:.2f} points")
    worse = points[CONTROL] - points[MLX]
    if not worse >= VISIBLE:
        missed.append(f"the control moves it by {worse:.2f} points only")
    return missed
