"""Exact twiddles of the mixed-radix Cooley-Tukey FFT, in NumPy and double precision.

Cooley & Tukey, "An algorithm for the machine calculation of complex Fourier series",
1965. A transform of n = r_1 r_2 ... r_L points is a permutation (digit reversal) and L
stages; stage s, with m = r_1 ... r_{s-1} points done before it, replaces each group of
r_s numbers that lie m apart by an r_s x r_s product of them. Real signals take half the
points: Sorensen et al., "Real-valued fast Fourier transform algorithms", 1987.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np


def spans(radices: Sequence[int]) -> tuple[int, ...]:
    """m of every stage: how many points each of its inputs' groups already merges."""
    return tuple(prod(radices[:stage]) for stage in range(len(radices)))


def digit_reversal(radices: Sequence[int]) -> np.ndarray:
    """The order in which the stages take the input: bit reversal when all are 2.

    Args:
        radices: innermost stage first.

    Returns:
        int32 [n]: stage 1 reads ``x[digit_reversal]``.
    """
    # Reversing mixed-radix digits is reversing the axes of the index grid. The first
    # stage's digit is the fastest one after it, the slowest one before it.
    order = np.arange(prod(radices), dtype=np.int32).reshape(tuple(radices))
    return np.ascontiguousarray(order.transpose().reshape(-1))


def exact_stages(radices: Sequence[int], inverse: bool = False) -> list[np.ndarray]:
    """Blocks of the unitary DFT's stages.

    Args:
        radices: innermost stage first.
        inverse: conjugate twiddles.

    Returns:
        Per stage complex128 [1, m, r, r], axes (one block for all, position within the
        group j, output q, input p): exp(-2 pi i p (q m + j) / (r m)) / sqrt(r).
    """
    stages = []
    for radix, span in zip(radices, spans(radices), strict=True):
        j = np.arange(span)[:, None, None]
        q = np.arange(radix)[:, None]
        p = np.arange(radix)
        # Reduced modulo the period in integers: no digit is lost in large angles.
        turns = (p * (q * span + j)) % (radix * span)
        stages.append(roots_of_unity(turns, radix * span, inverse)[None] / radix**0.5)
    return stages


def roots_of_unity(turns: np.ndarray, n: int, inverse: bool = False) -> np.ndarray:
    """exp(-2 pi i turns / n), or its conjugate when ``inverse``; complex128."""
    sign = 1 if inverse else -1
    return np.exp(sign * 2j * np.pi * np.asarray(turns) / n)


def exact_untangling(n: int, inverse: bool = False) -> np.ndarray:
    """Weights that untangle even and odd samples' spectra, complex128 [2, n / 2 + 1].

    The even samples are real parts, the odd ones imaginary parts of n / 2 points with
    the spectrum Z; the first row a and the second b give the bins
    a[k] Z[k] + b[k] conj(Z[-k]).
    """
    turn = 1j * roots_of_unity(np.arange(n // 2 + 1), n, inverse)
    first, second = (1 - turn) / 2, (1 + turn) / 2
    return np.stack([second, first] if inverse else [first, second])
