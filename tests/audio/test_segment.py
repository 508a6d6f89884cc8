"""Speech is found in noise, and recordings are cut where nobody speaks.

The recordings are clips of the demo corpus with known silences between them. A clip is
trimmed to what is within 20 dB of its loudest 10 ms: a softer last consonant drowns in
the noises below, for people too.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mlx_speech.audio import load
from mlx_speech.audio.segment import (
    MARGIN_SECONDS,
    Span,
    SpeechOptions,
    cut_at_silences,
    find_speech,
)
from mlx_speech.audio.voice_activity import speech_scores
from mlx_speech.errors import SpeechError

CLIPS = Path(__file__).parents[2] / "weights" / "demo_corpus" / "wavs"
RATE = 16000
TOLERANCE = 0.1


class Recording(NamedTuple):
    samples: np.ndarray
    spans: list[Span]


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [_trimmed(load(path, RATE)[0]) for path in sorted(CLIPS.iterdir())[:8]]


def _trimmed(samples: np.ndarray) -> np.ndarray:
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    power = np.mean(frames**2, axis=1)
    (loud,) = np.nonzero(power > power.max() / 100)
    return frames[loud[0] : loud[-1] + 1].ravel()


def joined(clips: list[np.ndarray], pauses: list[float]) -> Recording:
    """The clips, pauses[0] s before the first and so on, one more after the last."""
    parts, spans, position = [], [], 0
    for pause, clip in zip(pauses, [*clips, np.empty(0)], strict=True):
        parts += [np.zeros(round(pause * RATE)), clip]
        position += len(parts[-2])
        spans.append(Span(position / RATE, (position + len(clip)) / RATE))
        position += len(clip)
    return Recording(np.concatenate(parts).astype(np.float32), spans[:-1])


def noise(kind: str, length: int) -> np.ndarray:
    """Noise of RMS 1 whose power falls with no, the first or the second power of f."""
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(length))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20)
    slope = {"white": 0, "pink": 0.5, "brown": 1}[kind]
    shaped = np.fft.irfft(spectrum / frequency**slope, length)
    return (shaped / shaped.std()).astype(np.float32)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def worst(found: list[Span], spans: list[Span]) -> float:
    return float(np.abs(np.array(found) - np.array(spans)).max())


@pytest.fixture(scope="module")
def talk(clips: list[np.ndarray]) -> Recording:
    return joined(clips, [1.3, 0.5, 2.0, 0.7, 1.1, 3.0, 0.9, 0.6, 1.7])


@pytest.mark.parametrize("kind", ["white", "pink", "brown"])
@pytest.mark.parametrize("decibels", [40, 20, 10, 5])
def test_boundaries_are_found_in_noise(
    talk: Recording, clips: list[np.ndarray], kind: str, decibels: float
) -> None:
    gain = level(np.concatenate(clips)) * 10 ** (-decibels / 20)
    noisy = talk.samples + gain * noise(kind, len(talk.samples))
    found = list(find_speech(noisy, RATE))
    assert len(found) == len(talk.spans)
    assert worst(found, talk.spans) < TOLERANCE


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_boundaries_are_found_in_digital_silence(talk: Recording, gain: float) -> None:
    found = list(find_speech(gain * talk.samples, RATE))
    assert len(found) == len(talk.spans)
    assert worst(found, talk.spans) < TOLERANCE


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_other_sampling_rates_give_the_same_spans(talk: Recording, rate: int) -> None:
    import soxr

    found = list(find_speech(soxr.resample(talk.samples, RATE, rate), rate))
    assert len(found) == len(talk.spans)
    assert worst(found, talk.spans) < TOLERANCE


def test_the_noise_may_change_within_a_recording(
    talk: Recording, clips: list[np.ndarray]
) -> None:
    """From quiet to ten times that over a minute, without a step."""
    long = np.tile(talk.samples, 2)
    gain = level(np.concatenate(clips)) * np.geomspace(0.01, 0.1, len(long))
    noisy = long + (gain * noise("pink", len(long))).astype(np.float32)
    shift = len(talk.samples) / RATE
    spans = [*talk.spans, *(Span(a + shift, b + shift) for a, b in talk.spans)]
    found = list(find_speech(noisy, RATE))
    assert len(found) == len(spans)
    assert worst(found, spans) < TOLERANCE


@pytest.mark.parametrize("kind", ["white", "pink", "brown"])
@pytest.mark.parametrize("loudness", [0.3, 0.001])
def test_noise_alone_is_no_speech(kind: str, loudness: float) -> None:
    steady = loudness * noise(kind, 40 * RATE)
    assert list(find_speech(steady, RATE)) == []


def test_digital_silence_beside_noise_does_not_make_the_noise_speech() -> None:
    quiet = 0.003 * noise("pink", 30 * RATE)
    quiet[: 12 * RATE] = 0
    assert list(find_speech(quiet, RATE)) == []


def test_clicks_are_no_speech() -> None:
    samples = 0.001 * noise("white", 10 * RATE)
    samples[RATE :: 2 * RATE] = 0.9
    assert list(find_speech(samples, RATE)) == []


def test_speech_without_a_pause_is_one_span(clips: list[np.ndarray]) -> None:
    samples = np.concatenate(clips * 3)
    (span,) = find_speech(samples, RATE)
    assert span.start == 0.0
    assert span.end == pytest.approx(len(samples) / RATE, abs=0.05)


@pytest.mark.parametrize("length", [0, 1, 160, 1000])
def test_very_short_recordings_hold_no_speech(
    length: int, clips: list[np.ndarray]
) -> None:
    assert list(find_speech(clips[0][8000 : 8000 + length], RATE)) == []
    assert list(find_speech(np.zeros(length, np.float32), RATE)) == []


def test_half_a_second_of_speech_is_enough(clips: list[np.ndarray]) -> None:
    assert list(find_speech(clips[0][:8000], RATE)) == [Span(0.0, 0.5)]


def test_blocks_of_any_size_give_the_same_spans(talk: Recording) -> None:
    noisy = talk.samples + 0.003 * noise("white", len(talk.samples))
    whole = list(find_speech(noisy, RATE))
    for size in (77777, 16000, 999):
        blocks = (noisy[i : i + size] for i in range(0, len(noisy), size))
        assert list(find_speech(blocks, RATE)) == whole


def test_memory_does_not_grow_with_the_recording(talk: Recording) -> None:
    def peak(repeats: int) -> int:
        tracemalloc.start()
        spans = list(find_speech((talk.samples for _ in range(repeats)), RATE))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(spans) >= repeats * len(talk.spans) - repeats
        return used

    assert peak(8) < 1.1 * peak(2)


def test_scores_are_per_ten_milliseconds(talk: Recording) -> None:
    scores = np.concatenate(list(speech_scores([talk.samples], RATE)))
    assert len(scores) == pytest.approx(100 * len(talk.samples) / RATE, abs=2)
    assert scores.dtype == np.float32
    assert scores[:100].max() == 0.0
    assert np.median(scores[round(100 * talk.spans[0].start) :][:150]) > 5


def test_pauses_and_padding_are_options(talk: Recording) -> None:
    options = SpeechOptions(shortest_silence=0.95, padding=0.0)
    found = list(find_speech(talk.samples, RATE, options))
    expected = [talk.spans[i].start for i in (0, 2, 4, 5)]
    assert [span.start for span in found] == pytest.approx(expected, abs=TOLERANCE)
    padded = next(find_speech(talk.samples, RATE, SpeechOptions(padding=0.1)))
    assert padded.start == pytest.approx(found[0].start - 0.1)


@pytest.mark.parametrize(
    "wrong", [{"onset": 0.1}, {"offset": 0.0}, {"padding": 0.2}, {"padding": -0.1}]
)
def test_contradicting_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SpeechError):
        SpeechOptions(**wrong)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_named(bad: float) -> None:
    samples = np.zeros(6 * RATE, np.float32)
    samples[88000] = bad
    with pytest.raises(SpeechError, match=r"5\.500 s is no finite number"):
        list(find_speech(samples, RATE))


def test_a_rate_without_speech_is_refused() -> None:
    with pytest.raises(SpeechError, match="400 Hz"):
        list(find_speech(np.zeros(400, np.float32), 400))


# Cuts --------------------------------------------------------------------------------


def inside(time: float, spans: list[Span]) -> bool:
    return any(span.start < time < span.end for span in spans)


@pytest.mark.parametrize("longest", [4.0, 6.0, 12.0])
def test_cuts_fall_into_silences_and_no_speech_is_lost(
    talk: Recording, longest: float
) -> None:
    noisy = talk.samples + 0.002 * noise("pink", len(talk.samples))
    pieces = cut_at_silences(noisy, RATE, longest, 1.0)
    assert max(piece.seconds for piece in pieces) <= longest
    assert min(piece.seconds for piece in pieces) >= 1.0
    for piece in pieces:
        assert not inside(piece.start, talk.spans)
        assert not inside(piece.end, talk.spans)
    for span in talk.spans:
        middle = (span.start + span.end) / 2
        (holder,) = [piece for piece in pieces if piece.start < middle < piece.end]
        assert holder.start <= span.start and span.end <= holder.end
    assert all(a.end <= b.start for a, b in pairwise(pieces))


def test_short_speech_is_joined_and_the_longer_pause_is_cut(
    clips: list[np.ndarray],
) -> None:
    words = [clip[4000:12000] for clip in clips[:4]]
    recording = joined(words, [0.5, 0.4, 1.2, 0.4, 0.5])
    pieces = cut_at_silences(recording.samples, RATE, 2.5, 1.0)
    assert len(pieces) == 2
    assert recording.spans[1].end < pieces[0].end < pieces[1].start
    assert pieces[1].start < recording.spans[2].start


def test_a_long_pause_is_always_cut(clips: list[np.ndarray]) -> None:
    recording = joined(clips[:2], [0.5, 2.0, 0.5])
    assert len(cut_at_silences(recording.samples, RATE, 20.0, 1.0)) == 2
    assert len(cut_at_silences(recording.samples, RATE, 20.0, 1.0, 3.0)) == 1


def test_margins_stay_within_the_recording(clips: list[np.ndarray]) -> None:
    recording = joined(clips[:1], [0.0, 2.0])
    (piece,) = cut_at_silences(recording.samples, RATE, 10.0, 1.0)
    assert piece.start == 0.0
    end = recording.spans[0].end
    assert end + MARGIN_SECONDS <= piece.end <= end + MARGIN_SECONDS + TOLERANCE


def test_speech_without_a_pause_is_cut_at_quiet_places(
    clips: list[np.ndarray],
) -> None:
    samples = np.concatenate(clips * 2)
    pieces = cut_at_silences(samples, RATE, 6.0, 1.0)
    assert pieces[0].start == 0.0
    assert pieces[-1].end == pytest.approx(len(samples) / RATE)
    assert all(1.0 <= piece.seconds <= 6.0 for piece in pieces)
    for before, after in pairwise(pieces):
        assert before.end == after.start
        cut = round(before.end * RATE)
        around = level(samples[cut - 240 : cut + 240])
        assert around < 0.25 * level(samples)


@pytest.mark.parametrize(
    "make", [lambda n: np.zeros(n, np.float32), lambda n: 0.1 * noise("white", n)]
)
def test_nothing_is_cut_where_nobody_speaks(
    make: Callable[[int], np.ndarray],
) -> None:
    assert cut_at_silences(make(5 * RATE), RATE, 10.0, 1.0) == []


@pytest.mark.parametrize(("longest", "shortest"), [(1.0, 2.0), (5.0, 0.0), (1.1, 1.0)])
def test_contradicting_lengths_are_refused(longest: float, shortest: float) -> None:
    with pytest.raises(SpeechError, match="cannot be cut"):
        cut_at_silences(np.zeros(RATE, np.float32), RATE, longest, shortest)
