"""The figures of the learned FFT, each beside its untrained baseline and its limit.

Errors are relative Frobenius errors of the whole matrix against numpy in double
precision; seconds are processor time of this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlx_speech.bench.butterfly_speed import gate_gradient_seconds, transform_times
from mlx_speech.butterfly import ButterflyFFT, double_float_fft, quantize
from mlx_speech.butterfly.canonical import canonical_stages
from mlx_speech.butterfly.factors import (
    apply_stages,
    digit_reversal,
    exact_stages,
)
from mlx_speech.butterfly.fit_adam import AdamSettings, fit_adam
from mlx_speech.butterfly.fit_hierarchical import (
    fit_hierarchical,
    hierarchical_factors,
    rank_one_numpy,
)
from mlx_speech.butterfly.fit_layerwise import fit_layerwise
from mlx_speech.butterfly.permutation import find_permutation
from mlx_speech.butterfly.teacher import FitResult, dft_teacher, noisy
from mlx_speech.errors import SpeechError
from mlx_speech.nn.polar import fit_quantizer, quantization_error

SIZES = (64, 128, 256, 512, 1024, 2048, 400, 480, 960)
SEEDS = (0, 1, 2)
# Points and the steps that joint training may take; the first is quick.
ADAM_STEPS = ((64, 600), (256, 600), (400, 500), (1024, 800), (2048, 1000))
# Bits and the error that they may leave.
MODULUS_ONE = ((8, 8e-3), (12, 5e-4), (16, 4e-5))


@dataclass(frozen=True)
class ButterflyFigure:
    """One measured line.

    Attributes:
        what: the claim.
        case: size, seed, bits.
        untrained: the error before, or of the plain alternative; None: there is none.
        error: measured.
        limit: the most that the error may be; None: reported only.
        steps: gradient steps; ``vectors``: questions to the teacher.
        seconds: processor time.
    """

    what: str
    case: str
    untrained: float | None
    error: float
    limit: float | None
    steps: int = 0
    vectors: int = 0
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the error is within its limit."""
        return self.limit is None or self.error < self.limit


Measure = Callable[[], ButterflyFigure]


def figures(full: bool = False) -> list[Measure]:
    """What to measure, in the order of the table.

    Args:
        full: the joint trainings beyond 64 points too: minutes on a CPU.
    """
    jobs: list[Measure] = [partial(_exact, n) for n in SIZES]
    for n, steps in ADAM_STEPS if full else ADAM_STEPS[:1]:
        jobs += [partial(_adam, n, steps, seed) for seed in SEEDS]
    if full:
        jobs += [partial(_few_vectors, count) for count in (24, 8)]
        jobs += [
            partial(_twiddles_only, n, True, s) for n in (256, 1024) for s in SEEDS
        ]
        jobs += [partial(_twiddles_only, 256, False, 0)]
    jobs += [partial(_layerwise, 1024)]
    jobs += [partial(_hierarchical, n) for n in (400, 1024, 2048)]
    jobs += [partial(_double, n) for n in (400, 1024, 2048)]
    jobs += [partial(_twiddles, n) for n in (400, 1024)]
    jobs += [partial(_permutation, n, noise) for n in (8, 1024) for noise in (0, 0.05)]
    jobs += [_cosine_transform]
    jobs += [
        partial(_phases, n, bits)
        for n, bits in ((128, 8), (512, 8), (400, 9), (1024, 9), (2048, 10))
    ]
    jobs += [partial(_gaussian, *case) for case in _gaussian_cases()]
    jobs += [partial(_modulus_one, *case) for case in MODULUS_ONE]
    jobs += [partial(_float_pairs, n) for n in (400, 1024, 4096)]
    jobs += [partial(_fused, n) for n in (1024, 2048)]
    jobs += [partial(_gate_gradients, 128)]
    return jobs


def measure(jobs: list[Measure]) -> Iterator[ButterflyFigure]:
    """Measure one after the other."""
    for job in jobs:
        yield job()


def _exact(n: int) -> ButterflyFigure:
    drawn = ButterflyFFT(n, init="haar").error().relative
    error = ButterflyFFT(n).error().relative
    return ButterflyFigure("exact twiddles", f"n {n}", drawn, error, 3e-7)


