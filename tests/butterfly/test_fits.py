"""Transforms found from data, starting at random, and teachers that mislead."""

from __future__ import annotations

import time
from functools import partial

import mlx.nn as nn
import numpy as np
import pytest

from mlx_speech.butterfly import ButterflyFFT
from mlx_speech.butterfly.canonical import canonical_stages
from mlx_speech.butterfly.factors import (
    apply_stages,
    digit_reversal,
    exact_stages,
    haar_stages,
)
from mlx_speech.butterfly.fit_adam import AdamSettings, fit_adam
from mlx_speech.butterfly.fit_hierarchical import (
    fit_hierarchical,
    hierarchical_factors,
    rank_one_numpy,
)
from mlx_speech.butterfly.fit_layerwise import fit_layerwise
from mlx_speech.butterfly.permutation import find_permutation
from mlx_speech.butterfly.teacher import dft_teacher, noisy
from mlx_speech.errors import SpeechError


def haar(n: int, seed: int = 0, **options: object) -> ButterflyFFT:
    """Random blocks, proven to be nothing like the DFT."""
    transform = ButterflyFFT(n, init="haar", seed=seed, **options)  # type: ignore[arg-type]
    assert transform.error().relative > 1
    return transform


def adam(transform: ButterflyFFT, seed: int, **options: object) -> tuple[int, float]:
    settings = AdamSettings(seed=1000 + seed, **options)  # type: ignore[arg-type]
    result = fit_adam(transform, settings=settings)
    return result.steps, transform.error().relative


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adam_finds_the_dft_of_64_points(seed: int) -> None:
    started = time.process_time()
    steps, error = adam(haar(64, seed), seed, steps=600)
    assert error < 1e-6
    assert steps <= 600
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "options",
    [
        {"parameterization": "unitary"},
        {"tied": True},
        {"inverse": True},
        {"real": True, "seed": 1},
        {"real": True, "inverse": True, "norm": "ortho", "seed": 1},
    ],
)
def test_adam_finds_every_kind(options: dict) -> None:
    _, error = adam(haar(32, **options), 0)
    assert error < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("n", "most_steps"), [(256, 600), (400, 500), (1024, 800), (2048, 1000)]
)
def test_adam_finds_the_dft(n: int, most_steps: int, seed: int) -> None:
    steps, error = adam(haar(n, seed), seed, steps=most_steps)
    assert error < 1e-6
    assert steps <= most_steps


@pytest.mark.slow
def test_24_fixed_vectors_identify_256_points() -> None:
    _, error = adam(haar(256), 0, steps=1000, fixed_vectors=24)
    assert error < 1e-6
    _, error = adam(haar(256), 0, steps=1000, fixed_vectors=8)
    assert error > 0.1, "a control: 8 vectors leave the matrix open"


@pytest.mark.parametrize("solver", ["descent", "least-squares"])
def test_layerwise_finds_the_dft_of_1024_points(solver: str) -> None:
    transform = haar(1024)
    result = fit_layerwise(transform, solver=solver)
    assert transform.error().relative < 1e-6
    assert result.vectors <= 700
    assert result.seconds < 3
    assert (result.steps > 0) == (solver == "descent")


def test_layerwise_finds_mixed_radices_and_inverses() -> None:
    for options in ({}, {"inverse": True}, {"norm": "ortho"}, {"tied": True}):
        transform = haar(60, **options)
        fit_layerwise(transform)
        assert transform.error().relative < 1e-6


@pytest.mark.parametrize("n", [400, 1024, 2048])
def test_hierarchical_finds_the_dft_in_mlx(n: int) -> None:
    transform = ButterflyFFT(n, init="haar")
    result = fit_hierarchical(transform)
    assert transform.error().relative < 1e-6
    assert result.seconds < 5


@pytest.mark.parametrize("n", [400, 960, 1024])
def test_hierarchical_is_exact_in_double_precision(n: int) -> None:
    transform = ButterflyFFT(n)
    radices, order = transform.radices, transform.permutation
    matrix = np.fft.fft(np.eye(n), norm="ortho")
    stages = hierarchical_factors(matrix[:, order], radices, rank_one_numpy)
    fitted = apply_stages(stages, np.eye(n), order).T
    assert np.linalg.norm(fitted - matrix) < 1e-13 * np.linalg.norm(matrix)
    # It found Cooley and Tukey's twiddles, one by one.
    for own, exact in zip(canonical_stages(stages), exact_stages(radices), strict=True):
        assert np.abs(own - exact).max() < 1e-12


