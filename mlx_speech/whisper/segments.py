"""A window's tokens cut into segments, and where the next window begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SAMPLE_RATE = 16000
HOP_LENGTH = 160
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH
# A time token stands for one position of the encoder, which is made of two frames.
FRAMES_PER_TIME = 2
SECONDS_PER_TIME = FRAMES_PER_TIME * HOP_LENGTH / SAMPLE_RATE


@dataclass(frozen=True)
class Piece:
    """One segment of a window.

    Args:
        start, end: seconds from the beginning of the window.
        tokens: its ids, times included.
    """

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class WindowPieces:
    """All segments of a window.

    Args:
        pieces: in order.
        advance: frames from the beginning of this window to that of the next.
        ends_in_silence: the last segment is closed and nothing follows it.
    """

    pieces: tuple[Piece, ...]
    advance: int
    ends_in_silence: bool


def cut_window(tokens: Sequence[int], time_begin: int, frames: int) -> WindowPieces:
    """Cut a window's tokens where one time follows another.

    A segment that is not closed is left to the next window, which then begins where
    the last closed one ends.

    Args:
        tokens: what was decoded, without the end of text.
        time_begin: the token of 0.00 s.
        frames: of the window that are sound.
    """
    is_time = [token >= time_begin for token in tokens]
    ends_in_silence = is_time[-2:] == [False, True]
    cuts = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    if not cuts:
        times = [token for token in tokens if token >= time_begin]
        end = frames * HOP_LENGTH / SAMPLE_RATE
        if times and times[-1] != time_begin:
            end = (times[-1] - time_begin) * SECONDS_PER_TIME
        whole = Piece(0.0, end, tuple(tokens))
        return WindowPieces((whole,), frames, ends_in_silence)

    if ends_in_silence:
        cuts.append(len(tokens))
    pieces = tuple(
        Piece(
            (tokens[start] - time_begin) * SECONDS_PER_TIME,
            (tokens[end - 1] - time_begin) * SECONDS_PER_TIME,
            tuple(tokens[start:end]),
        )
        for start, end in pairwise((0, *cuts))
    )
    advance = frames
    if not ends_in_silence:
        last = (tokens[cuts[-1] - 1] - time_begin) * FRAMES_PER_TIME
        # Never stay in place, whatever a model writes.
        advance = last or frames
    return WindowPieces(pieces, advance, ends_in_silence)