def _fitted(
    what: str,
    case: str,
    transform: ButterflyFFT,
    limit: float | None,
    fit: Callable[[ButterflyFFT], FitResult],
) -> ButterflyFigure:
    untrained = transform.error().relative
    result = fit(transform)
    return ButterflyFigure(
        what,
        case,
        untrained,
        transform.error().relative,
        limit,
        result.steps,
        result.vectors,
        result.seconds,
    )


def _adam(n: int, steps: int, seed: int) -> ButterflyFigure:
    settings = AdamSettings(steps=steps, seed=1000 + seed)
    return _fitted(
        f"joint Adam, {steps} steps at most",
        f"n {n}, seed {seed}",
        ButterflyFFT(n, init="haar", seed=seed),
        1e-6,
        lambda transform: fit_adam(transform, settings=settings),
    )


def _twiddles_only(n: int, tied: bool, seed: int) -> ButterflyFigure:
    transform = ButterflyFFT(
        n, parameterization="phase", tied=tied, init="haar", seed=seed
    )
    return _fitted(
        "joint Adam, twiddles only" if tied else "control: twiddles only, untied",
        f"n {n}, seed {seed}",
        transform,
        1e-6 if tied else None,
        lambda transform: fit_adam(transform, settings=AdamSettings(seed=1000 + seed)),
    )


def _few_vectors(count: int) -> ButterflyFigure:
    settings = AdamSettings(steps=1000, fixed_vectors=count)
    enough = count >= 24
    return _fitted(
        "joint Adam, fixed vectors" if enough else "control: too few vectors",
        f"n 256, {count} vectors",
        ButterflyFFT(256, init="haar"),
        1e-6 if enough else None,
        lambda transform: fit_adam(transform, settings=settings),
    )


def _layerwise(n: int) -> ButterflyFigure:
    return _fitted(
        "stage by stage", f"n {n}", ButterflyFFT(n, init="haar"), 1e-6, fit_layerwise
    )


def _hierarchical(n: int) -> ButterflyFigure:
    return _fitted(
        "rank-1 splits, MLX",
        f"n {n}",
        ButterflyFFT(n, init="haar"),
        1e-6,
        fit_hierarchical,
    )


def _factors(n: int) -> tuple[ButterflyFFT, np.ndarray, list[np.ndarray], float]:
    transform = ButterflyFFT(n, init="haar")
    matrix = np.fft.fft(np.eye(n), norm="ortho")
    started = time.process_time()
    permuted = matrix[:, transform.permutation]
    stages = hierarchical_factors(permuted, transform.radices, rank_one_numpy)
    return transform, matrix, stages, time.process_time() - started


def _double(n: int) -> ButterflyFigure:
    transform, matrix, stages, seconds = _factors(n)
    fitted = apply_stages(stages, np.eye(n), transform.permutation).T
    error = float(np.linalg.norm(fitted - matrix) / np.linalg.norm(matrix))
    untrained = transform.error().relative
    return ButterflyFigure(
        "rank-1 splits, float64", f"n {n}", untrained, error, 1e-13, 0, n, seconds
    )


def _twiddles(n: int) -> ButterflyFigure:
    transform, _, stages, seconds = _factors(n)
    exact = exact_stages(transform.radices)

    def off(blocks: list[np.ndarray]) -> float:
        pairs = zip(canonical_stages(blocks), exact, strict=True)
        return max(float(np.abs(own - root).max()) for own, root in pairs)

    return ButterflyFigure(
        "twiddles against roots of unity",
        f"n {n}",
        off(transform.blocks()),
        off(stages),
        1e-12,
        0,
        n,
        seconds,
    )


def _permutation(n: int, noise: float) -> ButterflyFigure:
    teacher = noisy(dft_teacher(ButterflyFFT(n)), noise)
    matrix = teacher(np.eye(n)).T
    started = time.process_time()
    found = find_permutation(matrix)
    seconds = time.process_time() - started
    expected = digit_reversal((2,) * int(np.log2(n)))
    return ButterflyFigure(
        "permutation: share misplaced",
        f"n {n}, noise {noise:.0%}",
        float(np.mean(np.arange(n) != expected)),
        float(np.mean(found != expected)),
        1e-9,
        0,
        n,
        seconds,
    )


