"""Monotonic alignment search finds what trying every alignment finds."""

from __future__ import annotations

from itertools import combinations

import mlx.core as mx
import numpy as np
import pytest
from scipy import stats

from mlx_speech.errors import SpeechError
from mlx_speech.vits.alignment import (
    alignment_score,
    maximum_path,
    path_from_durations,
)


def _best_by_trying_all(score: np.ndarray) -> tuple[float, np.ndarray]:
    """Best total of any monotonic alignment of [frames, symbols], and its durations."""
    frames, symbols = score.shape
    best, best_durations = -np.inf, np.zeros(symbols)
    for cuts in combinations(range(1, frames), symbols - 1):
        edges = [0, *cuts, frames]
        total = sum(score[edges[s] : edges[s + 1], s].sum() for s in range(symbols))
        if total > best:
            best, best_durations = total, np.diff(edges)
    return best, best_durations


def _mask(frames: list[int], symbols: list[int]) -> mx.array:
    mask = np.zeros((len(frames), max(frames), max(symbols)), np.float32)
    for item, (t, s) in enumerate(zip(frames, symbols, strict=True)):
        mask[item, :t, :s] = 1
    return mx.array(mask)


def test_equals_exhaustive_search_in_a_padded_batch() -> None:
    rng = np.random.default_rng(0)
    frames, symbols = [9, 7, 5, 8, 4, 1], [4, 3, 5, 1, 2, 1]
    for _ in range(20):
        score = rng.standard_normal((6, 9, 5)).astype(np.float32)
        path = np.array(maximum_path(mx.array(score), _mask(frames, symbols)))
        for item, (t, s) in enumerate(zip(frames, symbols, strict=True)):
            valid = score[item, :t, :s].astype(np.float64)
            best, durations = _best_by_trying_all(valid)
            np.testing.assert_array_equal(path[item].sum(axis=0)[:s], durations)
            assert (path[item, :t, :s] * valid).sum() == pytest.approx(best, abs=1e-5)
            assert path[item, t:].sum() == 0 and path[item, :, s:].sum() == 0


def test_every_frame_has_one_symbol_and_the_order_is_kept() -> None:
    score = mx.random.normal((3, 60, 20), key=mx.random.key(0))
    path = np.array(maximum_path(score, _mask([60, 45, 20], [20, 20, 20])))
    for item, frames in enumerate([60, 45, 20]):
        np.testing.assert_array_equal(path[item, :frames].sum(axis=1), 1)
        steps = np.diff(path[item, :frames].argmax(axis=1))
        assert set(np.unique(steps)) <= {0, 1}
        assert path[item, 0, 0] == 1 and path[item, frames - 1, 19] == 1


def test_more_symbols_than_frames_is_refused_by_number() -> None:
    with pytest.raises(SpeechError, match=r"item 1 .* 4 symbols and only 3 frames"):
        maximum_path(mx.zeros((2, 5, 4)), _mask([5, 3], [2, 4]))


def test_score_is_the_log_density() -> None:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((2, 5, 6)).astype(np.float32)
    mean = rng.standard_normal((2, 3, 6)).astype(np.float32)
    log_std = 0.3 * rng.standard_normal((2, 3, 6)).astype(np.float32)
    score = alignment_score(mx.array(z), mx.array(mean), mx.array(log_std))
    expected = stats.norm.logpdf(
        z[:, :, None], mean[:, None], np.exp(log_std)[:, None]
    ).sum(axis=-1)
    np.testing.assert_allclose(np.array(score), expected, rtol=1e-5)


def test_score_passes_no_gradient() -> None:
    z = mx.ones((1, 3, 2))
    gradient = mx.grad(lambda z: alignment_score(z, z, 0.1 * z).sum())(z)
    np.testing.assert_array_equal(np.array(gradient), 0)


def test_path_from_durations() -> None:
    path = np.array(path_from_durations(mx.array([[2, 0, 1], [1, 1, 0]]), 4))
    np.testing.assert_array_equal(path[0].argmax(axis=1)[:3], [0, 0, 2])
    np.testing.assert_array_equal(path.sum(axis=2), [[1, 1, 1, 0], [1, 1, 0, 0]])
