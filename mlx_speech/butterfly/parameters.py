"""What is trained of a stage: whole blocks, unitary blocks by angles, or twiddles only.

- ``full``: r x r complex numbers per block, as real pairs. The most robust from random
  blocks (Dao et al., "Learning fast algorithms for linear transforms using butterfly
  factorizations", 2019).
- ``unitary``: U(2) by four angles, radix 2 only. Fewest steps, slower ones.
- ``phase``: a fixed small DFT after inputs that turn by learned angles: n - 1 real
  numbers in all when tied, and the arithmetic of an ordinary FFT. Tie it: untied angles
  do not converge from random ones.

No parameter is complex64: Adam of MLX squares the gradient g where |g|^2 is meant, and
diverges (tests/butterfly/test_complex_adam.py shows it).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.factors import (
    exact_angles,
    exact_stages,
    haar_stages,
    roots_of_unity,
    spans,
)
from mlx_speech.errors import SpeechError

PARAMETERIZATIONS = ("full", "unitary", "phase")
INITS = ("dft", "haar")


def check_choice(what: str, given: str, known: Sequence[str]) -> None:
    """Refuse a word that is none of the known ones.

    Raises:
        SpeechError: names the word and the known ones.
    """
    if given not in known:
        raise SpeechError(f"unknown {what} `{given}`", f"one of: {', '.join(known)}")


def initial_parameters(
    radices: Sequence[int],
    parameterization: str,
    tied: bool,
    init: str,
    inverse: bool,
    draw: np.random.Generator,
) -> list[mx.array]:
    """Parameters of all stages, innermost first, float32.

    Args:
        radices: innermost stage first.
        parameterization: one of `PARAMETERIZATIONS`.
        tied: one set of blocks for all groups of a stage.
        init: "dft" is exact; "haar" draws unitary blocks (angles: uniform).
        inverse: of "dft", the conjugate twiddles.
        draw: source of "haar".

    Returns:
        full [blocks, m, r, r, 2]; unitary [blocks, m, 4]; phase [blocks, m, r - 1].

    Raises:
        SpeechError: an unknown word; ``unitary`` with a radix other than 2.
    """
    check_choice("parameterization", parameterization, PARAMETERIZATIONS)
    check_choice("init", init, INITS)
    if parameterization == "unitary" and set(radices) != {2}:
        raise SpeechError(
            f"`unitary` needs radices of 2, not {' * '.join(map(str, radices))}",
            "take `full`, or an n that is a power of two",
        )
    counts = block_counts(radices, tied)
    if parameterization == "phase":
        stages = exact_angles(radices, inverse)
        if init == "haar":
            stages = [
                draw.uniform(-np.pi, np.pi, (count, *stage.shape[1:]))
                for stage, count in zip(
                    stages, block_counts(radices, tied), strict=True
                )
            ]
    else:
        stages = (
            exact_stages(radices, inverse)
            if init == "dft"
            else haar_stages(radices, tied, draw)
        )
        if parameterization == "unitary":
            stages = [angles_of_unitary(stage) for stage in stages]
    spread = [
        np.broadcast_to(stage, (count, *stage.shape[1:]))
        for stage, count in zip(stages, counts, strict=True)
    ]
    if parameterization == "full":
        return [to_pairs(stage) for stage in spread]
    return [mx.array(stage.astype(np.float32)) for stage in spread]


def stage_weight(
    parameters: mx.array, parameterization: str, radix: int, inverse: bool
) -> mx.array:
    """Blocks of a stage from its parameters; differentiable.

    Returns:
        complex64 [blocks, m, r, r], axes (block, position j, output q, input p).
    """
    if parameterization == "full":
        return from_pairs(parameters)
    if parameterization == "unitary":
        return _unitary_blocks(parameters)
    return small_dft(radix, inverse) * _turns(parameters)[..., None, :]


def small_dft(radix: int, inverse: bool) -> mx.array:
    """The unitary DFT of ``radix`` points, complex64 [r, r]."""
    return mx.array(small_dft_float64(radix, inverse).astype(np.complex64))


def small_dft_float64(radix: int, inverse: bool) -> np.ndarray:
    """The unitary DFT of ``radix`` points, complex128 [r, r]."""
    index = np.arange(radix)
    turns = np.outer(index, index) % radix
    return roots_of_unity(turns, radix, inverse) / radix**0.5


def block_counts(radices: Sequence[int], tied: bool) -> list[int]:
    """Blocks of each stage that have weights of their own."""
    n = prod(radices)
    return [
        1 if tied else n // (radix * span)
        for radix, span in zip(radices, spans(radices), strict=True)
    ]


def from_pairs(pairs: mx.array) -> mx.array:
    """float32 [..., 2] to complex64 [...]; differentiable."""
    return pairs[..., 0] + pairs[..., 1] * mx.array(1j, dtype=mx.complex64)


def to_pairs(values: np.ndarray) -> mx.array:
    """complex [...] to float32 [..., 2], the last axis real and imaginary part."""
    return mx.array(np.stack([values.real, values.imag], axis=-1).astype(np.float32))


def unit(angles: mx.array) -> mx.array:
    """exp(i angles), complex64; differentiable."""
    return mx.cos(angles) + mx.sin(angles) * mx.array(1j, dtype=mx.complex64)


def _turns(angles: mx.array) -> mx.array:
    # Input 0 never turns: its angle would only be a gauge.
    first = mx.ones((*angles.shape[:-1], 1), dtype=mx.complex64)
    return mx.concatenate([first, unit(angles)], axis=-1)


def angles_of_unitary(blocks: np.ndarray) -> np.ndarray:
    """Angles (mixing, a, b, c) of unitary 2 x 2 blocks; the inverse of the next.

    Args:
        blocks: complex [..., 2, 2].

    Returns:
        float64 [..., 4]
    """
    mixing = np.arctan2(np.abs(blocks[..., 0, 1]), np.abs(blocks[..., 0, 0]))
    plus, cross, back = (
        np.angle(blocks[..., 0, 0]),
        np.angle(blocks[..., 0, 1]),
        np.angle(blocks[..., 1, 1]),
    )
    common = (plus + back) / 2
    return np.stack([mixing, common, (plus - back) / 2, cross - common], axis=-1)


def _unitary_blocks(angles: mx.array) -> mx.array:
    mixing, common, b, c = (angles[..., i] for i in range(4))
    cosine, sine = mx.cos(mixing), mx.sin(mixing)
    top = mx.stack([unit(common + b) * cosine, unit(common + c) * sine], axis=-1)
    bottom = mx.stack([-unit(common - c) * sine, unit(common - b) * cosine], axis=-1)
    return mx.stack([top, bottom], axis=-2)
