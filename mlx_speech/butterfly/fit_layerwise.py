"""Layer-wise fit: every stage is a convex problem once the ones below it are known.

The DFT is self-similar: a question that is zero except at every h-th sample is answered
by h copies of the DFT of n / h points. Such questions of growing length show the
teacher's stages one after another, and each is a small linear least-squares problem per
position. It holds for teachers that repeat themselves like this; any other leaves a
large error, which the result reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.factors import apply_stages, digit_reversal
from mlx_speech.butterfly.parameters import check_choice
from mlx_speech.butterfly.teacher import (
    FitResult,
    Teacher,
    ask,
    dft_teacher,
    require_complex,
    white,
)
from mlx_speech.butterfly.transform import ButterflyFFT
from mlx_speech.errors import SpeechError

SOLVERS = ("descent", "least-squares")
MAX_STEPS = 100
# Descent stops when no number moves by more: the rounding of float32 near 1.
SMALL_CHANGE = 2e-7


def fit_layerwise(
    transform: ButterflyFFT,
    teacher: Teacher | None = None,
    solver: str = "descent",
    probes: int = 64,
    seed: int = 0,
    observe: Callable[[int, int, float], None] | None = None,
) -> FitResult:
    """Fit the stages of a ``full`` transform one by one, in place.

    Args:
        transform: complex, ``full``, in digit-reversed order; untied stages get equal
            blocks.
        teacher: maps [batch, n] to [batch, n]; None: the exact transform.
        solver: "descent" is gradient descent in MLX from random blocks, in float32;
            "least-squares" the closed form in NumPy, in double precision.
        probes: questions per stage; at least 2 r for a stage of radix r.
        seed: of questions and first blocks.
        observe: called as (stage, stages, relative error of the stage).

    Returns:
        Losses are (stage, relative error on the stage's questions).

    Raises:
        SpeechError: a real transform, other parameters than ``full``, another
            permutation, too few probes, or answers that are wrong in shape or not
            finite.
    """
    check_choice("solver", solver, SOLVERS)
    require_complex(transform, "layerwise")
    _check(transform, probes)
    # `or` would drop a teacher that is a module without parameters: an empty dict.
    teacher = dft_teacher(transform) if teacher is None else teacher
    started = time.process_time()
    draw = np.random.default_rng(seed)
    scale = float(transform.exact(np.eye(1, transform.n))[0, 0].real) * transform.n**0.5
    stages: list[np.ndarray] = []
    losses, steps = [], 0
    for place, radix in enumerate(transform.radices):
        span = prod(transform.radices[:place])
        points = radix * span
        x = white(draw, (probes, points), real=False)
        y = _ask_short(teacher, x, transform.n) / scale
        order = digit_reversal(transform.radices[:place]) if place else np.zeros(1, int)
        # The stages below take every residue class of the radix for itself.
        below = [apply_stages(stages, x[:, p::radix], order) for p in range(radix)]
        inputs = np.stack(below).transpose(2, 1, 0)
        outputs = y.reshape(probes, radix, span).transpose(2, 0, 1)
        if solver == "descent":
            solved, taken = _descend(inputs, outputs, draw)
            steps += taken
        else:
            solved = _solve(inputs, outputs)
        stages.append(solved.transpose(0, 2, 1)[None])
        misfit = np.linalg.norm(inputs @ solved - outputs) / np.linalg.norm(outputs)
        losses.append((place + 1, float(misfit)))
        if observe is not None:
            observe(place + 1, len(transform.radices), float(misfit))
    transform.set_blocks(stages)
    asked = probes * len(transform.radices)
    seconds = time.process_time() - started
    return FitResult("layerwise", steps, asked, seconds, losses)


def _check(transform: ButterflyFFT, probes: int) -> None:
    if transform.parameterization != "full":
        raise SpeechError(
            f"`layerwise` fits `full` stages, not `{transform.parameterization}`",
            "take parameterization `full`, or fit by `adam`",
        )
    order = digit_reversal(transform.radices)
    if not np.array_equal(transform.permutation, order):
        raise SpeechError(
            "`layerwise` needs the digit-reversed order",
            "fit another permutation by `hierarchical`",
        )
    least = 2 * max(transform.radices)
    if probes < least:
        raise SpeechError(f"{probes} probes are too few", f"give {least} or more")


def _ask_short(teacher: Teacher, x: np.ndarray, n: int) -> np.ndarray:
    """Answers of the teacher's sub-transform of as many points as x has, unitary."""
    probes, points = x.shape
    copies = n // points
    stuffed = np.zeros((probes, n), dtype=np.complex128)
    stuffed[:, ::copies] = x
    answers = ask(teacher, stuffed, n).reshape(probes, copies, points)
    # The copies are equal but for noise, which their mean takes out.
    return answers.mean(axis=1) * copies**0.5


def _solve(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Least squares of [m, probes, r] to [m, probes, r]: [m, r (input), r (output)]."""
    adjoint = inputs.conj().transpose(0, 2, 1)
    return np.linalg.solve(adjoint @ inputs, adjoint @ outputs)


def _descend(
    inputs: np.ndarray, outputs: np.ndarray, draw: np.random.Generator
) -> tuple[np.ndarray, int]:
    """The same by gradient descent in float32, from random blocks; and its steps."""
    adjoint = inputs.conj().transpose(0, 2, 1)
    gram = adjoint @ inputs
    # The largest step that descends for certain in every position.
    rate = mx.array((1 / np.linalg.eigvalsh(gram)[:, -1:, None]).astype(np.float32))
    a, b = (mx.array(each.astype(np.complex64)) for each in (gram, adjoint @ outputs))
    blocks = mx.array(white(draw, gram.shape, real=False).astype(np.complex64)) / 2
    steps, largest = 0, np.inf
    while largest > SMALL_CHANGE and steps < MAX_STEPS:
        change = rate * (a @ blocks - b)
        blocks = blocks - change
        largest = np.abs(np.array(change)).max()
        steps += 1
    return np.array(blocks).astype(np.complex128), steps
