"""Speech in windows: what is packed together, where it is cut, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from mlx_speech.audio.segment import Span
from mlx_speech.whisper.lanes import Lane, Run, fixed_lanes
from mlx_speech.whisper.packing import MARGIN, speech_lanes
from mlx_speech.writers import Segment, Word

WINDOW = 800
# Speech of 1 s at 1 s, and of 2 s at 10 s, each with 0.2 s of silence around it.
LANE = Lane((Run(80, 220, 100, 200), Run(980, 1220, 1000, 1200)))


def lanes_of(spans: Sequence[tuple[float, float]], seconds: float = 100) -> list[Lane]:
    samples = np.zeros(round(16000 * seconds), np.float32)
    found = [Span(*span) for span in spans]
    end = round(100 * seconds)
    return list(speech_lanes(samples, 0, end, WINDOW, lambda *_: found))


def speech_of(lane: Lane) -> list[tuple[int, int]]:
    return [(run.speech_start, run.speech_end) for run in lane.runs]


def segment(start: float, end: float, words: Sequence[Word] | None = None) -> Segment:
    return Segment(0, 0, start, end, " text", words=words)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ((0.2, 1.2), (1.0, 2.0)),
        ((1.6, 3.6), (10.0, 12.0)),
        # All of the lane, and beyond.
        ((0.0, 3.8), (0.8, 12.2)),
        ((0.5, 9.0), (1.3, 12.2)),
        # The boundary, at 1.4: an end in the first run, a start in the second.
        ((0.2, 1.4), (1.0, 2.2)),
        ((1.4, 3.6), (9.8, 12.0)),
        # Ends in the silence before the second run, begins in that after the first.
        ((0.2, 1.5), (1.0, 2.2)),
        ((1.3, 3.6), (9.8, 12.0)),
        # Within the silence after a run, as a word that was spoken softly.
        ((1.25, 1.35), (2.05, 2.15)),
    ],
)
def test_a_segment_is_moved_to_where_it_was_heard(
    there: tuple[float, float], here: tuple[float, float]
) -> None:
    moved = LANE.segment(segment(*there))
    assert (moved.start, moved.end) == here


def test_a_word_lies_on_one_side_of_a_pause() -> None:
    words = [
        Word(" one", 0.2, 1.1, 0.9),
        Word(" long", 1.1, 1.48, 0.9),
        Word(" two", 1.48, 2.5, 0.9),
    ]
    moved = LANE.segment(segment(0.2, 2.5, words))
    assert moved.words is not None
    assert [(word.start, word.end) for word in moved.words] == [
        (1.0, 1.9),
        (1.9, 2.2),
        (9.88, 10.9),
    ]
    assert (moved.start, moved.end) == (1.0, 10.9)


def test_pieces_of_a_window_are_frames_of_the_recording() -> None:
    assert LANE.frames == 380
    assert LANE.pieces(0, 380) == [(80, 140), (980, 240)]
    assert LANE.pieces(100, 80) == [(180, 40), (980, 40)]
    assert LANE.pieces(140, 800) == [(980, 240)]
    assert [LANE.frame(at) for at in (0, 139, 140, 380)] == [80, 219, 980, 1220]


def test_the_next_speech_is_that_which_begins_later() -> None:
    # Speech begins at frames 20 and 160 of the lane.
    found = [LANE.next_run(frame) for frame in (0, 20, 21, 160, 161)]
    assert found == [0, 0, 140, 140, None]
    assert LANE.speech_end == 360


def test_fixed_windows_follow_each_other() -> None:
    runs = [lane.runs for lane in fixed_lanes(100, 2000, WINDOW)]
    assert [[(run.start, run.end) for run in each] for each in runs] == [
        [(100, 900)],
        [(900, 1700)],
        [(1700, 2000)],
    ]
    assert fixed_lanes(50, 50, WINDOW) == []


def test_speech_keeps_a_little_silence_and_no_more() -> None:
    (lane,) = lanes_of([(1.0, 2.0), (2.5, 3.0), (5.0, 6.0)], 6.1)
    assert [(run.start, run.end) for run in lane.runs] == [
        (100 - MARGIN, 225),  # half of the pause of 0.5 s
        (225, 300 + MARGIN),
        (500 - MARGIN, 610),
    ]
    assert speech_of(lane) == [(100, 200), (250, 300), (500, 600)]


def test_windows_are_filled_with_speech_far_apart() -> None:
    spans = [(10.0 * i, 10.0 * i + 2) for i in range(9)]
    lanes = lanes_of(spans)
    # Two seconds with their margins fit three times into eight.
    assert [len(lane.runs) for lane in lanes] == [3, 3, 3]
    assert all(lane.frames <= WINDOW for lane in lanes)


def test_a_nearly_full_window_is_closed_at_the_longest_pause() -> None:
    spans = [(1.0, 4.0), (4.4, 7.0), (9.0, 9.4), (9.8, 12.0)]
    first, second = lanes_of(spans)
    assert speech_of(first) == [(100, 400), (440, 700)]
    assert speech_of(second) == [(900, 940), (980, 1200)]


def test_no_margin_is_worth_a_window() -> None:
    (lane,) = lanes_of([(1.0, 8.9)])
    assert speech_of(lane) == [(100, 890)]
    assert lane.frames == WINDOW


def test_long_speech_has_a_lane_of_several_windows() -> None:
    first, second = lanes_of([(1.0, 13.0), (15.0, 17.0), (25.0, 28.0)])
    # What fits behind it in its two windows is not put elsewhere.
    assert speech_of(first) == [(100, 1300), (1500, 1700)]
    assert speech_of(second) == [(2500, 2800)]


def test_endless_speech_is_cut_where_it_is_quietest() -> None:
    draw = np.random.default_rng(0)
    samples = draw.standard_normal(40 * 16000).astype(np.float32)
    for pause in (3.0, 12.34, 13.5, 25.0):
        samples[round(16000 * pause) : round(16000 * (pause + 0.15))] *= 0.01
    spans = [Span(0.0, 40.0)]
    lanes = list(speech_lanes(samples, 0, 4000, WINDOW, lambda *_: spans))
    edges = [edge for lane in lanes for edge in speech_of(lane)[0]]
    # Nothing is lost between two lanes, and each cut lies within a pause.
    assert edges[1:-1:2] == edges[2::2]
    assert edges[0] == 0 and edges[-1] == 4000
    first, second = edges[1], edges[3]
    assert 1234 <= first <= 1249 or 1350 <= first <= 1365
    assert 2500 <= second <= 2515
    assert all(lane.frames <= 2 * WINDOW for lane in lanes)


def test_only_the_clip_is_searched_and_its_edges_are_kept() -> None:
    heard: list[int] = []

    def finder(samples: np.ndarray, rate: int) -> list[Span]:
        heard.append(len(samples))
        return [Span(0.0, 2.5)]

    samples = np.zeros(16000 * 20, np.float32)
    (lane,) = speech_lanes(samples, 500, 750, WINDOW, finder)
    assert heard == [250 * 160]
    (run,) = lane.runs
    assert (run.start, run.end) == (500, 750)


@pytest.mark.parametrize("seed", range(20))
def test_all_speech_is_in_the_lanes_once_and_in_order(seed: int) -> None:
    draw = np.random.default_rng(seed)
    edges = np.cumsum(draw.uniform(0.3, draw.choice([1, 5, 25]), 60))
    spans = [(a, b) for a, b in edges.reshape(-1, 2)]
    lanes = lanes_of(spans, edges[-1] + 1)
    runs = [run for lane in lanes for run in lane.runs]
    assert all(a.end <= b.start for a, b in pairwise(runs))
    assert all(r.start <= r.speech_start < r.speech_end <= r.end for r in runs)
    covered = np.zeros(round(100 * edges[-1]) + 200, bool)
    for run in runs:
        covered[run.speech_start : run.speech_end] = True
    for start, end in spans:
        assert covered[int(100 * start) : int(100 * end)].all()
    # Nothing but speech is called speech, to a frame.
    assert covered.sum() <= sum(100 * (b - a) + 2 for a, b in spans)
    assert all(lane.frames <= 2 * WINDOW for lane in lanes)


@pytest.mark.parametrize("window", [2, 7, 40])
def test_the_shortest_windows_work(window: int) -> None:
    spans = [Span(0.05, 0.9), Span(1.0, 1.02)]
    samples = np.zeros(16000 * 2, np.float32)
    lanes = list(speech_lanes(samples, 0, 200, window, lambda *_: spans))
    assert speech_of(lanes[0])[0][0] == 5
    assert speech_of(lanes[-1])[-1] == (100, 102)
    assert all(lane.frames <= 2 * window for lane in lanes)
