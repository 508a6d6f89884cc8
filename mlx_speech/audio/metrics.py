"""How far one voice recording is from another: aligned mel-cepstral distortion, mel L1.

Two readings of one sentence differ in timing, so frames are paired by dynamic time
warping over mel-cepstra 1 to 13 (0, the loudness, is left out) and both measures are
averaged along that path. Mel-cepstral distortion: Kubichek 1993. Everything here is
numpy in float64: scores, not losses.
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError

N_CEPSTRA = 13
_DECIBELS = 10.0 / np.log(10.0)


def mel_cepstra(log_mel: np.ndarray | mx.array, count: int = N_CEPSTRA) -> np.ndarray:
    """Cepstra 1..count of natural-log mel frames.

    The cosine series of the log spectrum, log |X| = c0 / 2 + sum of c_m cos: with this
    scale (2 / n_mels) the distortion is the root mean square difference of the smoothed
    log spectra in decibels, by Parseval's theorem. The orthonormal transform would give
    a figure that grows with the number of bands.

    Args:
        log_mel: [frames, n_mels], natural logarithm.
        count: cepstra to keep, without number 0.

    Returns:
        float64 [frames, count].

    Raises:
        SpeechError: another shape, or fewer than count + 1 bands.
    """
    values = _frames(log_mel)
    if values.shape[1] <= count:
        raise SpeechError(
            f"{count} mel-cepstra need more than {count} bands, not {values.shape[1]}"
        )
    return values @ _dct_basis(values.shape[1], count)


def dtw_path(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cheapest monotonic pairing of all rows with all columns.

    Steps go one row down, one column right, or both; ties prefer both.

    Args:
        cost: [rows, columns], finite.

    Returns:
        (row indices, column indices), int64 [length of the path] each, from (0, 0) to
        the last row and column.

    Raises:
        SpeechError: an empty or non-finite cost.
    """
    cost = np.asarray(cost, dtype=np.float64)
    if cost.ndim != 2 or cost.size == 0 or not np.isfinite(cost).all():
        raise SpeechError(
            f"alignment needs a finite, non-empty cost table, not shape {cost.shape}"
        )
    rows, columns = cost.shape
    # One anti-diagonal at a time: its cells depend only on the two before it. total has
    # a border of infinities, so that no step needs a special case.
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        first = max(0, diagonal - columns + 1)
        i = np.arange(first, min(rows, diagonal + 1))
        j = diagonal - i
        best = np.minimum(total[i, j], np.minimum(total[i, j + 1], total[i + 1, j]))
        total[i + 1, j + 1] = cost[i, j] + best
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        i, j = path[-1]
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        path.append(min(steps, key=lambda cell: total[cell[0] + 1, cell[1] + 1]))
    pairs = np.array(path[::-1], dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]


def align(
    reference_log_mel: np.ndarray | mx.array, log_mel: np.ndarray | mx.array
) -> tuple[np.ndarray, np.ndarray]:
    """Pair the frames of two natural-log mels, as :func:`dtw_path` returns them."""
    reference = mel_cepstra(reference_log_mel)
    other = mel_cepstra(log_mel)
    squared = (
        np.square(reference).sum(axis=1)[:, None]
        + np.square(other).sum(axis=1)
        - 2.0 * reference @ other.T
    )
    return dtw_path(np.sqrt(np.maximum(squared, 0.0)))


def mel_cepstral_distortion(
    reference_log_mel: np.ndarray | mx.array, log_mel: np.ndarray | mx.array
) -> float:
    """Aligned mel-cepstral distortion in decibels.

    10 / ln 10 * sqrt(2 * sum over cepstra 1..13 of squared differences), averaged along
    the path.

    Args:
        reference_log_mel: [frames, n_mels], natural logarithm.
        log_mel: [other frames, n_mels].

    Raises:
        SpeechError: other shapes, or values that are not finite.
    """
    rows, columns = align(reference_log_mel, log_mel)
    difference = mel_cepstra(reference_log_mel)[rows] - mel_cepstra(log_mel)[columns]
    distances = np.sqrt(2.0 * np.square(difference).sum(axis=1))
    return float(_DECIBELS * distances.mean())


def aligned_mel_l1(
    reference_log_mel: np.ndarray | mx.array, log_mel: np.ndarray | mx.array
) -> float:
    """Mean absolute difference of log-mel values along the same path as the MCD.

    Takes and raises what :func:`mel_cepstral_distortion` does; in natural-log units.
    """
    rows, columns = align(reference_log_mel, log_mel)
    difference = _frames(reference_log_mel)[rows] - _frames(log_mel)[columns]
    return float(np.abs(difference).mean())


def _frames(log_mel: np.ndarray | mx.array) -> np.ndarray:
    values = np.asarray(log_mel, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] == 0:
        raise SpeechError(
            f"a log-mel to compare must be [frames, n_mels], not {values.shape}"
        )
    return values


@lru_cache(maxsize=8)
def _dct_basis(n_mels: int, count: int) -> np.ndarray:
    """Columns 1..count of the DCT-II scaled by 2 / n_mels, [n_mels, count]."""
    position = (np.arange(n_mels) + 0.5)[:, None]
    order = np.arange(1, count + 1)
    return 2.0 / n_mels * np.cos(np.pi / n_mels * position * order)
