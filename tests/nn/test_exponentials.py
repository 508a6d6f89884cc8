"""Exponentials from quick operations are as exact as MLX's own."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.nn import exponentials
from mlx_speech.nn.exponentials import log_sum_exp, powers_of_two


def test_powers_of_two_are_exact_to_single_precision() -> None:
    x = mx.linspace(-125.9, 20, 300_001)
    exact = 2.0 ** np.array(x, np.float64)
    found = np.array(powers_of_two(x), np.float64)
    assert np.abs(found / exact - 1).max() < 3e-7
    whole = mx.arange(-126, 128).astype(mx.float32)
    np.testing.assert_allclose(
        np.array(powers_of_two(whole), np.float64),
        2.0 ** np.arange(-126, 128),
        rtol=1.5e-7,
    )


def test_powers_below_the_least_and_of_no_number() -> None:
    x = mx.array([-126.4, -1e6, -mx.inf, mx.nan, 0.0])
    found = np.array(powers_of_two(x))
    np.testing.assert_allclose(found[:3], 2.0**-126, rtol=1e-6)
    assert np.isnan(found[3])
    assert found[4] == pytest.approx(1, abs=2e-7)


def test_powers_are_measured_against_the_top_of_their_row() -> None:
    x = 900 * mx.random.normal((50, 400), key=mx.random.key(0))
    top = mx.ceil(x.max(axis=-1, keepdims=True))
    exact = 2.0 ** (np.array(x, np.float64) - np.array(top, np.float64))
    found = np.array(powers_of_two(x, top))
    assert found.max() <= 1
    np.testing.assert_allclose(found, np.maximum(exact, 2.0**-126), rtol=3e-7)


def test_gradients() -> None:
    x = mx.random.normal((3, 20000), key=mx.random.key(0))
    assert exponentials.is_slow(x)
    powers = mx.grad(lambda x: powers_of_two(x, 5.0).sum(axis=-1).sum())(x)
    assert mx.allclose(powers, math.log(2) * 2.0 ** (x - 5.0), rtol=1e-6, atol=1e-9)
    softmax = mx.grad(lambda x: log_sum_exp(x).sum())(x)
    assert mx.allclose(softmax, mx.softmax(x, axis=-1), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("shape", [(300, 256), (3, 7)])
def test_log_sum_exp(shape: tuple[int, int], scale: float) -> None:
    x = scale * np.random.default_rng(0).standard_normal(shape)
    x[0, 1:] = -np.inf
    x[1] = -np.inf
    x = x.astype(np.float32)
    with np.errstate(divide="ignore"):
        exact = np.log(np.exp(x.astype(np.float64)).sum(axis=-1))
    found = np.array(log_sum_exp(mx.array(x)))
    assert found[1] == -np.inf
    np.testing.assert_allclose(found, exact, rtol=3e-7, atol=3e-7)


def test_the_quick_way_is_for_large_single_precision_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = mx.zeros((200, 200))
    assert exponentials.is_slow(large)
    assert not exponentials.is_slow(large[:2])
    assert not exponentials.is_slow(large.astype(mx.float16))
    monkeypatch.setattr(exponentials, "current_device", lambda: "metal")
    assert not exponentials.is_slow(large)
    assert log_sum_exp(large)[0].item() == pytest.approx(math.log(200), abs=1e-6)
