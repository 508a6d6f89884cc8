"""The order of a butterfly's inputs, found from its matrix.

Level by level from the outermost stage, the eight orders that Dao et al. (2019) relax
(even before odd, and either half reversed) are tried; the right one leaves blocks of
rank 1. No relaxation and no gradient is needed.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from mlx_speech.errors import SpeechError

# Energy outside of rank 1, as a share: rounding and 5 % noise leave below 1 %, an
# operator that is no butterfly (DCT, random) leaves 10 to 50 %.
LIMIT = 0.05


def find_permutation(matrix: np.ndarray, limit: float = LIMIT) -> np.ndarray:
    """The order in which the first stage of a radix-2 butterfly reads its input.

    Args:
        matrix: complex [n, n], n a power of two, rows = outputs.
        limit: the largest share of energy outside of rank 1, at any level.

    Returns:
        int32 [n]; bit reversal for the DFT.

    Raises:
        SpeechError: n is no power of two; NaN, or nothing but zeros; the operator is no
            radix-2 butterfly under any of the orders.
    """
    matrix = np.asarray(matrix)
    n = len(matrix)
    if matrix.shape != (n, n) or n < 2 or n & (n - 1):
        raise SpeechError(
            f"a matrix {list(matrix.shape)} is no radix-2 butterfly",
            "give a square one whose size is a power of two",
        )
    if not np.all(np.isfinite(matrix)):
        raise SpeechError("the matrix holds NaN or infinity")
    if not matrix.any():
        raise SpeechError("the matrix is 0 everywhere: every order fits it")
    order = np.arange(n)
    parts = matrix[None].astype(np.complex128)
    size = n
    while size > 2:
        chosen, outside, blocks = min(
            (_try(parts, candidate) for candidate in _orders(size)),
            key=lambda tried: round(tried[1], 9),
        )
        if outside > limit:
            raise SpeechError(
                f"the operator is no butterfly: {100 * outside:.1f} % of the energy "
                f"at {size} points is outside of rank 1, allowed {100 * limit:.1f} %",
                "only transforms like the DFT have such a factorisation",
            )
        # Both halves of every group are of one kind, so one order serves them all.
        order = order.reshape(-1, size)[:, chosen].reshape(-1)
        parts = _inner_sides(blocks)
        size //= 2
    return order.astype(np.int32)


def _orders(size: int) -> list[np.ndarray]:
    half = size // 2
    found = []
    for separate, first_back, second_back in product((False, True), repeat=3):
        order = np.arange(size)
        if separate:
            order = np.concatenate([order[::2], order[1::2]])
        first, second = order[:half], order[half:]
        found.append(
            np.concatenate(
                [
                    first[::-1] if first_back else first,
                    second[::-1] if second_back else second,
                ]
            )
        )
    return found


def _try(parts: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """An order, the share of energy outside of rank 1 under it, and the blocks."""
    count, size, _ = parts.shape
    half = size // 2
    grid = parts[:, :, order].reshape(count, 2, half, 2, half)
    blocks = grid.transpose(0, 2, 3, 1, 4)  # [part, row j, half b, q, column i]
    gram = blocks @ blocks.conj().swapaxes(-1, -2)
    energies = np.linalg.eigvalsh(gram)
    return order, float(energies[..., 0].sum() / energies.sum()), blocks


def _inner_sides(blocks: np.ndarray) -> np.ndarray:
    """The rank-1 blocks' sides over the columns: the next level's matrices."""
    count, half = blocks.shape[:2]
    gram = blocks @ blocks.conj().swapaxes(-1, -2)
    dominant = np.linalg.eigh(gram)[1][..., -1]
    sides = (dominant.conj()[..., None, :] @ blocks)[..., 0, :]
    return sides.transpose(0, 2, 1, 3).reshape(2 * count, half, half)
