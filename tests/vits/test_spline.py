"""The spline is monotonic, invertible, and its log slope is its slope's logarithm."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.vits.spline import rational_quadratic_spline

BINS = 10
BOUND = 5.0


def _logits(count: int, seed: int = 0) -> list[mx.array]:
    """One spline for ``count`` points: the same parameters for each of them."""
    rng = np.random.default_rng(seed)
    sizes = (BINS, BINS, BINS - 1)
    rows = [2 * rng.standard_normal(size).astype(np.float32) for size in sizes]
    return [mx.array(np.tile(row, (count, 1))) for row in rows]


@pytest.mark.parametrize("seed", range(5))
def test_inverse_undoes_the_map(seed: int) -> None:
    x = mx.linspace(-7, 7, 1001)
    logits = _logits(1001, seed)
    y, log_slope = rational_quadratic_spline(x, *logits, BOUND)
    back, inverse_log_slope = rational_quadratic_spline(y, *logits, BOUND, inverse=True)
    # A flat piece magnifies the rounding of y by its inverse's slope.
    magnification = np.maximum(1, np.exp(np.array(inverse_log_slope)))
    assert (np.abs(np.array(back - x)) / magnification).max() < 3e-5
    np.testing.assert_allclose(
        np.array(inverse_log_slope), -np.array(log_slope), atol=2e-2
    )


@pytest.mark.parametrize("inverse", [False, True])
def test_log_slope_equals_a_finite_difference(inverse: bool) -> None:
    x = np.linspace(-6, 6, 2401).astype(np.float32)[1::2]
    step = 1e-3
    logits = [0.5 * value for value in _logits(len(x), 1)]

    def value(at: np.ndarray) -> np.ndarray:
        y, _ = rational_quadratic_spline(mx.array(at), *logits, BOUND, inverse)
        return np.array(y, dtype=np.float64)

    _, log_slope = rational_quadratic_spline(mx.array(x), *logits, BOUND, inverse)
    slope = (value(x + np.float32(step)) - value(x - np.float32(step))) / (2 * step)
    np.testing.assert_allclose(np.exp(np.array(log_slope)), slope, rtol=2e-2, atol=2e-3)


def test_log_slope_equals_the_gradient() -> None:
    x = mx.linspace(-5.5, 5.5, 501)
    logits = _logits(501, 2)
    gradient = mx.grad(lambda x: rational_quadratic_spline(x, *logits, BOUND)[0].sum())
    _, log_slope = rational_quadratic_spline(x, *logits, BOUND)
    np.testing.assert_allclose(
        np.array(gradient(x)), np.exp(np.array(log_slope)), rtol=2e-3
    )


def test_map_is_monotonic_and_keeps_the_bounds() -> None:
    x = mx.linspace(-BOUND, BOUND, 5001)
    y, _ = rational_quadratic_spline(x, *_logits(5001, 3), BOUND)
    assert np.diff(np.array(y)).min() > -1e-6
    np.testing.assert_allclose(np.array(y)[[0, -1]], [-BOUND, BOUND], atol=1e-5)


@pytest.mark.parametrize("inverse", [False, True])
def test_tails_are_the_identity_with_finite_gradients(inverse: bool) -> None:
    x = mx.array([-1e6, -5.01, 5.01, 1e6])
    logits = _logits(4)
    y, log_slope = rational_quadratic_spline(x, *logits, BOUND, inverse)
    np.testing.assert_array_equal(np.array(y), np.array(x))
    np.testing.assert_array_equal(np.array(log_slope), 0)

    def total(x: mx.array, widths: mx.array) -> mx.array:
        y, log_slope = rational_quadratic_spline(
            x, widths, logits[1], logits[2], BOUND, inverse
        )
        return (y + log_slope).sum()

    for gradient in mx.grad(total, argnums=(0, 1))(x, logits[0]):
        assert np.isfinite(np.array(gradient)).all()


def test_equal_logits_give_the_identity_inside() -> None:
    x = mx.linspace(-4.9, 4.9, 101)
    even = mx.zeros((101, BINS))
    # The softplus of this is 1 less the smallest slope.
    slopes = mx.full((101, BINS - 1), float(np.log(np.exp(1 - 1e-3) - 1)))
    y, log_slope = rational_quadratic_spline(x, even, even, slopes, BOUND)
    np.testing.assert_allclose(np.array(y), np.array(x), atol=1e-5)
    np.testing.assert_allclose(np.array(log_slope), 0, atol=1e-5)
