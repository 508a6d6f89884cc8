"""Speech packed into windows: pauses shortened, cuts where they do least harm.

As in WhisperX (Bain et al. 2023) and faster-whisper, a recording is decoded as windows
that hold little but speech and do not depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

import numpy as np

from mlx_speech.audio.segment import quietest_moment
from mlx_speech.whisper.lanes import Lane, Run
from mlx_speech.whisper.segments import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    SAMPLE_RATE,
)

# Finds the stretches of speech, starts and ends in seconds and in order, in float
# samples [samples] of a rate in hertz.
SpeechFinder = Callable[[np.ndarray, int], Iterable[tuple[float, float]]]
# Frames of silence that are kept on each side of speech: words begin and end softly,
# and a pause tells a model that a sentence is over.
MARGIN = 30
# A window that is so full may be closed for the sake of a longer pause.
FULL_ENOUGH = 0.7
# Speech that goes on for so many windows without a pause is cut.
LONGEST_LANE = 2
# Seconds: even fluent speech has pauses as long between words.
CUT_SECONDS = 0.1


def speech_lanes(
    samples: np.ndarray, start: int, end: int, window: int, find_speech: SpeechFinder
) -> Iterator[Lane]:
    """Pack the speech between two frames of a recording.

    A lane is one window long at most, but speech that goes on for longer has a longer
    one: it is heard as OpenAI's algorithm does, each window beginning where the last
    one was sure of its text, so that no word is cut in two.

    Args:
        samples: float [samples] of the whole recording, at 16 kHz.
        start, end: first frame, and the one after the last.
        window: frames of a window.
        find_speech: is given those samples only.

    Yields:
        Lanes in order.
    """
    part = samples[start * HOP_LENGTH : end * HOP_LENGTH]
    margin = min(MARGIN, window // 10)
    spans = (
        piece
        for span in _in_frames(find_speech(part, SAMPLE_RATE), end - start)
        for piece in _cut(span, part, window, LONGEST_LANE * window - 2 * margin)
    )
    runs_of_clip = _with_margins(spans, end - start, margin, window)
    for runs in _packed(runs_of_clip, window):
        yield Lane(tuple(run.later(start) for run in runs))


def _in_frames(
    spans: Iterable[tuple[float, float]], frames: int
) -> Iterator[tuple[int, int]]:
    """Whole frames of each span, in order and apart."""
    last = 0
    for start, stop in spans:
        first = max(last, int(start * FRAMES_PER_SECOND))
        end = min(frames, math.ceil(stop * FRAMES_PER_SECOND))
        if first < end:
            yield first, end
            last = end


def _cut(
    span: tuple[int, int], samples: np.ndarray, shortest: int, longest: int
) -> Iterator[tuple[int, int]]:
    """Cut a span that is too long at its quietest moments."""
    start, end = span
    while end - start > longest:
        low = start + shortest
        # What is left over shall not be a scrap.
        high = min(start + longest, max(low, end - shortest // 4))
        moment = quietest_moment(
            samples,
            SAMPLE_RATE,
            low / FRAMES_PER_SECOND,
            high / FRAMES_PER_SECOND,
            CUT_SECONDS,
        )
        cut = round(moment * FRAMES_PER_SECOND)
        yield start, cut
        start = cut
    yield start, end


def _with_margins(
    spans: Iterable[tuple[int, int]], frames: int, margin: int, window: int
) -> Iterator[Run]:
    """Give each span some of the silence around it, at most half of a pause."""
    before: tuple[int, int] | None = None
    begin = 0
    for span in spans:
        if before is not None:
            middle = (before[1] + span[0]) // 2
            yield _run(before, begin, middle, margin, window)
            begin = middle
        before = span
    if before is not None:
        yield _run(before, begin, frames, margin, window)


def _run(
    span: tuple[int, int], earliest: int, latest: int, margin: int, window: int
) -> Run:
    start, end = span
    # Silence may fill up the span's last window, but is not worth another one.
    margin = min(margin, -(end - start) % window // 2)
    return Run(max(earliest, start - margin), min(latest, end + margin), start, end)


def _packed(runs: Iterable[Run], window: int) -> Iterator[list[Run]]:
    """Groups of runs that fit in a window, or in as many as the first one needs."""
    group: list[Run] = []
    for run in runs:
        group.append(run)
        while sum(each.frames for each in group) > (room := _room(group[0], window)):
            count = _fitting(group, room)
            yield group[:count]
            group = group[count:]
    if group:
        yield group


def _room(first: Run, window: int) -> int:
    return window * -(-first.frames // window)


def _fitting(group: Sequence[Run], room: int) -> int:
    """How many runs to take: as many as fit, or up to the longest pause near that."""
    lengths = list(accumulate(run.frames for run in group))
    fitting = [n for n, length in enumerate(lengths, 1) if length <= room]
    full = [n for n in fitting if lengths[n - 1] >= FULL_ENOUGH * room]
    pauses = [(group[n].speech_start - group[n - 1].speech_end, n) for n in full]
    return max(pauses)[1] if pauses else fitting[-1]
