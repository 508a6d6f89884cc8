"""Activations, and how each one is computed.

MLX's CPU back end computes tanh, sigmoid and the error function one element at a time
by calls of the C library, 15 to 30 ns each, which was a fifth of VITS's training step
on Linux. Additions and products are vectorised there, at 0.3 ns. So on a CPU tanh and
erf are quotients of two polynomials, which lie within 1e-6 of the exact functions
(float32 rounding included) and are three to four times as quick; the sigmoid follows
from tanh. Elsewhere MLX's own operations run.

The coefficients are a weighted least-squares fit of x P(x^2) / Q(x^2), reweighted until
the relative error was level over the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import mlx.core as mx

from mlx_speech.nn.conv import current_device

Elementwise = Callable[[mx.array], mx.array]

# Highest power of x^2 first; beyond the bound the function is 1 to float32's precision.
_TANH_BOUND = 7.9
_TANH_P = (-3.1651634e-05, 0.036532743, 13.67103, 642.86602, 5053.6134)
_TANH_Q = (1.0, 115.66524, 2327.3963, 5053.6144)
_ERF_BOUND = 3.9
_ERF_P = (0.053794865, 7.4831186, 99.022349, 1385.9745, 5004.5993, 29641.703)
_ERF_Q = (1.0, 30.558545, 393.43677, 2998.6488, 13191.620, 26269.276)


def tanh_sigmoid_gate(hidden: mx.array) -> mx.array:
    """WaveNet's gate: tanh of one half of the channels times sigmoid of the other.

    Args:
        hidden: [..., 2 channels], the tanh's half first.

    Returns:
        [..., channels].
    """
    signal, opening = mx.split(hidden, 2, axis=-1)
    return tanh(signal) * sigmoid(opening)


def gelu(x: mx.array) -> mx.array:
    """x times the distribution function of the standard normal (not the tanh form).

    MLX's own is compiled where it is defined, which on a CPU starts a C++ compiler.
    """
    return x * (0.5 + 0.5 * erf(x * math.sqrt(0.5)))


def tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent, elementwise; any shape."""
    return _quick_tanh(x) if _is_slow(x) else mx.tanh(x)


def sigmoid(x: mx.array) -> mx.array:
    """1 / (1 + exp(-x)), elementwise; any shape."""
    return 0.5 + 0.5 * _quick_tanh(0.5 * x) if _is_slow(x) else mx.sigmoid(x)


def erf(x: mx.array) -> mx.array:
    """Error function, elementwise; any shape."""
    return _quick_erf(x) if _is_slow(x) else mx.erf(x)


def _is_slow(x: mx.array) -> bool:
    return x.dtype == mx.float32 and current_device() == "cpu"


def _tanh_by_quotient(x: mx.array) -> mx.array:
    return _quotient(x, _TANH_P, _TANH_Q, _TANH_BOUND)


def _tanh_vjp(x: mx.array, cotangent: mx.array, y: mx.array) -> mx.array:
    return cotangent * (1 - mx.square(y))


def _erf_by_quotient(x: mx.array) -> mx.array:
    return _quotient(x, _ERF_P, _ERF_Q, _ERF_BOUND)


def _erf_vjp(x: mx.array, cotangent: mx.array, y: mx.array) -> mx.array:
    return cotangent * (2 / math.sqrt(math.pi)) * mx.exp(-mx.square(x))


def _with_vjp(function: Elementwise, vjp: Callable[..., mx.array]) -> Elementwise:
    """Attach a gradient that is shorter than that of each step of ``function``."""
    custom = mx.custom_function(function)
    custom.vjp(vjp)
    return cast(Elementwise, custom)


_quick_tanh = _with_vjp(_tanh_by_quotient, _tanh_vjp)
_quick_erf = _with_vjp(_erf_by_quotient, _erf_vjp)


def _quotient(
    x: mx.array, numerator: Sequence[float], denominator: Sequence[float], bound: float
) -> mx.array:
    """x P(x^2) / Q(x^2) for x clipped to the bound; NaN stays NaN."""
    x = mx.clip(x, -bound, bound)
    square = mx.square(x)
    return x * _polynomial(square, numerator) / _polynomial(square, denominator)


def _polynomial(x: mx.array, coefficients: Sequence[float]) -> mx.array:
    """Horner's rule, highest power first."""
    first, second, *rest = coefficients
    # A leading 1 saves a product.
    value = x + second if first == 1.0 else first * x + second
    for coefficient in rest:
        value = value * x + coefficient
    return value
