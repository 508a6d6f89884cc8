"""Distillation: a routed student learns mel bands, spectrum and density of the FFT.

Gates are pruned to a share of the arithmetic, by measured saliency or by logits that a
relaxation has trained, all at once by one backward pass; then twiddles, corrector and
mel weights are fitted to what is left. The teacher is the exact transform, and the data
are recordings: what is evaluated on must be others (`evaluate`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from mlx_speech import backend
from mlx_speech.audio.mel import MelSpec, mel_filterbank
from mlx_speech.audio.stft import squared_magnitude, stft
from mlx_speech.butterfly.gates import RELAXATIONS, Relaxation, gumbel_noise
from mlx_speech.butterfly.losses import (
    LossWeights,
    mel_difference,
    spectrum_difference,
    welch_difference,
)
from mlx_speech.butterfly.parameters import check_choice
from mlx_speech.butterfly.prune import METHODS, PruningFrames, prune
from mlx_speech.butterfly.student import MelStudent, RoutedMel
from mlx_speech.errors import SpeechError

# Consecutive frames of a segment, of which Welch's density is the mean.
SEGMENT_FRAMES = 16
PRUNING_FRAMES = 256
LOOK_EVERY = 25

Observer = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class DistillSettings:
    """Settings of `distill`.

    Attributes:
        compute_fraction: share of the complex FFT's operations that may be left.
        method: how gates are chosen, of `prune`.
        steps: of the fit of twiddles, corrector and mel weights; 0 for none.
        gate_steps: of the relaxation, for the method "logit".
        gate: the relaxation: "soft", "straight-through" or "gumbel".
        temperature: of the relaxation, at its first and at its last step.
        noise: scale of the Gumbel noise.
        reverse: whether gates may be reverse while they are learned. Twiddles that
            learn too make it needless: it is the twiddle's sign.
        sparsity: weight of the squared distance of expected to wanted share.
        learning_rate: Adam's, falling to nothing along a cosine.
        batch_size: segments of 16 frames a step.
        losses: weights of the terms.
        seed: of batches, noise and random pruning.

    Raises:
        SpeechError: an impossible value.
    """

    compute_fraction: float = 0.96
    method: str = "saliency"
    steps: int = 600
    gate_steps: int = 300
    gate: str = "gumbel"
    temperature: tuple[float, float] = (1.0, 0.3)
    noise: float = 0.3
    reverse: bool = True
    sparsity: float = 100.0
    learning_rate: float = 0.01
    batch_size: int = 16
    losses: LossWeights = field(default_factory=LossWeights)
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("pruning method", self.method, METHODS)
        check_choice("relaxation", self.gate, RELAXATIONS)
        if not 0 < self.compute_fraction <= 1:
            raise SpeechError(
                f"the compute fraction {self.compute_fraction} is not in 0 ... 1",
                "0.96 keeps 96 % of the butterflies' arithmetic",
            )
        if self.steps < 0 or self.gate_steps < 0 or self.batch_size < 1:
            raise SpeechError(
                f"{self.steps} steps, {self.gate_steps} gate steps and batches of "
                f"{self.batch_size} are not possible"
            )
        if self.learning_rate <= 0 or self.noise < 0 or self.sparsity < 0:
            raise SpeechError(
                f"learning rate {self.learning_rate}, noise {self.noise} or sparsity "
                f"{self.sparsity} is not possible"
            )
        backend.check_seed(self.seed)
        if min(self.temperature) <= 0:
            raise SpeechError(
                f"the temperatures {self.temperature} must both be above 0"
            )


@dataclass(frozen=True)
class Segments:
    """Training data: windowed frames and the mel power below which nothing counts.

    Attributes:
        frames_sfn: float32 [segments, frames, n].
        floor_s: float32 [segments], 80 dB (``log_range``) below the recording's peak.
    """

    frames_sfn: np.ndarray
    floor_s: np.ndarray


def cut_segments(recordings: Sequence[np.ndarray], spec: MelSpec) -> Segments:
    """Cut recordings into segments of 16 consecutive frames.

    Args:
        recordings: float [samples] each, at ``spec.sample_rate``.
        spec: the spectrogram.

    Raises:
        SpeechError: nothing is as long as one segment; a recording that is not finite.
    """
    frames, floors = [], []
    length = spec.n_fft + (SEGMENT_FRAMES - 1) * spec.hop_length
    filters = mel_filterbank(spec)
    for index, samples in enumerate(recordings):
        if not np.isfinite(samples).all():
            raise SpeechError(
                f"recording {index} holds values that are no numbers", "export it again"
            )
        if len(samples) < length:
            continue
        windowed = stft(
            mx.array(samples.astype(np.float32)),
            spec.n_fft,
            spec.hop_length,
            center=False,
            rfft=lambda each: each,
        )
        power = squared_magnitude(mx.fft.rfft(windowed)) @ filters
        peak = float(np.array(power).max())
        if peak <= 0:
            continue
        count = windowed.shape[0] // SEGMENT_FRAMES
        kept = windowed[: count * SEGMENT_FRAMES]
        frames.append(np.array(kept).reshape(count, SEGMENT_FRAMES, -1))
        floors += [max(peak * 10 ** -(spec.log_range or 8.0), spec.floor)] * count
    if not frames:
        raise SpeechError(
            f"none of {len(recordings)} recordings has {length} samples with sound in "
            "them",
            "train on longer recordings of speech",
        )
    return Segments(np.concatenate(frames), np.array(floors, np.float32))


@dataclass(frozen=True)
class DistillResult:
    """What a distillation took.

    Attributes:
        losses: (step, loss on the step's batch), of the relaxation, then of the fit.
        seconds: processor time of this process.
    """

    losses: list[tuple[int, float]]
    seconds: float


def distill(
    student: RoutedMel,
    data: Segments,
    settings: DistillSettings | None = None,
    observe: Observer = lambda what, step, steps, loss: None,
) -> DistillResult:
    """Prune a student's gates and fit the rest to the exact spectrum, in place.

    Args:
        student: untrained, or trained with more gates on.
        data: of `cut_segments`.
        settings: see `DistillSettings`.
        observe: told (what, step, steps, loss or share) now and then.

    Raises:
        SpeechError: the training diverged; a share below 1 of the layout `full`.
    """
    settings = settings or DistillSettings()
    started = time.process_time()
    losses: list[tuple[int, float]] = []
    if settings.compute_fraction < 1:
        if student.layout == "full":
            raise SpeechError(
                "the layout `full` prunes nothing, and a compute fraction of "
                f"{settings.compute_fraction} was asked for",
                "take the layout `single` or `dual`, or the fraction 1",
            )
        if settings.method == "logit":
            losses += _train_gates(student, data, settings, observe)
        find_gates(student, data, settings, observe)
    if settings.steps:
        step = len(losses) and losses[-1][0]
        fitted = fit_student(student, data, settings, observe)
        losses += [(step + each, loss) for each, loss in fitted]
    return DistillResult(losses, time.process_time() - started)


def find_gates(
    student: RoutedMel,
    data: Segments,
    settings: DistillSettings,
    observe: Observer = lambda what, step, steps, loss: None,
) -> None:
    """The pruning of `distill`, without any learning."""
    target = settings.compute_fraction
    prune(
        student.transform,
        target,
        settings.method,
        pruning_frames(data, student.filters, settings.seed),
        settings.seed,
        lambda fraction: observe("pruning", 0, 0, fraction),
    )


def pruning_frames(data: Segments, filters: np.ndarray, seed: int) -> PruningFrames:
    """A random choice of frames for trying gates."""
    segments, frames, n = data.frames_sfn.shape
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(segments * frames)[:PRUNING_FRAMES]
    return PruningFrames(
        data.frames_sfn.reshape(-1, n)[chosen],
        filters,
        np.repeat(data.floor_s, frames)[chosen],
    )


def fit_student(
    student: MelStudent,
    data: Segments,
    settings: DistillSettings,
    observe: Observer = lambda what, step, steps, loss: None,
) -> list[tuple[int, float]]:
    """Fit all parameters of a student, its gates as they are.

    Returns:
        (step, loss) now and then.

    Raises:
        SpeechError: the training diverged.
    """
    if isinstance(student, RoutedMel):
        student.transform.freeze(keys=["logits"], recurse=False)
    batches = _batches(data, student.spec, settings)
    return _train(student, batches, settings, settings.steps, partial(observe, "fit"))


def _train_gates(
    student: RoutedMel, data: Segments, settings: DistillSettings, observe: Observer
) -> list[tuple[int, float]]:
    transform = student.transform
    transform.unfreeze(keys=["logits"], recurse=False)
    if not settings.reverse:
        transform.forbid_reverse()
    first, last = settings.temperature
    keys = mx.random.split(mx.random.key(settings.seed), max(settings.gate_steps, 1))

    def relax(step: int) -> None:
        share = (step - 1) / max(settings.gate_steps - 1, 1)
        noise = None
        if settings.gate == "gumbel":
            noise = gumbel_noise(transform, settings.noise, keys[step - 1])
        temperature = first * (last / first) ** share
        transform.relaxation = Relaxation(settings.gate, temperature, noise)

    batches = _batches(data, student.spec, settings)
    try:
        return _train(
            student,
            batches,
            settings,
            settings.gate_steps,
            partial(observe, "gates"),
            relax,
        )
    finally:
        transform.relaxation = None


@dataclass(frozen=True)
class _Batch:
    frames: mx.array
    spectrum: mx.array
    mel: mx.array
    floor: mx.array


def _batches(
    data: Segments, spec: MelSpec, settings: DistillSettings
) -> Callable[[], _Batch]:
    draw = np.random.default_rng(settings.seed)
    filters = mel_filterbank(spec)

    def batch() -> _Batch:
        rows = draw.integers(len(data.frames_sfn), size=settings.batch_size)
        frames = mx.array(data.frames_sfn[rows])
        spectrum = mx.fft.rfft(frames)
        mel = squared_magnitude(spectrum) @ filters
        return _Batch(
            frames, spectrum, mel, mx.array(data.floor_s[rows])[:, None, None]
        )

    return batch


def _train(
    student: MelStudent,
    batches: Callable[[], _Batch],
    settings: DistillSettings,
    steps: int,
    observe: Callable[[int, int, float], None],
    prepare: Callable[[int], None] = lambda step: None,
) -> list[tuple[int, float]]:
    optimizer = optim.Adam(
        optim.cosine_decay(settings.learning_rate, max(steps, 1)), bias_correction=True
    )
    value_and_grad = nn.value_and_grad(student, distillation_loss)
    losses = []
    for step in range(1, steps + 1):
        prepare(step)
        loss, gradients = value_and_grad(student, batches(), settings)
        optimizer.update(student, gradients)
        mx.eval(loss, student.parameters(), optimizer.state)
        if step % LOOK_EVERY and step != steps:
            continue
        value = float(loss.item())
        if not np.isfinite(value):
            raise SpeechError(
                f"the training diverged at step {step}", "lower the learning rate"
            )
        losses.append((step, value))
        observe(step, steps, value)
    return losses


def distillation_loss(
    student: MelStudent, batch: _Batch, settings: DistillSettings
) -> mx.array:
    """The loss of a batch; with a relaxation, and of the expected arithmetic."""
    weights, spec = settings.losses, student.spec
    spectrum = student(batch.frames)
    loss = weights.mel * mel_difference(student.mel(spectrum), batch.mel, batch.floor)
    if not isinstance(student, RoutedMel):
        return loss
    # The spectrum of the dual layout comes from a transform of its own, and is exact.
    if weights.spectrum and student.layout != "dual":
        loss += weights.spectrum * spectrum_difference(spectrum, batch.spectrum)
    if weights.welch and student.layout != "dual":
        loss += weights.welch * welch_difference(
            spectrum, batch.spectrum, spec.sample_rate, spec.n_fft
        )
    if student.transform.relaxation is not None:
        share = student.transform.expected_fraction() - settings.compute_fraction
        loss += settings.sparsity * mx.square(share)
    return loss
