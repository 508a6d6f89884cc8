"""The FFT of float32 pairs against numpy in double precision."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly import double_float_fft
from mlx_speech.butterfly.double_float import (
    ComplexPair,
    Pair,
    add,
    join_complex,
    multiply,
    split_complex,
)
from mlx_speech.errors import SpeechError


def relative(y: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(y - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("n", [2, 60, 256, 400, 1024, 4096])
def test_error_is_far_below_float32(n: int) -> None:
    draw = np.random.default_rng(n)
    x = draw.standard_normal((2, 3, n)) + 1j * draw.standard_normal((2, 3, n))
    expected = np.fft.fft(x)
    assert relative(double_float_fft(x), expected) < 1e-13
    single = np.array(mx.fft.fft(mx.array(x.astype(np.complex64))))
    assert relative(single, expected) > 3e-9


def test_real_and_quiet_signals() -> None:
    x = np.random.default_rng(0).standard_normal(64)
    assert relative(double_float_fft(1e-3 * x), np.fft.fft(1e-3 * x)) < 1e-13
    assert np.all(double_float_fft(np.zeros(8)) == 0)


def test_arithmetic_keeps_48_bits() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.standard_normal((2, 1000))
    pair_a, pair_b = split_complex(a).real, split_complex(b).real

    def value(pair: Pair) -> np.ndarray:
        zero = Pair(mx.zeros(1000), mx.zeros(1000))
        return join_complex(ComplexPair(pair, zero)).real

    # The low part of a number near 1 rounds at 2 ** -48.
    assert np.abs(value(pair_a) - a).max() < 4e-15
    assert np.abs(value(add(pair_a, pair_b)) - (a + b)).max() < 2e-14
    assert np.abs(value(multiply(pair_a, pair_b)) - a * b).max() < 1e-13


def test_what_pairs_cannot_hold_is_refused() -> None:
    for x, message in [
        (np.full(8, 1e31), "beyond what float32 pairs"),
        (np.full(8, 1e-30), "beyond what float32 pairs"),
        (np.full(8, np.nan), "largest modulus is nan"),
        (np.ones(7), "n = 7 has the factor 7"),
        (np.ones(()), "no axis"),
    ]:
        with pytest.raises(SpeechError, match=message):
            double_float_fft(x)
