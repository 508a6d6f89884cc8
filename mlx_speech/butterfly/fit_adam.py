"""Joint gradient descent: all stages at once, from white random questions.

Dao et al. (2019) needed up to 80,000 steps a trial. With unitary random blocks, a large
learning rate under a cosine, and white questions, a few hundred do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from mlx_speech import backend
from mlx_speech.butterfly.teacher import (
    FitResult,
    Teacher,
    ask,
    dft_teacher,
    white,
)
from mlx_speech.butterfly.transform import ButterflyFFT
from mlx_speech.errors import SpeechError

# Found for white questions: tenfold lower, nothing moves within 1000 steps.
LEARNING_RATES = {"full": 0.03, "unitary": 0.1, "phase": 0.1}
WARMUP = 20
LOOK_EVERY = 25
EPSILON = 1e-12


@dataclass(frozen=True)
class AdamSettings:
    """Settings of `fit_adam`.

    Attributes:
        steps: the most steps; None: see `default_steps`.
        learning_rate: None: by parameterization.
        batch_size: fresh questions per step.
        fixed_vectors: 0, or ask this many once and use them in every step.
        tolerance: stop at this relative error on the step's questions.
        final_share: the share of the learning rate that the cosine ends at.
        seed: of the questions.

    Raises:
        SpeechError: an impossible value.
    """

    steps: int | None = None
    learning_rate: float | None = None
    batch_size: int = 32
    fixed_vectors: int = 0
    tolerance: float = 5e-7
    final_share: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        backend.check_seed(self.seed)
        for name, possible in (
            ("steps", self.steps is None or self.steps >= 1),
            ("learning_rate", self.learning_rate is None or self.learning_rate > 0),
            ("batch_size", self.batch_size >= 1),
            ("fixed_vectors", self.fixed_vectors >= 0),
            ("final_share", 0 <= self.final_share <= 1),
        ):
            if not possible:
                raise SpeechError(f"`{name}` {getattr(self, name)} is not possible")


def default_steps(transform: ButterflyFFT) -> int:
    """Steps that random ``full`` blocks need to become the DFT: by stages."""
    depth = len(transform.radices) + transform.real
    return max(500, 100 * (depth - 2) + 100 * (depth > 10))


def fit_adam(
    transform: ButterflyFFT,
    teacher: Teacher | None = None,
    settings: AdamSettings | None = None,
    observe: Callable[[int, int, float], None] | None = None,
) -> FitResult:
    """Train all parameters of a transform towards a teacher, in place.

    Args:
        transform: any `ButterflyFFT`, also a real one.
        teacher: maps [batch, inputs] to [batch, outputs]; None: the exact transform.
        settings: see `AdamSettings`.
        observe: called as (step, steps, relative error) now and then.

    Raises:
        SpeechError: the teacher's answers have another shape or are not finite, or
            the training diverged.
    """
    settings = settings or AdamSettings()
    # `or` would drop a teacher that is a module without parameters: an empty dict.
    teacher = dft_teacher(transform) if teacher is None else teacher
    started = time.process_time()
    steps = settings.steps or default_steps(transform)
    rate = settings.learning_rate or LEARNING_RATES[transform.parameterization]
    optimizer = optim.Adam(
        _schedule(rate, steps, settings.final_share),
        eps=EPSILON,
        bias_correction=True,
    )
    questions = partial(_questions, transform, teacher)
    draw = np.random.default_rng(settings.seed)
    fixed = questions(draw, settings.fixed_vectors) if settings.fixed_vectors else None
    value_and_grad = nn.value_and_grad(transform, _loss)
    losses: list[tuple[int, float]] = []
    step = 0
    for step in range(1, steps + 1):
        x, target = fixed or questions(draw, settings.batch_size)
        loss, gradients = value_and_grad(transform, x, target)
        optimizer.update(transform, gradients)
        mx.eval(loss, transform.parameters(), optimizer.state)
        if step % LOOK_EVERY and step != steps:
            continue
        error = float(loss.item()) ** 0.5
        losses.append((step, error))
        if not np.isfinite(error):
            raise SpeechError(
                f"the training diverged at step {step}", "lower the learning rate"
            )
        if observe is not None:
            observe(step, steps, error)
        if error < settings.tolerance:
            break
    asked = settings.fixed_vectors or step * settings.batch_size
    return FitResult("adam", step, asked, time.process_time() - started, losses)


def _questions(
    transform: ButterflyFFT, teacher: Teacher, draw: np.random.Generator, count: int
) -> tuple[mx.array, mx.array]:
    inputs, outputs = transform.n, transform.bins
    if transform.inverse:
        inputs, outputs = outputs, inputs
    real = transform.real and not transform.inverse
    x = white(draw, (count, inputs), real)
    target = ask(teacher, x, outputs)
    return _narrow(x), _narrow(target)


def _narrow(x: np.ndarray) -> mx.array:
    return mx.array(x.astype(np.complex64 if np.iscomplexobj(x) else np.float32))


def _loss(transform: ButterflyFFT, x: mx.array, target: mx.array) -> mx.array:
    return _energy(transform(x) - target) / _energy(target)


def _energy(x: mx.array) -> mx.array:
    if x.dtype != mx.complex64:
        return mx.sum(x**2)
    return mx.sum(mx.real(x) ** 2 + mx.imag(x) ** 2)


def _schedule(
    rate: float, steps: int, final_share: float
) -> Callable[[mx.array], mx.array]:
    def at(step: mx.array) -> mx.array:
        cosine = 0.5 * (1 + mx.cos(step * (np.pi / steps)))
        return (
            rate
            * mx.minimum(1, (step + 1) / WARMUP)
            * (final_share + (1 - final_share) * cosine)
        )

    return at