def test_structure_takes_noise_out() -> None:
    transform = ButterflyFFT(64, init="haar")
    teacher = noisy(dft_teacher(transform), 0.01)
    dense = teacher(np.eye(64)) - np.fft.fft(np.eye(64))
    fit_hierarchical(transform, teacher, precise=True)
    error = transform.error().relative
    assert 1e-4 < error < 0.5 * np.linalg.norm(dense) / 64
    fit_hierarchical(transform, teacher, vectors=512, precise=True)
    assert transform.error().relative < 0.5 * error
    fit_layerwise(transform, teacher)
    assert transform.error().relative < 0.01


def test_a_black_box_butterfly_is_found_under_its_permutation() -> None:
    n = 64
    draw = np.random.default_rng(3)
    stages = haar_stages((2,) * 6, False, draw)
    even_odd = digit_reversal((2,) * 6)
    for order in (even_odd, even_odd[::-1], np.arange(n)):
        target = apply_stages(stages, np.eye(n), order)
        found = find_permutation(target.T)
        transform = haar(n, permutation=found)
        fit_hierarchical(transform, lambda x, target=target: x @ target, precise=True)
        scaled = transform.matrix()
        assert np.linalg.norm(scaled - target.T) < 1e-6 * np.linalg.norm(target)


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("n", [8, 64, 1024])
def test_permutation_search_finds_bit_reversal(n: int, noise: float) -> None:
    teacher = noisy(dft_teacher(ButterflyFFT(n)), noise)
    found = find_permutation(teacher(np.eye(n)).T)
    assert np.array_equal(found, digit_reversal((2,) * int(np.log2(n))))


def test_what_is_no_butterfly_is_refused() -> None:
    k, j = np.arange(64)[:, None], np.arange(64)
    cosine_transform = np.cos(np.pi * k * (2 * j + 1) / 128)
    noise = np.random.default_rng(0).standard_normal((64, 64))
    for matrix in (cosine_transform, noise):
        with pytest.raises(SpeechError, match="the operator is no butterfly"):
            find_permutation(matrix)
    with pytest.raises(SpeechError, match="no radix-2 butterfly"):
        find_permutation(np.eye(12))
    with pytest.raises(SpeechError, match="NaN"):
        find_permutation(np.full((8, 8), np.nan))
    with pytest.raises(SpeechError, match="the matrix is 0"):
        find_permutation(np.zeros((8, 8)))


def test_a_module_can_be_the_teacher() -> None:
    class Reversal(nn.Module):
        """No parameters: an empty dictionary to Python, and so false."""

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x[:, ::-1]

    few = partial(fit_adam, settings=AdamSettings(steps=50))
    for fit in (fit_hierarchical, fit_layerwise, few):
        transform = haar(8)
        fit(transform, Reversal())
        assert transform.error().relative > 0.5, "it was not the DFT that was shown"


def test_teachers_that_answer_nonsense_are_refused() -> None:
    for fit in (fit_adam, fit_layerwise, fit_hierarchical):
        with pytest.raises(SpeechError, match="NaN or infinity"):
            fit(ButterflyFFT(8), lambda x: x * np.nan)
        with pytest.raises(SpeechError, match="the teacher answers"):
            fit(ButterflyFFT(8), lambda x: x[:, :4])


def test_fits_refuse_transforms_that_they_cannot_fit() -> None:
    with pytest.raises(SpeechError, match="fits complex transforms only"):
        fit_layerwise(ButterflyFFT(8, real=True))
    with pytest.raises(SpeechError, match="`layerwise` fits `full` stages"):
        fit_layerwise(ButterflyFFT(8, parameterization="phase"))
    with pytest.raises(SpeechError, match="digit-reversed order"):
        fit_layerwise(ButterflyFFT(8, permutation=np.arange(8)))
    with pytest.raises(SpeechError, match="3 probes are too few"):
        fit_layerwise(ButterflyFFT(8), probes=3)
    with pytest.raises(SpeechError, match="`full` untied"):
        fit_hierarchical(ButterflyFFT(8, tied=True))
    with pytest.raises(SpeechError, match="7 vectors do not determine"):
        fit_hierarchical(ButterflyFFT(8), vectors=7)


def test_a_learning_rate_that_explodes_is_said() -> None:
    with pytest.raises(SpeechError, match="diverged at step"):
        fit_adam(ButterflyFFT(64), settings=AdamSettings(learning_rate=1e30))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"batch_size": 0},
        {"fixed_vectors": -1},
        {"final_share": 2.0},
        {"seed": -1},
    ],
)
def test_impossible_settings_of_adam_are_refused(settings: dict) -> None:
    with pytest.raises(SpeechError, match=next(iter(settings)).split("_")[0]):
        AdamSettings(**settings)
