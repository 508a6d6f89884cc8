"""The quick activations are the exact functions to float32's precision."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from scipy import special

from mlx_speech.nn import activations

NORMAL_DENSITY_AT_0 = 1 / np.sqrt(2 * np.pi)
POINTS = np.concatenate(
    [np.linspace(-12, 12, 200_001), np.linspace(-0.01, 0.01, 2_001), [-1e30, 1e30]]
).astype(np.float32)


def _exact_gelu(x: np.ndarray) -> np.ndarray:
    return x * special.ndtr(x)


def _gelu_slope(x: np.ndarray) -> np.ndarray:
    return special.ndtr(x) + x * NORMAL_DENSITY_AT_0 * np.exp(-0.5 * x * x)


FUNCTIONS = {
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "gelu": (_exact_gelu, _gelu_slope),
}


@pytest.mark.parametrize("device", ["cpu", "other"])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_values_and_gradients(
    name: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "current_device", lambda: device)
    ours: Callable[[mx.array], mx.array] = getattr(activations, name)
    exact, slope = FUNCTIONS[name]
    points = POINTS[:-2] if name == "gelu" else POINTS
    wide = points.astype(np.float64)
    x = mx.array(points)
    value = np.array(ours(x), dtype=np.float64)
    scale = np.maximum(1, np.abs(exact(wide)))
    assert (np.abs(value - exact(wide)) / scale).max() < 1e-6
    gradient = np.array(mx.grad(lambda x: ours(x).sum())(x), dtype=np.float64)
    np.testing.assert_allclose(gradient, slope(wide), atol=2e-6)


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_relative_precision_near_zero(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "current_device", lambda: "cpu")
    points = np.geomspace(1e-20, 1, 1000).astype(np.float32)
    value = np.array(getattr(activations, name)(mx.array(points)))
    exact = FUNCTIONS[name][0](points.astype(np.float64))
    np.testing.assert_allclose(value, exact, rtol=1e-6)


def test_nan_stays_nan() -> None:
    x = mx.array([np.nan, 1.0], dtype=mx.float32)
    for name in FUNCTIONS:
        value = np.array(getattr(activations, name)(x))
        assert np.isnan(value[0]) and np.isfinite(value[1])


def test_gate_splits_the_channels() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    expected = np.tanh(x[..., :4]) * special.expit(x[..., 4:])
    gate = activations.tanh_sigmoid_gate(mx.array(x))
    np.testing.assert_allclose(np.array(gate), expected, atol=1e-6)


def test_half_precision_keeps_its_type() -> None:
    x = mx.array([0.5, -2.0], dtype=mx.float16)
    for name in FUNCTIONS:
        assert getattr(activations, name)(x).dtype == mx.float16
