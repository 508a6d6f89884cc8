"""A stream cut into utterances: where, how soon, and with how little memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from mlx_speech.audio import utterances
from mlx_speech.audio.utterances import UtteranceOptions, find_utterances
from mlx_speech.errors import SpeechError

RATE = 16000
BLOCK = 1600


def stream(*parts: tuple[float, float], noise: float = 1e-3) -> np.ndarray:
    """Silences and sounds: pairs of seconds of each."""
    draw = np.random.default_rng(0)
    found = []
    for silence, sound in parts:
        found.append(np.zeros(round(silence * RATE)))
        time = np.arange(round(sound * RATE)) / RATE
        # Syllables: four times a second.
        shape = 0.15 + np.abs(np.sin(2 * np.pi * 2 * time))
        tones = sum(np.sin(2 * np.pi * f * time) for f in (210, 640, 1900))
        found.append(0.1 * shape * tones)
    samples = np.concatenate(found)
    samples += noise * draw.standard_normal(len(samples))
    return samples.astype(np.float32)


def blocks(samples: np.ndarray, size: int = BLOCK) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def spans(samples: np.ndarray, **options: float) -> list[tuple[float, float]]:
    found = find_utterances(blocks(samples), RATE, UtteranceOptions(**options))
    return [(each.start, each.start + len(each.samples) / RATE) for each in found]


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-2])
def test_utterances_are_where_the_sounds_are(noise: float) -> None:
    samples = stream((1.0, 1.5), (1.2, 2.0), (0.9, 0.8), (1.0, 0.0), noise=noise)
    found = spans(samples)
    expected = [(1.0, 2.5), (3.7, 5.7), (6.6, 7.4)]
    assert len(found) == len(expected)
    for (start, end), (begin, finish) in zip(found, expected, strict=True):
        assert begin - 0.3 <= start <= begin + 0.02
        assert finish - 0.1 <= end <= finish + 0.3


def test_samples_are_those_of_the_stream() -> None:
    samples = stream((1.0, 1.5), (1.2, 2.0))
    for each in find_utterances(blocks(samples, 777), RATE):
        first = round(each.start * RATE)
        np.testing.assert_array_equal(
            each.samples, samples[first : first + len(each.samples)]
        )


def test_short_pauses_do_not_end_an_utterance() -> None:
    samples = stream((1.0, 1.0), (0.4, 1.0), (1.0, 0.0))
    assert len(spans(samples)) == 1
    assert len(spans(samples, pause=0.25)) == 2


@pytest.mark.parametrize("size", [160, 1600, 16000])
def test_an_utterance_comes_as_soon_as_its_pause_has_lasted(size: int) -> None:
    samples = stream((1.0, 1.5), (5.0, 1.0), (1.0, 0.0))
    pulled = 0

    def count() -> Iterator[np.ndarray]:
        nonlocal pulled
        for block in blocks(samples, size):
            pulled += len(block)
            yield block

    first = next(find_utterances(count(), RATE))
    assert first.start < 1.0
    assert pulled / RATE <= 1.0 + 1.5 + 0.6 + 0.15 + size / RATE


def test_speech_without_a_pause_is_cut_and_nothing_of_it_lost() -> None:
    samples = stream((1.0, 11.0), (1.0, 0.0))
    found = spans(samples, longest=4.0)
    assert len(found) >= 3
    assert all(end - start <= 4.2 for start, end in found)
    for (_, end), (start, _) in pairwise(found):
        assert start == pytest.approx(end, abs=1 / RATE)
    assert found[0][0] < 1.0
    assert found[-1][1] > 12.0


def test_what_is_open_at_the_end_is_given() -> None:
    samples = stream((1.0, 1.0))
    ((start, end),) = spans(samples)
    assert start < 1.0
    assert end == pytest.approx(2.0, abs=0.01)


def test_silence_noise_and_clicks_are_no_utterance() -> None:
    draw = np.random.default_rng(1)
    assert spans(np.zeros(5 * RATE, np.float32)) == []
    assert spans(0.01 * draw.standard_normal(10 * RATE)) == []
    clicks = stream((5.0, 0.0))
    clicks[2 * RATE : 2 * RATE + 32] = 0.8
    assert spans(clicks) == []
    assert spans(np.zeros(0, np.float32)) == []


def test_memory_does_not_grow_with_silence() -> None:
    kept = []

    class Watched(utterances._Heard):
        def forget_before(self, moment: float) -> None:
            super().forget_before(moment)
            kept.append(len(self._kept))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utterances, "_Heard", Watched)
        samples = stream((20.0, 1.0), (20.0, 0.0))
        assert len(list(find_utterances(blocks(samples), RATE))) == 1
    assert len(kept) > 100
    assert max(kept[10:]) < 3 * RATE


@pytest.mark.parametrize(
    "wrong",
    [
        {"onset": 0.1},
        {"offset": 0.0},
        {"pause": 0.1},
        {"pause": 5.0, "longest": 4.0},
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict) -> None:
    with pytest.raises(SpeechError):
        UtteranceOptions(**wrong)


def test_samples_that_are_no_numbers_are_refused() -> None:
    samples = stream((1.0, 1.0))
    samples[20000] = np.nan
    with pytest.raises(SpeechError, match=r"1\.250 s is no finite number"):
        list(find_utterances(blocks(samples), RATE))
