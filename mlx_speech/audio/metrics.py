"""How far one voice recording is from another: aligned mel-cepstral distortion, mel L1.

Two readings of one sentence differ in timing, so frames are paired by dynamic time
warping over mel-cepstra 1 to 13 (0, the loudness, is left out) and both measures are
averaged along that path. Mel-cepstral distortion: Kubichek 1993. Everything here is
numpy in float64: scores, not losses.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def dtw_paths(costs: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cheapest monotonic pairing of all rows with all columns, for each table.

    Steps go one row down, one column right, or both; ties prefer both. All tables are
    walked together, so that a hundred take little longer than one.

    Args:
        costs: tables [rows, columns], finite, each of its own size.

    Returns:
        For each (row indices, column indices), int64 [length of the path] each, from
        (0, 0) to the last row and column.

    Raises:
        SpeechError: an empty or non-finite cost.
    """
    tables = [np.asarray(cost, dtype=np.float64) for cost in costs]
    for table in tables:
        if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
            raise SpeechError(
                "alignment needs a finite, non-empty cost table, not shape "
                f"{table.shape}"
            )
    return _walk_back(_accumulate(tables), [table.shape for table in tables])


def _accumulate(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Cost of the best path to each cell, by anti-diagonals.

    Returns:
        [diagonals + 2, tables, rows + 1]; cell (i, j) lies at [i + j + 2, :, i + 1].
        The border is infinite, so that no step needs a special case.
    """
    rows = max(table.shape[0] for table in tables)
    columns = max(table.shape[1] for table in tables)
    total = np.full((rows + columns + 1, len(tables), rows + 1), np.inf)
    for index, table in enumerate(tables):
        for i, row in enumerate(table):
            total[i + 2 : i + 2 + len(row), index, i + 1] = row
    total[0, :, 0] = 0.0
    # A diagonal's cells depend only on the two diagonals before it.
    for d in range(2, len(total)):
        straight = np.minimum(total[d - 1, :, :-1], total[d - 1, :, 1:])
        total[d, :, 1:] += np.minimum(straight, total[d - 2, :, :-1])
    return total


def _walk_back(
    total: np.ndarray, shapes: Sequence[tuple[int, ...]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The paths that :func:`_accumulate` found, one step of all of them at a time."""
    table = np.arange(len(shapes))
    i, j = np.array(shapes).T - 1
    steps = [(i, j)]
    while i.any() or j.any():
        d = i + j + 2
        before = np.stack(
            [total[d - 2, table, i], total[d - 1, table, i], total[d - 1, table, i + 1]]
        )
        choice = before.argmin(axis=0)
        # At (0, 0) the border's start is cheapest: a finished path stays where it is.
        unfinished = (i > 0) | (j > 0)
        i = i - ((choice != 2) & unfinished)
        j = j - ((choice != 1) & unfinished)
        steps.append((i, j))
    cells = np.array(steps[::-1], dtype=np.int64)
    lengths = 1 + (np.diff(cells.sum(axis=1), axis=0) > 0).sum(axis=0)
    return [
        (cells[-length:, 0, index], cells[-length:, 1, index])
        for index, length in enumerate(lengths)
    ]


def aligned_distances(
    reference_log_mel: np.ndarray | mx.array,
    log_mels: Sequence[np.ndarray | mx.array],
) -> tuple[np.ndarray, np.ndarray]:
    """Mel-cepstral distortion and mel L1 of many recordings to one reference.

    Args:
        reference_log_mel: [frames, n_mels], natural logarithm.
        log_mels: each [its frames, n_mels].

    Returns:
        (decibels, natural-log units), float64 [recordings] each, as
        :func:`mel_cepstral_distortion` and :func:`aligned_mel_l1` give them.

    Raises:
        SpeechError: other shapes, or values that are not finite.
    """
    reference = mel_cepstra(reference_log_mel)
    others = [mel_cepstra(each) for each in log_mels]
    paths = dtw_paths([_euclidean(reference, other) for other in others])
    distortions, distances = [], []
    for log_mel, other, (rows, columns) in zip(log_mels, others, paths, strict=True):
        squared = np.square(reference[rows] - other[columns]).sum(axis=1)
        distortions.append(_DECIBELS * np.sqrt(2.0 * squared).mean())
        difference = _frames(reference_log_mel)[rows] - _frames(log_mel)[columns]
        distances.append(np.abs(difference).mean())
    return np.array(distortions), np.array(distances)


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
    return float(aligned_distances(reference_log_mel, [log_mel])[0][0])


def aligned_mel_l1(
    reference_log_mel: np.ndarray | mx.array, log_mel: np.ndarray | mx.array
) -> float:
    """Mean absolute difference of log-mel values along the same path as the MCD.

    Takes and raises what :func:`mel_cepstral_distortion` does; in natural-log units.
    """
    return float(aligned_distances(reference_log_mel, [log_mel])[1][0])


def _euclidean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances of all rows of [m, k] to all of [n, k]: [m, n]."""
    squared = (
        np.square(first).sum(axis=1)[:, None]
        + np.square(second).sum(axis=1)
        - 2.0 * first @ second.T
    )
    return np.sqrt(np.maximum(squared, 0.0))


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
