"""Mel-cepstra are scipy's DCT, the warping is the textbook's, the scores follow."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from scipy.fft import dct

from mlx_speech.audio.metrics import (
    aligned_distances,
    aligned_mel_l1,
    dtw_paths,
    mel_cepstra,
    mel_cepstral_distortion,
)
from mlx_speech.errors import SpeechError


def cheapest(cost: np.ndarray) -> float:
    """Cost of the best path, cell by cell."""
    total = np.full(cost.shape, np.inf)
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            before = [total[i - 1, j - 1]] if i and j else []
            before += [total[i - 1, j]] if i else []
            before += [total[i, j - 1]] if j else []
            total[i, j] = cost[i, j] + (min(before) if before else 0.0)
    return total[-1, -1]


def test_cepstra_are_the_cosine_series_of_the_log_spectrum():
    frames = np.random.default_rng(0).normal(size=(7, 80))
    expected = dct(frames, type=2, axis=1)[:, 1:14] / 80
    np.testing.assert_allclose(mel_cepstra(frames), expected, atol=1e-12)


def test_distortion_is_the_level_difference_in_decibels():
    """A ripple of r nepers is a difference of r / sqrt(2) nepers rms."""
    ripple = 0.3 * np.cos(np.pi * 5 * (np.arange(80) + 0.5) / 80)
    decibels = 20 / np.log(10) * np.sqrt(np.mean(ripple**2))
    flat = np.zeros((1, 80))
    assert mel_cepstral_distortion(flat, flat + ripple) == pytest.approx(decibels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (13, 9), (40, 57)])
def test_the_path_is_cheapest_and_monotonic(shape):
    cost = np.random.default_rng(sum(shape)).random(shape)
    ((rows, columns),) = dtw_paths([cost])
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[-1] + 1, columns[-1] + 1) == shape
    steps = np.stack([np.diff(rows), np.diff(columns)], axis=1)
    assert {tuple(step) for step in steps} <= {(0, 1), (1, 0), (1, 1)}
    assert cost[rows, columns].sum() == pytest.approx(cheapest(cost))


def test_tables_of_different_sizes_are_walked_together():
    generator = np.random.default_rng(5)
    tables = [generator.random(shape) for shape in [(9, 4), (1, 1), (30, 41), (2, 50)]]
    for table, together in zip(tables, dtw_paths(tables), strict=True):
        np.testing.assert_array_equal(together, dtw_paths([table])[0])


def test_ties_prefer_the_diagonal():
    ((rows, columns),) = dtw_paths([np.zeros((4, 6))])
    np.testing.assert_array_equal(np.diff(rows)[-3:], [1, 1, 1])
    np.testing.assert_array_equal(np.diff(columns), np.ones(5))


def test_many_are_compared_as_one_by_one():
    generator = np.random.default_rng(6)
    reference = generator.normal(size=(12, 80))
    others = [generator.normal(size=(frames, 80)) for frames in (7, 12, 20)]
    distortions, distances = aligned_distances(reference, others)
    for other, distortion, distance in zip(others, distortions, distances, strict=True):
        assert mel_cepstral_distortion(reference, other) == distortion
        assert mel_cepstral_distortion(other, reference) == pytest.approx(distortion)
        assert aligned_mel_l1(reference, other) == distance


def test_repeated_frames_cost_nothing():
    reference = np.random.default_rng(1).normal(size=(20, 80))
    slower = np.repeat(reference, np.arange(20) % 3 + 1, axis=0)
    assert mel_cepstral_distortion(reference, slower) == pytest.approx(0.0, abs=1e-9)
    assert aligned_mel_l1(reference, mx.array(slower)) == pytest.approx(0.0, abs=1e-6)


def test_distortion_follows_the_formula():
    reference = np.random.default_rng(2).normal(size=(1, 80))
    other = np.random.default_rng(3).normal(size=(1, 80))
    difference = dct(reference - other, type=2, axis=1)[0, 1:14] / 80
    expected = 10 / np.log(10) * np.sqrt(2 * np.sum(difference**2))
    assert mel_cepstral_distortion(reference, other) == pytest.approx(expected)
    assert aligned_mel_l1(reference, other) == pytest.approx(
        np.abs(reference - other).mean()
    )


def test_loudness_alone_is_no_distortion():
    reference = np.random.default_rng(4).normal(size=(9, 80))
    assert mel_cepstral_distortion(reference, reference + 2.0) < 1e-6
    assert aligned_mel_l1(reference, reference + 2.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mel_cepstra(np.zeros((3, 13))), "13 mel-cepstra"),
        (lambda: mel_cepstra(np.zeros(80)), "frames, n_mels"),
        (lambda: dtw_paths([np.zeros((0, 3))]), "non-empty"),
        (lambda: dtw_paths([np.full((2, 2), np.nan)]), "finite"),
    ],
)
def test_bad_input_is_explained(call, message):
    with pytest.raises(SpeechError, match=message):
        call()
