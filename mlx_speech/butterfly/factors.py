"""Radices, digit reversal and exact twiddles of the mixed-radix Cooley-Tukey FFT.

Cooley & Tukey, "An algorithm for the machine calculation of complex Fourier series",
1965. Stages, their order and exact blocks are those of `metal_kernels.twiddles`.

Everything here is NumPy in double precision; `transform` rounds it to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.twiddles import (
    digit_reversal as digit_reversal,
)
from mlx_speech.metal_kernels.twiddles import (
    exact_stages as exact_stages,
)
from mlx_speech.metal_kernels.twiddles import roots_of_unity, spans

# Prime factors that `default_radices` can deal with.
PRIMES = (2, 3, 5)


def default_radices(n: int) -> tuple[int, ...]:
    """The factorisation that the fits converge with, innermost stage first.

    A power of two is all 2s; of any other n, pairs of 2s are taken as 4s (400 is
    4 * 4 * 5 * 5), which halves the number of stages.

    Raises:
        SpeechError: n is below 2, or has a prime factor other than 2, 3 and 5.
    """
    _require_size(n)
    counts = []
    rest = n
    for prime in PRIMES:
        count = 0
        while rest % prime == 0:
            rest //= prime
            count += 1
        counts.append(count)
    if rest > 1:
        raise SpeechError(
            f"n = {n} has the factor {rest}, which is no product of 2, 3 and 5",
            f"take another size, {_next_smooth(n)} for example, or give the radices",
        )
    twos, threes, fives = counts
    if threes == fives == 0:
        return (2,) * twos
    return (4,) * (twos // 2) + (2,) * (twos % 2) + (3,) * threes + (5,) * fives


def monarch_radices(n: int) -> tuple[int, int]:
    """The two factors of n that lie nearest to each other, the smaller first.

    Dao et al., "Monarch: expressive structured matrices", 2022.

    Raises:
        SpeechError: n is below 4 or prime.
    """
    _require_size(n)
    for small in range(isqrt(n), 1, -1):
        if n % small == 0:
            return small, n // small
    raise SpeechError(f"n = {n} is prime: there are no two factors", "take another n")


def checked_radices(n: int, radices: Sequence[int] | None) -> tuple[int, ...]:
    """The given radices, or the default ones of n.

    Raises:
        SpeechError: a radix below 2, or a product that is not n.
    """
    if radices is None:
        return default_radices(n)
    _require_size(n)
    radices = tuple(int(radix) for radix in radices)
    if not radices or min(radices) < 2 or prod(radices) != n:
        shown = " * ".join(str(radix) for radix in radices) or "nothing"
        raise SpeechError(
            f"the radices {shown} do not multiply to n = {n}",
            "give factors of n, each 2 or more, or none for the default",
        )
    return radices


def exact_angles(radices: Sequence[int], inverse: bool = False) -> list[np.ndarray]:
    """Angles of the DFT's twiddles: those by which inputs turn before a small DFT.

    Returns:
        Per stage float64 [1, m, r - 1], radians in (-pi, pi], of inputs p = 1 ... r-1
        at position j: -2 pi p j / (r m). Input 0 never turns.
    """
    angles = []
    for radix, span in zip(radices, spans(radices), strict=True):
        turns = np.arange(span)[:, None] * np.arange(1, radix) % (radix * span)
        turned = np.angle(roots_of_unity(turns, radix * span, inverse))
        angles.append(turned[None])
    return angles


def haar_stages(
    radices: Sequence[int], tied: bool, draw: np.random.Generator
) -> list[np.ndarray]:
    """Random unitary blocks, Haar distributed (QR of a Gaussian, phases put right).

    Mezzadri, "How to generate random matrices from the classical compact groups", 2007.

    Returns:
        Per stage complex128 [blocks, m, r, r] with 1 block when tied, n / (r m) else.
    """
    n = prod(radices)
    stages = []
    for radix, span in zip(radices, spans(radices), strict=True):
        blocks = 1 if tied else n // (radix * span)
        shape = (blocks, span, radix, radix)
        gauss = draw.standard_normal(shape) + 1j * draw.standard_normal(shape)
        unitary, upper = np.linalg.qr(gauss)
        diagonal = np.einsum("...ii->...i", upper)
        stages.append(unitary * (diagonal / np.abs(diagonal))[..., None, :])
    return stages


def apply_stages(
    stages: Sequence[np.ndarray], x_bn: np.ndarray, permutation: np.ndarray
) -> np.ndarray:
    """The same butterfly in NumPy, in the precision of its arguments.

    Args:
        stages: [blocks, m, r, r] each, innermost first.
        x_bn: [batch, n].
        permutation: [n], the order in which the first stage reads.

    Returns:
        [batch, n]
    """
    batch, n = x_bn.shape
    y_nb = x_bn.T[permutation]
    for weight in stages:
        span, radix = weight.shape[1], weight.shape[-1]
        groups = y_nb.reshape(-1, radix, span, batch).transpose(0, 2, 1, 3)
        y_nb = (weight @ groups).transpose(0, 2, 1, 3).reshape(n, batch)
    return y_nb.T


def _require_size(n: int) -> None:
    if n < 2:
        raise SpeechError(f"n = {n} is too small for a transform", "take 2 or more")


def _next_smooth(n: int) -> int:
    candidate = n
    while True:
        candidate += 1
        rest = candidate
        for prime in PRIMES:
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
