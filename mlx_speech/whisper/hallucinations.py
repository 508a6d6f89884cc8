"""Where the next window begins once the words' times are known.

Words are placed more finely than segments, so the next window may begin after the last
of them. A segment of improbable, very short or very long words amid silence was most
likely made up: openai-whisper, whose rules of thumb these are, drops it and listens
again from where it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_speech.whisper.segments import FRAMES_PER_SECOND
from mlx_speech.whisper.timing import APPENDED, PREPENDED
from mlx_speech.writers import Segment, Word

# Words of a segment that are looked at, and the score that makes it suspicious.
_LOOKED_AT = 8
_SUSPICIOUS = 3.0
_MARKS = PREPENDED + APPENDED


@dataclass(frozen=True)
class WindowPlace:
    """Where a window lies in the recording, in frames of 10 ms.

    Args:
        start: first frame.
        frames: of sound.
        full: of a whole window.
        recording: of the recording.
    """

    start: int
    frames: int
    full: int
    recording: int

    @property
    def offset(self) -> float:
        """Seconds of the recording where the window begins."""
        return self.start / FRAMES_PER_SECOND


def last_end(segments: Sequence[Segment]) -> float | None:
    """When the last word ended; without words, when the last segment did."""
    for segment in reversed(segments):
        if segment.words:
            return segment.words[-1].end
    return segments[-1].end if segments else None


def next_seek(
    segments: Sequence[Segment],
    place: WindowPlace,
    advance: int,
    ends_in_silence: bool,
    threshold: float | None,
) -> int:
    """First frame of the next window.

    Args:
        segments: of this window, with words.
        place: of this window.
        advance: frames to the next window by the segments' own times.
        ends_in_silence: whether the last segment is closed and nothing follows it.
        threshold: seconds of silence that matter; None: do not look at silences.
    """
    end = last_end(segments)
    if ends_in_silence or end is None or end <= place.offset:
        return place.start + advance
    window_end = (place.start + place.full) / FRAMES_PER_SECOND
    if threshold is not None and window_end - end <= threshold:
        return place.start + place.frames
    # A word of almost no length must not hold the window where it is.
    return max(round(end * FRAMES_PER_SECOND), place.start + 1)


def leading_silence(segments: Sequence[Segment], place: WindowPlace) -> float:
    """Seconds before a first segment that looks made up; 0 when it does not."""
    first = _first_with_words(segments)
    if first is None or not is_suspicious(first):
        return 0.0
    return first.start - place.offset


def find_hallucination(
    segments: Sequence[Segment],
    place: WindowPlace,
    last_speech: float,
    threshold: float,
) -> tuple[int, int] | None:
    """Find a segment that was made up amid silence or amid others like it.

    Args:
        segments: of this window, with words.
        place: of this window.
        last_speech: seconds where the last word before this window ended.
        threshold: seconds of silence that matter.

    Returns:
        Its index and the first frame of the window that hears it again, or None.
    """
    window_end = (place.start + place.full) / FRAMES_PER_SECOND
    sound_end = place.offset + place.frames / FRAMES_PER_SECOND
    for index, segment in enumerate(segments):
        if not segment.words:
            continue
        if is_suspicious(segment):
            follower = _first_with_words(segments[index + 1 :])
            next_start = (
                follower.words[0].start
                if follower is not None and follower.words
                else sound_end
            )
            silence_before = (
                segment.start - last_speech > threshold
                or segment.start < threshold
                or segment.start - place.offset < 2.0
            )
            silence_after = (
                next_start - segment.end > threshold
                or (follower is not None and is_suspicious(follower))
                or window_end - segment.end < 2.0
            )
            if silence_before and silence_after:
                again = max(place.offset + 1, segment.start)
                seek = round(again * FRAMES_PER_SECOND)
                if place.recording / FRAMES_PER_SECOND - segment.end < threshold:
                    seek = place.recording
                return index, seek
        last_speech = segment.end
    return None


def is_suspicious(segment: Segment) -> bool:
    """Whether a segment's first words look made up."""
    if not segment.words:
        return False
    words = [word for word in segment.words if word.word not in _MARKS][:_LOOKED_AT]
    score = sum(_strangeness(word) for word in words)
    return score >= _SUSPICIOUS or score + 0.01 >= len(words)


def _strangeness(word: Word) -> float:
    """How improbable, short or long a word is; 0 for an ordinary one."""
    duration = word.end - word.start
    score = 1.0 if word.probability < 0.15 else 0.0
    if duration < 0.133:
        score += (0.133 - duration) * 15
    if duration > 2.0:
        score += duration - 2.0
    return score


def _first_with_words(segments: Sequence[Segment]) -> Segment | None:
    return next((segment for segment in segments if segment.words), None)
