"""Welch's density against scipy; the terms that students are held to, in NumPy."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from scipy import signal

from mlx_speech.butterfly import ButterflyFFT
from mlx_speech.butterfly.losses import (
    LossWeights,
    mel_difference,
    spectrum_difference,
    welch_density,
    welch_difference,
)
from mlx_speech.errors import SpeechError


@pytest.mark.parametrize("remove_mean", [True, False])
@pytest.mark.parametrize("n_fft", [4, 128, 250])
def test_welch_is_scipys(n_fft: int, remove_mean: bool) -> None:
    draw = np.random.default_rng(0)
    x = (draw.standard_normal((2, 3001)) + 0.4).astype(np.float32)
    own = welch_density(mx.array(x), 16000, n_fft, remove_mean=remove_mean)
    detrend = "constant" if remove_mean else False
    exact = signal.welch(x.astype(float), 16000, nperseg=n_fft, detrend=detrend)[1]
    # Where the mean is removed, the lowest bin is what rounding leaves.
    np.testing.assert_allclose(np.array(own), exact, rtol=2e-5, atol=1e-7 * exact.max())


def test_welch_takes_any_transform() -> None:
    x = mx.random.normal((2000,), key=mx.random.key(0))
    own = welch_density(x, 8000, 64, rfft=ButterflyFFT(64, real=True))
    exact = signal.welch(np.array(x).astype(float), 8000, nperseg=64)[1]
    np.testing.assert_allclose(np.array(own), exact, rtol=2e-5)


@pytest.mark.parametrize("n_fft", [2, 33, 512])
def test_segments_that_cannot_be_are_refused(n_fft: int) -> None:
    with pytest.raises(SpeechError, match=r"segments|fewer than"):
        welch_density(mx.zeros(100), 8000, n_fft)


def test_terms_are_what_their_names_say() -> None:
    draw = np.random.default_rng(1)
    own, exact = (
        draw.standard_normal((3, 5, 9)) + 1j * draw.standard_normal((3, 5, 9))
        for _ in range(2)
    )
    pair = [mx.array(each.astype(np.complex64)) for each in (own, exact)]
    wrong = (np.abs(own - exact) ** 2).sum(axis=(1, 2))
    expected = (wrong / (np.abs(exact) ** 2).sum(axis=(1, 2))).mean()
    assert float(spectrum_difference(*pair).item()) == pytest.approx(expected, 1e-5)
    densities = [(np.abs(each) ** 2).mean(axis=1) for each in (own, exact)]
    expected = np.abs(np.log10(densities[0] / densities[1])).mean()
    found = float(welch_difference(*pair, 16000, 16).item())
    assert found == pytest.approx(expected, 1e-4)
    mel, target = (draw.uniform(0, 1, (3, 5, 4)) for _ in range(2))
    floor = np.array([0.1, 0.5, 2.0]).reshape(3, 1, 1)
    logs = np.log10(np.maximum(mel, floor)) - np.log10(np.maximum(target, floor))
    found = float(
        mel_difference(*(mx.array(each) for each in (mel, target, floor))).item()
    )
    assert found == pytest.approx(np.abs(logs).mean(), 1e-5)


def test_silence_has_finite_terms_and_gradients() -> None:
    zeros = mx.zeros((1, 3, 9), dtype=mx.complex64)
    for term in (
        lambda x: spectrum_difference(x + zeros, zeros),
        lambda x: welch_difference(x + zeros, zeros, 16000, 16),
    ):
        value, gradient = mx.value_and_grad(term)(mx.zeros((1, 3, 9)))
        assert np.isfinite(value.item())
        assert np.isfinite(np.array(gradient)).all()


@pytest.mark.parametrize("weights", [{"mel": 0.0}, {"welch": -1.0}])
def test_impossible_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(SpeechError, match="loss weights"):
        LossWeights(**weights)