def _cosine_transform() -> ButterflyFigure:
    k, j = np.arange(64)[:, None], np.arange(64)
    try:
        find_permutation(np.cos(np.pi * k * (2 * j + 1) / 128))
    except SpeechError:
        accepted = 0.0
    else:
        accepted = 1.0
    return ButterflyFigure(
        "permutation: DCT taken for a butterfly", "n 64", None, accepted, 0.5
    )


def _phases(n: int, bits: int) -> ButterflyFigure:
    transform = ButterflyFFT(n, parameterization="phase", tied=True)
    rect = quantize(transform, "rect", bits + bits % 2).error().relative
    error = quantize(transform, "phase", bits).error().relative
    return ButterflyFigure(
        "phase index (before: as many bits, rect)",
        f"n {n}, {bits} bits",
        rect,
        error,
        3e-7,
    )


def _gaussian_cases() -> list[tuple[int, float, int | None, float]]:
    """Bits, limit, bits of the phase (None: the best), and what rlx-fft's leave."""
    cases: list[tuple[int, float, int | None, float]] = []
    for bits, limit, rlx_split, rlx_error in (
        (8, 0.135, 5, 0.308),
        (12, 0.034, 8, 0.143),
        (16, 0.0085, 10, 0.040),
    ):
        cases.append((bits, limit, None, rlx_error))
        cases.append((bits, rlx_error, rlx_split, rlx_error))
    return cases


def _drawn(count: int = 20000) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.standard_normal(count) + 1j * draw.standard_normal(count)


def _gaussian(
    bits: int, limit: float, split: int | None, rlx_error: float
) -> ButterflyFigure:
    weights = _drawn()
    quantizer = fit_quantizer(weights, "polar", bits, split)
    which = "rlx-fft's split" if split else "best split"
    return ButterflyFigure(
        f"Gaussian weights, {which} (before: rlx-fft's figure)",
        f"{bits - quantizer.phase_bits} + {quantizer.phase_bits} bits",
        rlx_error,
        quantization_error(quantizer, weights),
        limit,
    )


def _modulus_one(bits: int, limit: float) -> ButterflyFigure:
    weights = _drawn()
    weights /= np.abs(weights)
    polar = quantization_error(fit_quantizer(weights, "polar", bits), weights)
    error = quantization_error(fit_quantizer(weights, "phase", bits), weights)
    return ButterflyFigure(
        "weights of modulus 1, phase only (before: polar)",
        f"{bits} bits",
        polar,
        error,
        limit,
    )


def _float_pairs(n: int) -> ButterflyFigure:
    draw = np.random.default_rng(n)
    x = draw.standard_normal((4, n)) + 1j * draw.standard_normal((4, n))
    expected = np.fft.fft(x)
    single = np.array(mx.fft.fft(mx.array(x.astype(np.complex64))))
    started = time.process_time()
    y = double_float_fft(x)
    seconds = time.process_time() - started
    scale = np.linalg.norm(expected)
    return ButterflyFigure(
        "float32 pairs (before: mx.fft)",
        f"n {n}",
        float(np.linalg.norm(single - expected) / scale),
        float(np.linalg.norm(y - expected) / scale),
        1e-13,
        seconds=seconds,
    )


def _fused(n: int) -> ButterflyFigure:
    transform = ButterflyFFT(n, real=True)
    own, _ = transform_times(transform, 1000, repeats=1)
    fused, native = transform_times(transform, 1000, 60, transform.fuse())
    return ButterflyFigure(
        "fused: time over that of mx.fft.rfft (before: unfused)",
        f"n {n}",
        own / native,
        fused / native,
        1.2,
    )


def _gate_gradients(n: int) -> ButterflyFigure:
    backward, differences = gate_gradient_seconds(n)
    gates = n // 2 * int(np.log2(n))
    return ButterflyFigure(
        "gradients of all gates, over differences for 32 (before: those for all)",
        f"{gates} gates: {1e3 * backward:.0f} against {1e3 * differences:.0f} ms",
        gates / 32,
        backward / differences,
        0.1,
        seconds=backward + differences,
    )
