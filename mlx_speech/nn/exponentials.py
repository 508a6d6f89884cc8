"""Powers of two and log-sum-exp from operations that a CPU does quickly.

MLX's CPU back end computes exponentials one at a time, 12 ns each, which was two thirds
of Whisper's encoder on Linux. Additions and products are vectorised there, at 0.1 to
0.3 ns. So a power of two is split: adding a large constant rounds x to an integer whose
bits, shifted, are an exponent; the rest, within 1/2, goes through a polynomial (least
squares, reweighted until the relative error was level: 7.5e-8). In all this is within
3e-7 of exact, float32 rounding included, and takes 2 ns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import mlx.core as mx

from mlx_speech.nn.conv import current_device

LOG2_E = math.log2(math.e)
# Highest power first.
_POWER_OF_TWO = (0.0013276472, 0.009675541, 0.05550713, 0.2402212, 0.6931470, 1.0000001)
# Numbers of this size have steps of 1, and zeros in the bits that a shift by an
# exponent's place leaves.
_ROUNDER = 1.5 * 2**23
_EXPONENT_PLACE = 23
# Below, float32 loses bits: such powers count as the least normal number.
_LEAST_EXPONENT = -126
# Up to so many numbers, starting a score of operations takes longer than they save.
_FEW = 16_384


def powers_of_two(x: mx.array, top: mx.array | float = 0.0) -> mx.array:
    """2 ** (x - top).

    Args:
        x: float32; NaN stays NaN.
        top: whole numbers below 2**22, broadcast against ``x``; each at least as large
            as the ``x`` that it belongs to. They get no gradient.

    Returns:
        float32, the shape of ``x``; what is below 2 ** -126 becomes 2 ** -126.
    """
    return cast(mx.array, _powers_of_two(x, mx.array(top, mx.float32)))


@mx.custom_function
def _powers_of_two(x: mx.array, top: mx.array) -> mx.array:
    x = mx.maximum(x, top + _LEAST_EXPONENT)
    shift = _ROUNDER - top
    # Now the low bits are x - top as an integer, and `rest` what rounding took away.
    rounded = x + shift
    rest = x - (rounded - shift)
    first, second, *others = _POWER_OF_TWO
    power = first * rest + second
    for coefficient in others:
        power = power * rest + coefficient
    # Added to the bits of a number's exponent, an integer multiplies by a power of two.
    exponent = mx.left_shift(mx.view(rounded, mx.int32), _EXPONENT_PLACE)
    return mx.view(mx.view(power, mx.int32) + exponent, mx.float32)


@_powers_of_two.vjp
def _gradients(
    primals: Sequence[mx.array], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    return cotangent * output * math.log(2), mx.zeros_like(primals[1])


def log_sum_exp(x: mx.array) -> mx.array:
    """Logarithm of the sum of exponentials along the last axis.

    A CPU adds one number after another: give it some hundreds at a time, not more.

    Args:
        x: float32 [..., numbers], finite or -inf.

    Returns:
        float32 [...].
    """
    if not is_slow(x):
        return mx.logsumexp(x, axis=-1)
    most = x.max(axis=-1, keepdims=True)
    # A row of nothing but -inf has no number to be measured against.
    base = mx.stop_gradient(mx.where(most == -mx.inf, 0.0, most))
    total = powers_of_two((x - base) * LOG2_E).sum(axis=-1)
    return mx.where(most == -mx.inf, -mx.inf, base + mx.log(total)[..., None])[..., 0]


def is_slow(x: mx.array) -> bool:
    """Whether MLX's own exponentials of ``x`` take longer than these."""
    return x.dtype == mx.float32 and x.size > _FEW and current_device() == "cpu"
