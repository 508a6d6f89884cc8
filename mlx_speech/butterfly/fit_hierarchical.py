"""Hierarchical factorisation: the butterfly of a matrix by rank-1 splits alone.

Zheng, Riccietti & Gribonval, "Efficient identification of butterfly sparse matrix
factorizations", 2023: with its columns permuted, a butterfly matrix falls into blocks
of rank 1; their two sides are butterflies of fewer stages. No iteration over the whole,
no starting point, O(n^2) work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import prod
from typing import TypeVar

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.factors import apply_stages
from mlx_speech.butterfly.teacher import (
    FitResult,
    Teacher,
    ask,
    dft_teacher,
    require_complex,
    white,
)
from mlx_speech.butterfly.transform import ButterflyFFT
from mlx_speech.errors import SpeechError

Array = TypeVar("Array", mx.array, np.ndarray)
# Of a block of exact rank 1 one turn suffices; the second takes rounding out.
POWER_TURNS = 2


def fit_hierarchical(
    transform: ButterflyFFT,
    teacher: Teacher | None = None,
    vectors: int | None = None,
    precise: bool = False,
    seed: int = 0,
) -> FitResult:
    """Fit a ``full`` untied transform to the matrix of a teacher, in place.

    Args:
        transform: complex, ``full`` and untied, with any permutation.
        teacher: maps [batch, n] to [batch, n]; None: the exact transform.
        vectors: None asks the n unit vectors; a number asks as many random ones and
            solves for the matrix, which averages noise away.
        precise: factorise in NumPy in double precision, not in MLX in float32.
        seed: of random questions.

    Returns:
        One loss: how far the butterfly is from the matrix that was asked, relatively.

    Raises:
        SpeechError: a real, tied or not ``full`` transform, too few vectors, or answers
            that are wrong in shape or not finite.
    """
    require_complex(transform, "hierarchical")
    if transform.parameterization != "full" or transform.tied:
        raise SpeechError(
            "`hierarchical` fits `full` untied stages", "make the transform with these"
        )
    # `or` would drop a teacher that is a module without parameters: an empty dict.
    teacher = dft_teacher(transform) if teacher is None else teacher
    started = time.process_time()
    n = transform.n
    matrix = ask_matrix(teacher, n, vectors, seed)
    scale = float(transform.exact(np.eye(1, n))[0, 0].real) * n**0.5
    unitary = matrix / scale
    permuted = unitary[:, transform.permutation]
    if precise:
        stages = hierarchical_factors(permuted, transform.radices, rank_one_numpy)
    else:
        lazy = hierarchical_factors(
            mx.array(permuted.astype(np.complex64)), transform.radices, rank_one_mlx
        )
        mx.eval(lazy)
        stages = [np.array(each) for each in lazy]
    transform.set_blocks(stages)
    order = transform.permutation
    fitted = apply_stages(stages, np.eye(n, dtype=stages[0].dtype), order).T
    misfit = float(np.linalg.norm(fitted - unitary) / np.linalg.norm(unitary))
    seconds = time.process_time() - started
    return FitResult("hierarchical", 0, vectors or n, seconds, [(0, misfit)])


def ask_matrix(
    teacher: Teacher, n: int, vectors: int | None = None, seed: int = 0
) -> np.ndarray:
    """The matrix of a linear teacher of n inputs and outputs, rows = outputs.

    Args:
        teacher: maps [batch, n] to [batch, n].
        n: size.
        vectors: None asks the unit vectors; a number, that many random ones.
        seed: of these.

    Raises:
        SpeechError: fewer than n vectors; answers of a wrong shape or not finite.
    """
    if vectors is None:
        return ask(teacher, np.eye(n), n).T
    if vectors < n:
        raise SpeechError(
            f"{vectors} vectors do not determine a matrix of {n} columns",
            f"ask {n} or more, or fit by `adam`",
        )
    x = white(np.random.default_rng(seed), (vectors, n), real=False)
    return np.linalg.lstsq(x, ask(teacher, x, n), rcond=None)[0].T


def hierarchical_factors(
    matrix: Array,
    radices: Sequence[int],
    rank_one: Callable[[Array], tuple[Array, Array]],
) -> list[Array]:
    """Blocks of the butterfly of a matrix whose columns are permuted already.

    Args:
        matrix: complex [n, n].
        radices: innermost stage first.
        rank_one: [..., a, b] to the (u [..., a], v [..., b]) whose product it is.

    Returns:
        complex [blocks, m, r, r] per stage, innermost first.
    """
    return _split(matrix.reshape(1, 1, *matrix.shape), radices, rank_one)


def _split(
    matrices: Array,
    radices: Sequence[int],
    rank_one: Callable[[Array], tuple[Array, Array]],
) -> list[Array]:
    """Factors of [blocks, m, n, n]: one butterfly per block and position."""
    if len(radices) == 1:
        return [matrices]
    blocks, span, n, _ = matrices.shape
    half = len(radices) // 2
    inner = prod(radices[:half])
    outer = n // inner
    # Row (Q, j) and column (b, i): for each j and b the block over Q and i has rank 1.
    grid = matrices.reshape(blocks, span, outer, inner, outer, inner)
    u, v = rank_one(grid.transpose(0, 1, 3, 4, 2, 5))
    right = v.transpose(0, 3, 1, 2, 4).reshape(blocks * outer, span, inner, inner)
    left = u.transpose(0, 2, 1, 4, 3).reshape(blocks, inner * span, outer, outer)
    return _split(right, radices[:half], rank_one) + _split(
        left, radices[half:], rank_one
    )


def rank_one_numpy(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u [..., a] and v [..., b] whose product is nearest to [..., a, b]."""
    longest = np.argmax(np.sum(np.abs(t) ** 2, axis=-1), axis=-1)
    v = np.take_along_axis(t, longest[..., None, None], axis=-2)[..., 0, :]
    for _ in range(POWER_TURNS):
        v = v / _length(v)
        u = (t @ v.conj()[..., None])[..., 0]
        u = u / _length(u)
        v = (u.conj()[..., None, :] @ t)[..., 0, :]
    share = np.sqrt(_length(v))
    return u * share, v / share


def rank_one_mlx(t: mx.array) -> tuple[mx.array, mx.array]:
    """The same in MLX: products and norms only, no decomposition, so any device."""
    power = mx.sum(mx.real(t) ** 2 + mx.imag(t) ** 2, axis=-1)
    longest = mx.argmax(power, axis=-1)
    v = mx.take_along_axis(t, longest[..., None, None], axis=-2)[..., 0, :]
    for _ in range(POWER_TURNS):
        v = v / _length_mlx(v)
        u = (t @ mx.conj(v)[..., None])[..., 0]
        u = u / _length_mlx(u)
        v = (mx.conj(u)[..., None, :] @ t)[..., 0, :]
    share = mx.sqrt(_length_mlx(v))
    return u * share, v / share


def _length(z: np.ndarray) -> np.ndarray:
    return np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-300)


def _length_mlx(z: mx.array) -> mx.array:
    squares = mx.real(z) ** 2 + mx.imag(z) ** 2
    return mx.maximum(mx.sqrt(mx.sum(squares, axis=-1, keepdims=True)), 1e-30)
