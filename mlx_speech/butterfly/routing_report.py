"""The report on routing: students beside what needs no learning, on unseen sounds.

Every row is one way to the same mel bands: what a frame costs, and how far the bands
and the spectrum are off, on recordings and on white noise that no training has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlx_speech.audio.mel import MelSpec, mel_filterbank
from mlx_speech.audio.stft import stft
from mlx_speech.butterfly.cost import (
    FrameCost,
    frame_cost,
    least_spectrum_error,
    read_bins,
    real_fft_operations,
)
from mlx_speech.butterfly.distill import DistillSettings, Segments, fit_student
from mlx_speech.butterfly.student import EvenBinsMel, MelStudent, RoutedMel
from mlx_speech.butterfly.transform import ButterflyFFT
from mlx_speech.errors import SpeechError

NOISE = "white noise"
SPEECH = "speech"
# Below this, in dB, an error is rounding.
EXACT_DB = 1e-3


@dataclass(frozen=True)
class Evaluation:
    """Errors on one sound.

    Attributes:
        mel_db: mean absolute error of the log-mel, in dB.
        mel_db_99: that 1 % of the values exceed.
        spectrum: relative error of the bins that are computed, of windowed frames.
    """

    mel_db: float
    mel_db_99: float
    spectrum: float


@dataclass(frozen=True)
class RoutingRow:
    """One line of the report.

    Attributes:
        what: the way.
        baseline: whether it needs no routing.
        target: share of the complex FFT's operations that was asked for; None: none.
        fraction: share that is left; None where there are no gates.
        cost: operations of a frame.
        bound: least possible relative error of the spectrum of white noise; None: none.
        errors: by sound; `SPEECH` and `NOISE` are always there.
        elsewhere_db: a figure from other recordings, for comparison.
    """

    what: str
    baseline: bool
    target: float | None
    fraction: float | None
    cost: FrameCost
    bound: float | None
    errors: dict[str, Evaluation]
    elsewhere_db: float | None = None


class ExactMel(MelStudent):
    """The baseline: the real FFT, of all bins or only of those that a band reads."""

    def __init__(self, spec: MelSpec, pruned: bool = False) -> None:
        super().__init__(spec, mel_filterbank(spec))
        every = np.arange(spec.n_bins)
        self._bins = read_bins(self.filters) if pruned else every
        wanted = np.isin(every, self._bins).astype(np.float32)
        self._wanted = mx.array(wanted)
        self._transform = ButterflyFFT(spec.n_fft, real=True)

    def __call__(self, frames: mx.array) -> mx.array:
        """As `MelStudent`, with zeros where nothing is read."""
        return self._transform(frames) * self._wanted

    @property
    def computed_bins(self) -> np.ndarray:
        """Those that are wanted."""
        return self._bins

    def cost(self) -> FrameCost:
        """Real operations of a frame."""
        n = self.spec.n_fft
        return frame_cost(n, real_fft_operations(n, self._bins), self.filters)


def white_noise(seconds: float, sample_rate: int, seed: int = 2026) -> np.ndarray:
    """Gaussian noise, float32 [samples]."""
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal(round(seconds * sample_rate))
    return (0.1 * noise).astype(np.float32)


def evaluate(student: MelStudent, samples: np.ndarray) -> Evaluation:
    """Errors of a student on a sound, through the path that a user takes."""
    sound = mx.array(samples.astype(np.float32))
    change = student.log_mel().change(sound)
    spec = student.spec
    frames = stft(sound, spec.n_fft, spec.hop_length, rfft=lambda each: each)
    bins = student.computed_bins
    exact = np.fft.rfft(np.array(frames).astype(np.float64))[..., bins]
    wrong = np.array(student(frames))[..., bins] - exact
    return Evaluation(
        10 * change.mean,
        10 * change.percentile_99,
        float(np.linalg.norm(wrong) / np.linalg.norm(exact)),
    )


def mean_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The mean of several seeds."""
    count = len(evaluations)
    return Evaluation(
        sum(each.mel_db for each in evaluations) / count,
        sum(each.mel_db_99 for each in evaluations) / count,
        sum(each.spectrum for each in evaluations) / count,
    )


