"""Radices and digit reversal."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_speech.butterfly.factors import (
    apply_stages,
    default_radices,
    digit_reversal,
    exact_stages,
    haar_stages,
    monarch_radices,
)


def test_default_radices() -> None:
    assert default_radices(1024) == (2,) * 10
    assert default_radices(400) == (4, 4, 5, 5)
    assert default_radices(480) == (4, 4, 2, 3, 5)
    assert default_radices(27) == (3, 3, 3)
    assert monarch_radices(400) == (20, 20)
    assert monarch_radices(2048) == (32, 64)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_digit_reversal_of_twos_reverses_bits(bits: int) -> None:
    expected = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]
    assert digit_reversal([2] * bits).tolist() == expected


@pytest.mark.parametrize("radices", [(2, 2, 2), (4, 4, 5, 5), (2, 3, 4), (20, 20)])
def test_stages_in_double_precision_are_the_dft(radices: tuple[int, ...]) -> None:
    n = int(np.prod(radices))
    x = np.random.default_rng(0).standard_normal((3, n)).astype(np.complex128)
    y = apply_stages(exact_stages(radices), x, digit_reversal(radices))
    expected = np.fft.fft(x, norm="ortho")
    assert np.linalg.norm(y - expected) < 1e-14 * np.linalg.norm(expected)


def test_haar_blocks_are_unitary_and_of_no_preferred_phase() -> None:
    blocks = haar_stages((2,) * 10, False, np.random.default_rng(0))[4]
    assert blocks.shape == (32, 16, 2, 2)
    gram = blocks @ blocks.conj().swapaxes(-1, -2)
    assert np.abs(gram - np.eye(2)).max() < 1e-14
    assert np.abs(blocks.mean(axis=(0, 1))).max() < 0.1
