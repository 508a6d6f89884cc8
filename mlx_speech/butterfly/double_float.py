"""An FFT of double-float numbers: 48 bits of mantissa from float32 arithmetic.

Devices without float64 can check float32 transforms with it. A number is the sum of two
float32 that is never carried out; sums and products take their rounding errors along
(Dekker, "A floating-point technique for extending the available precision", 1971;
Knuth, TAOCP 2). Operations run one by one: a compiler that fused them would undo it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.factors import (
    default_radices,
    digit_reversal,
    exact_stages,
)
from mlx_speech.errors import SpeechError

# 2 ** 12 + 1 splits a float32 into two halves whose products are exact.
SPLITTER = 4097.0
# Beyond, the splitter overflows; below, the errors of products underflow.
LARGEST, SMALLEST = 1e30, 1e-20


class Pair(NamedTuple):
    """Real numbers as sums of two float32 arrays, |low| <= ulp(high) / 2."""

    high: mx.array
    low: mx.array


class ComplexPair(NamedTuple):
    """Complex numbers whose parts are pairs."""

    real: Pair
    imag: Pair


def double_float_fft(x: np.ndarray) -> np.ndarray:
    """The DFT of the last axis, computed in float32 pairs.

    Args:
        x: complex128, float64 or narrower [..., n]; n has no prime factors but 2, 3, 5.
            Moduli of the largest values from 1e-20 to 1e30 / n.

    Returns:
        complex128 [..., n], unnormalised as numpy.fft.fft; about 1e-14 from it.

    Raises:
        SpeechError: n cannot be factored, or values are beyond the range.
    """
    x = np.asarray(x)
    if x.ndim == 0:
        raise SpeechError("a single number has no axis to transform")
    n = x.shape[-1]
    radices = default_radices(n)
    peak = float(np.abs(x).max()) if x.size else 0.0
    if not (peak == 0 or SMALLEST <= peak <= LARGEST / n):
        raise SpeechError(
            f"the largest modulus is {peak:.3g}, beyond what float32 pairs can hold",
            "scale the signal to about 1",
        )
    y_nb = split_complex(x.reshape(-1, n).T[digit_reversal(radices)])
    for stage in exact_stages(radices):
        y_nb = _stage(y_nb, stage[0] * stage.shape[-1] ** 0.5)
    return join_complex(y_nb).T.reshape(x.shape)


def split_complex(x: np.ndarray) -> ComplexPair:
    """Float64 parts to pairs of float32; 48 of 53 bits are kept."""
    return ComplexPair(_split_real(x.real), _split_real(np.imag(x)))


def join_complex(z: ComplexPair) -> np.ndarray:
    """Pairs of float32 to complex128."""
    real, imag = (
        np.array(part.high).astype(np.float64) + np.array(part.low) for part in z
    )
    return real + 1j * imag


def add(a: Pair, b: Pair) -> Pair:
    """a + b; both roundings are carried along."""
    high, error = _two_sum(a.high, b.high)
    low, second = _two_sum(a.low, b.low)
    high, error = _quick_sum(high, error + low)
    return Pair(*_quick_sum(high, error + second))


def multiply(a: Pair, b: Pair) -> Pair:
    """a * b to about 2 ** -47."""
    high, error = _two_product(a.high, b.high)
    return Pair(*_quick_sum(high, error + (a.high * b.low + a.low * b.high)))


def _stage(x_nb: ComplexPair, weight: np.ndarray) -> ComplexPair:
    """Blocks [m, r, r] on the groups of [n, batch]."""
    span, radix, _ = weight.shape
    n, batch = x_nb.real.high.shape
    total: ComplexPair | None = None
    for p in range(radix):
        # Outputs q of all groups at once: [groups, q, m, batch].
        turn = split_complex(weight[:, :, p].T[None, :, :, None])
        point = _each(x_nb, partial(_input, p=p, radix=radix, span=span))
        turned = _multiply_complex(turn, point)
        total = turned if total is None else _add_complex(total, turned)
    assert total is not None
    # The graph would hold every intermediate of all stages otherwise.
    mx.eval(total)
    return _each(total, lambda part: part.reshape(n, batch))


def _input(part: mx.array, p: int, radix: int, span: int) -> mx.array:
    return part.reshape(-1, radix, span, part.shape[-1])[:, p : p + 1]


def _each(z: ComplexPair, change: Callable[[mx.array], mx.array]) -> ComplexPair:
    return ComplexPair(*(Pair(change(part.high), change(part.low)) for part in z))


def _multiply_complex(a: ComplexPair, b: ComplexPair) -> ComplexPair:
    minus = Pair(-a.imag.high, -a.imag.low)
    return ComplexPair(
        add(multiply(a.real, b.real), multiply(minus, b.imag)),
        add(multiply(a.real, b.imag), multiply(a.imag, b.real)),
    )


def _add_complex(a: ComplexPair, b: ComplexPair) -> ComplexPair:
    return ComplexPair(add(a.real, b.real), add(a.imag, b.imag))


def _split_real(x: np.ndarray) -> Pair:
    high = x.astype(np.float32)
    return Pair(mx.array(high), mx.array((x - high).astype(np.float32)))


def _two_sum(a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
    total = a + b
    share = total - a
    return total, (a - (total - share)) + (b - share)


def _quick_sum(a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
    """As `_two_sum`, of |a| >= |b|."""
    total = a + b
    return total, b - (total - a)


def _two_product(a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = (a_high * b_high - product) + a_high * b_low + a_low * b_high
    return product, error + a_low * b_low


def _halves(a: mx.array) -> tuple[mx.array, mx.array]:
    scaled = a * SPLITTER
    high = scaled - (scaled - a)
    return high, a - high
