"""The canonical form of a butterfly, in which its twiddles can be read off.

A diagonal may be moved from the outputs of one stage into the inputs of the next
without changing the product. Up to that, a butterfly factorisation is essentially
unique (Zheng, Riccietti & Gribonval, "Efficient identification of butterfly sparse
matrix factorizations", 2023): once column 0 of every block is pushed to 1 / sqrt(r), a
learned DFT shows Cooley and Tukey's roots of unity, wherever its training started.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlx_speech.butterfly.parameters import small_dft_float64
from mlx_speech.errors import SpeechError


def canonical_stages(stages: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Push diagonals forward until column 0 of every block is 1 / sqrt(r).

    Column 0 of the last stage takes what is left over; of the DFT that is 1 / sqrt(r)
    as well.

    Args:
        stages: complex [blocks, m, r, r], innermost first, all tied or all untied.

    Returns:
        The same transform in complex128, same shapes.

    Raises:
        SpeechError: a weight in column 0 is 0: there is no such form.
    """
    result = []
    gauge = np.ones((1, 1), dtype=np.complex128)
    for place, stage in enumerate(stages):
        blocks, span, radix, _ = stage.shape
        if len(gauge) == 1:
            incoming = np.broadcast_to(gauge, (1, span))[..., None]
        else:
            incoming = gauge.reshape(blocks, radix, span).transpose(0, 2, 1)
        weight = stage.astype(np.complex128) * incoming[:, :, None, :]
        if place < len(stages) - 1:
            first = weight[..., 0] * radix**0.5
            if not np.all(np.abs(first) > 0):
                raise SpeechError(
                    f"stage {place} has no canonical form: a weight of it is 0",
                    "canonicalize transforms that were fitted to a dense operator",
                )
            weight = weight / first[..., None]
            # The outputs q of a group lie m apart: [blocks, q, m] is their order.
            gauge = first.transpose(0, 2, 1).reshape(blocks, radix * span)
        result.append(weight)
    return result


def twiddle_angles(
    stages: Sequence[np.ndarray], inverse: bool, tolerance: float = 1e-3
) -> list[np.ndarray]:
    """Angles of the twiddles of a butterfly of small DFTs.

    Args:
        stages: complex [blocks, m, r, r], innermost first.
        inverse: whether the small DFTs are conjugated ones.
        tolerance: how far an entry times sqrt(r) may lie from the form.

    Returns:
        float64 [blocks, m, r - 1] each, radians in [-pi, pi].

    Raises:
        SpeechError: the canonical form is not one of turned small DFTs.
    """
    angles = []
    for place, stage in enumerate(canonical_stages(stages)):
        radix = stage.shape[-1]
        small = small_dft_float64(radix, inverse)
        turns = np.angle(stage[..., 0, :])
        off = float(np.abs(stage - small * np.exp(1j * turns)[..., None, :]).max())
        off *= radix**0.5
        # Of a canonical DFT, input 0 does not turn, not even in the last stage.
        if max(off, float(np.abs(turns[..., 0]).max())) > tolerance:
            raise SpeechError(
                f"stage {place} is no small DFT of turned inputs: "
                f"{off:.2g} off, allowed {tolerance:.2g}",
                "fit it to the DFT first, or quantise the whole blocks with `rect`",
            )
        angles.append(turns[..., 1:])
    return angles


def turned_blocks(angles: np.ndarray, radix: int, inverse: bool) -> np.ndarray:
    """Small DFTs of inputs that turn, complex128 [blocks, m, r, r]."""
    turns = np.concatenate(
        [np.ones((*angles.shape[:-1], 1)), np.exp(1j * angles)], axis=-1
    )
    return small_dft_float64(radix, inverse) * turns[..., None, :]


def snapped_angles(
    angles: Sequence[np.ndarray], n: int
) -> tuple[list[np.ndarray], float]:
    """Round angles to the grid of the n-th roots of unity.

    Args:
        angles: radians.
        n: size of the transform.

    Returns:
        The rounded angles (float64, radians) and the largest rounding in radians.

    Raises:
        SpeechError: an angle lies further than a quarter of a step from the grid, so
            that the nearest root is no safe guess.
    """
    step = 2 * np.pi / n
    rounded = [np.round(each / step) * step for each in angles]
    largest = max(
        float(np.abs(a - b).max()) for a, b in zip(angles, rounded, strict=True)
    )
    if largest > step / 4:
        raise SpeechError(
            f"a twiddle lies {largest:.2g} rad from the {n}-th roots of unity, "
            f"allowed {step / 4:.2g}",
            "train longer before snapping",
        )
    return rounded, largest