def check_held_out(
    training: Sequence[np.ndarray], held_out: Mapping[str, np.ndarray]
) -> None:
    """Refuse an evaluation on what was trained on.

    Raises:
        SpeechError: a recording of both, or no recording to evaluate on.
    """
    seen = {np.asarray(each, np.float32).tobytes() for each in training}
    for name, samples in held_out.items():
        if np.asarray(samples, np.float32).tobytes() in seen:
            raise SpeechError(
                f"`{name}` is among the recordings that are trained on",
                "evaluate on a recording of another voice",
            )
    if SPEECH not in held_out:
        raise SpeechError("there is no recording to evaluate on")


def student_row(
    what: str,
    student: RoutedMel,
    held_out: Mapping[str, np.ndarray],
    target: float | None = None,
) -> RoutingRow:
    """The line of a student."""
    fraction = student.compute_fraction
    bound = None
    if student.layout == "single" and not student.corrector.mixes_bins:
        bound = least_spectrum_error(student.spec.n_fft, fraction)
    errors = {name: evaluate(student, each) for name, each in held_out.items()}
    return RoutingRow(what, False, target, fraction, student.cost(), bound, errors)


def pruned_row(
    what: str, student: RoutedMel, held_out: Mapping[str, np.ndarray]
) -> RoutingRow:
    """The line of a student's gates with the exact twiddles and the plain bands."""
    untrained = RoutedMel(
        student.spec, student.transform.mode, student.layout, corrector="none"
    )
    untrained.transform.set_gates(student.transform.gates)
    return student_row(what, untrained, held_out)


def baseline_jobs(
    spec: MelSpec,
    data: Segments,
    settings: DistillSettings,
    held_out: Mapping[str, np.ndarray],
) -> list[Callable[[], RoutingRow]]:
    """The lines that stand in every report."""

    def row(what: str, student: MelStudent) -> RoutingRow:
        errors = {name: evaluate(student, each) for name, each in held_out.items()}
        return RoutingRow(what, True, None, None, student.cost(), None, errors)

    def even_bins() -> RoutingRow:
        student = EvenBinsMel(spec)
        fit_student(student, data, settings)
        return row("even bins and learned bands", student)

    def untrained() -> RoutingRow:
        return student_row(
            "all gates on, untrained",
            RoutedMel(spec, corrector="none"),
            held_out,
        )

    return [
        partial(row, "exact real FFT", ExactMel(spec)),
        partial(row, "output-pruned FFT", ExactMel(spec, pruned=True)),
        even_bins,
        untrained,
    ]


def verdict(rows: Sequence[RoutingRow]) -> str:
    """One plain sentence: when routing is worth using."""
    baselines = [each for each in rows if each.baseline]
    students = [each for each in rows if not each.baseline]

    def beaten(row: RoutingRow) -> bool:
        error = max(row.errors[SPEECH].mel_db, EXACT_DB)
        return any(
            each.cost.total <= row.cost.total and each.errors[SPEECH].mel_db <= error
            for each in baselines
        )

    useful = [each for each in students if not beaten(each)]
    exact = min(
        (each for each in baselines if each.errors[SPEECH].mel_db <= EXACT_DB),
        key=lambda each: each.cost.total,
    )
    if not useful:
        cheapest = min(baselines, key=lambda each: each.cost.total)
        error = cheapest.errors[SPEECH].mel_db
        return (
            "Routing is worth using: never, here. With an exact FFT a frame takes "
            f"{exact.cost.total} operations and loses nothing; by {cheapest.what} it "
            f"takes {cheapest.cost.total} and loses {error:.2f} dB; for every routed "
            "student, one of these takes less and loses less."
        )
    best = min(useful, key=lambda each: each.errors[SPEECH].mel_db)
    return (
        f"Routing is worth using where {best.errors[SPEECH].mel_db:.2f} dB of error "
        f"may be paid for {best.cost.total} operations a frame in place of "
        f"{exact.cost.total} ({best.what})."
    )
