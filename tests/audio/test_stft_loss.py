"""The multi-resolution STFT loss has torch's value and gradient, and is safe."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import multi_resolution_stft_loss
from mlx_speech.errors import SpeechError

RESOLUTIONS = [(256, 30, 150), (128, 50, 128)]


def test_value_and_gradient_agree_with_torch(goldens, error):
    golden = goldens("audio_stft")
    x = mx.array(golden["loss/x"])
    y = mx.array(golden["wave"].astype(np.float32) / 32768)
    value, gradient = mx.value_and_grad(multi_resolution_stft_loss)(x, y, RESOLUTIONS)
    assert error(value, golden["loss/value"]) < 1e-5
    assert error(gradient, golden["loss/gradient"]) < 1e-4


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
