"""The multi-resolution STFT loss has torch's value and gradient, and is safe."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import multi_resolution_stft_loss, stft
from mlx_speech.audio.stft import squared_magnitude
from mlx_speech.errors import SpeechError

RESOLUTIONS = [(256, 30, 150), (128, 50, 128)]


def test_value_and_gradient_agree_with_torch(goldens, error):
    golden = goldens("audio_stft")
    x = mx.array(golden["loss/x"])
    y = mx.array(golden["wave"].astype(np.float32) / 32768)
    value, gradient = mx.value_and_grad(multi_resolution_stft_loss)(x, y, RESOLUTIONS)
    assert error(value, golden["loss/value"]) < 1e-5
    assert error(gradient, golden["loss/gradient"]) < 1e-4


def test_a_whole_batch_is_summed_exactly():
    generator = np.random.default_rng(0)
    x, y = generator.normal(0, 0.1, (2, 16, 12288)).astype(np.float32)
    resolution = (512, 50, 240)
    magnitudes = [
        np.sqrt(np.maximum(squared_magnitude(stft(mx.array(each), *resolution)), 1e-7))
        for each in (x, y)
    ]
    of_x, of_y = (each.astype(np.float64) for each in magnitudes)
    assert of_x.size > 1_000_000
    convergence = np.sqrt(np.square(of_y - of_x).sum() / np.square(of_y).sum())
    log_distance = np.abs(np.log(of_y) - np.log(of_x)).mean()
    value = multi_resolution_stft_loss(mx.array(x), mx.array(y), [resolution])
    assert value.item() == pytest.approx(convergence + log_distance, rel=5e-6)


def test_equal_and_silent_signals_are_finite():
    for x in (mx.zeros((2, 3000)), mx.random.normal((2, 3000), key=mx.random.key(0))):
        value, gradient = mx.value_and_grad(multi_resolution_stft_loss)(x, x)
        assert value.item() < 1e-5
        assert mx.isfinite(gradient).all().item()


def test_bad_requests_are_explained():
    with pytest.raises(SpeechError, match="one shape"):
        multi_resolution_stft_loss(mx.zeros((1, 300)), mx.zeros((1, 301)))
    with pytest.raises(SpeechError, match="at least one"):
        multi_resolution_stft_loss(mx.zeros((1, 300)), mx.zeros((1, 300)), [])
