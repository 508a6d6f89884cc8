"""Stretches of a recording put one after the other, and the way back to its times.

A lane is a short recording of its own: it holds what is worth hearing, and is decoded
by the same rules as any recording. What was left out between its runs is known, so
that every time in it has its place in the recording.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from mlx_speech.whisper.segments import FRAMES_PER_SECOND
from mlx_speech.writers import Segment, Word


@dataclass(frozen=True)
class Run:
    """Frames of 10 ms of a recording, with some of the silence around its speech.

    Args:
        start, end: first frame, and the one after the last.
        speech_start, speech_end: of the speech in it.
    """

    start: int
    end: int
    speech_start: int
    speech_end: int

    @property
    def frames(self) -> int:
        """How many."""
        return self.end - self.start

    def later(self, frames: int) -> Run:
        """The same run, so many frames later in the recording."""
        return Run(
            self.start + frames,
            self.end + frames,
            self.speech_start + frames,
            self.speech_end + frames,
        )


@dataclass(frozen=True)
class Lane:
    """Runs of a recording, one after the other.

    Args:
        runs: in order, apart from each other or touching; at least one.
    """

    runs: tuple[Run, ...]
    # Frame of the lane where each run begins, and where the last one ends.
    _bounds: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bounds = accumulate((run.frames for run in self.runs), initial=0)
        # A frozen dataclass is completed through its base class.
        object.__setattr__(self, "_bounds", tuple(bounds))

    @property
    def frames(self) -> int:
        """Frames of all runs together."""
        return self._bounds[-1]

    @property
    def speech_end(self) -> int:
        """The frame of the lane behind which nobody speaks."""
        return self._lane_frame(len(self.runs) - 1, "speech_end")

    def next_run(self, frame: int) -> int | None:
        """Where the first run begins whose speech begins at a frame or later.

        Args:
            frame: of the lane. Speech that began before does not count.

        Returns:
            A frame of the lane, or None when no speech begins there or later.
        """
        for index, begin in enumerate(self._bounds[:-1]):
            if self._lane_frame(index, "speech_start") >= frame:
                return begin
        return None

    def pieces(self, start: int, frames: int) -> list[tuple[int, int]]:
        """Where a window of the lane lies in the recording.

        Args:
            start: its first frame in the lane.
            frames: of the window; those beyond the lane's end are left out.

        Returns:
            First frames in the recording, and how many from there on.
        """
        found = []
        for run, begin in zip(self.runs, self._bounds, strict=False):
            first = max(start, begin)
            last = min(start + frames, begin + run.frames)
            if first < last:
                found.append((run.start + first - begin, last - first))
        return found

    def frame(self, frame: int) -> int:
        """The frame of the recording that is ``frame`` of the lane."""
        return self._place(frame, self._run_from(frame))

    def segment(self, segment: Segment) -> Segment:
        """Move a segment, its words and its window from the lane to the recording.

        What begins in the silence after a run begins with the next one, and what ends
        in the silence before a run ended with the one before: no segment reaches over
        a pause that it has no part in.
        """
        start = min(max(_frames(segment.start), 0), self.frames)
        end = min(max(_frames(segment.end), start), self.frames)
        first = self._run_from(start)
        last = max(first, self._run_until(end))
        while first < last and start >= self._lane_frame(first, "speech_end"):
            first += 1
            start = self._bounds[first]
        while first < last and end <= self._lane_frame(last, "speech_start"):
            end = self._bounds[last]
            last -= 1
        words = segment.words
        if words is not None:
            words = [self._word(word) for word in words]
        placed = replace(
            segment,
            seek=self.frame(segment.seek),
            start=_seconds(self._place(start, first)),
            end=_seconds(self._place(end, last)),
            words=words,
        )
        if not words:
            return placed
        return replace(
            placed,
            start=min(placed.start, words[0].start),
            end=max(placed.end, words[-1].end),
        )

    def _word(self, word: Word) -> Word:
        """A word in the recording: nobody pauses within one, so it lies in one run."""
        start = min(_frames(word.start), self.frames)
        end = min(max(_frames(word.end), start), self.frames)
        first = self._run_from(start)
        shares = [
            (min(end, self._bounds[i + 1]) - max(start, self._bounds[i]), i)
            for i in range(first, max(first, self._run_until(end)) + 1)
        ]
        chosen = max(shares, key=lambda share: share[0])[1]
        return replace(
            word,
            start=_seconds(self._place(max(start, self._bounds[chosen]), chosen)),
            end=_seconds(self._place(min(end, self._bounds[chosen + 1]), chosen)),
        )

    def _run_from(self, frame: int) -> int:
        """The run in which something begins: at a boundary, the later one."""
        return min(max(bisect_right(self._bounds, frame) - 1, 0), len(self.runs) - 1)

    def _run_until(self, frame: int) -> int:
        """The run in which something ends: at a boundary, the earlier one."""
        return min(max(bisect_left(self._bounds, frame) - 1, 0), len(self.runs) - 1)

    def _place(self, frame: int, run: int) -> int:
        return self.runs[run].start + frame - self._bounds[run]

    def _lane_frame(self, run: int, edge: str) -> int:
        return self._bounds[run] + getattr(self.runs[run], edge) - self.runs[run].start


def fixed_lanes(start: int, end: int, window: int) -> Sequence[Lane]:
    """Consecutive windows of frames ``start`` to ``end``, each a lane of its own."""
    lanes = []
    for first in range(start, end, window):
        last = min(first + window, end)
        lanes.append(Lane((Run(first, last, first, last),)))
    return lanes


def _frames(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND)


def _seconds(frame: int) -> float:
    return frame / FRAMES_PER_SECOND
