"""What is said before a microphone, cut into utterances while it is being said.

The scores of :mod:`mlx_speech.audio.voice_activity` by two thresholds, as in
:mod:`mlx_speech.audio.segment`, but decided at once: an utterance is over as soon as a
pause has lasted long enough. Memory is that of the longest utterance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from mlx_speech.audio.voice_activity import HOP_SECONDS, live_speech_scores
from mlx_speech.errors import SpeechError

# Soft beginnings and ends that score little: this much more is taken on both sides.
PADDING_SECONDS = 0.2
# Shorter sounds are clicks.
CLICK_FRAMES = 4
# Of speech without a pause, the place of the cut is looked for in this last part.
SHARE_FOR_CUT = 0.4


@dataclass(frozen=True)
class UtteranceOptions:
    """What ends an utterance.

    Attributes:
        onset: score that begins one.
        offset: score below which it is quiet.
        pause: seconds of quiet that end one.
        longest: seconds; speech that goes on is cut at its quietest moment.
        shortest_speech: seconds above ``offset``; less is no utterance.

    Raises:
        SpeechError: values that contradict each other.
    """

    onset: float = 0.8
    offset: float = 0.25
    pause: float = 0.6
    longest: float = 15.0
    shortest_speech: float = 0.15

    def __post_init__(self) -> None:
        if not 0 < self.offset <= self.onset:
            raise SpeechError(
                f"an offset of {self.offset} with an onset of {self.onset} finds no "
                "speech",
                "choose 0 < offset <= onset",
            )
        if not PADDING_SECONDS <= self.pause < self.longest:
            raise SpeechError(
                f"a pause of {self.pause} s does not end utterances of up to "
                f"{self.longest} s",
                f"choose {PADDING_SECONDS} <= pause < longest",
            )


@dataclass(frozen=True)
class Utterance:
    """Something that was said.

    Attributes:
        start: seconds from the beginning of the stream.
        samples: float32 [samples].
    """

    start: float
    samples: np.ndarray


def find_utterances(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    options: UtteranceOptions | None = None,
) -> Iterator[Utterance]:
    """Cut a stream into utterances.

    Args:
        blocks: float [samples] each, of any lengths, in -1..1; waiting for the next
            one is waiting for the microphone.
        sample_rate: hertz.
        options: see :class:`UtteranceOptions`.

    Yields:
        Utterances in order, each as soon as its pause has lasted long enough, or the
        stream has ended.

    Raises:
        SpeechError: while iterating; as ``voice_activity.speech_scores``.
    """
    options = options or UtteranceOptions()
    heard = _Heard(blocks, sample_rate)
    state = _State(options)
    for scores in live_speech_scores(heard, sample_rate):
        for score in scores.tolist():
            span = state.add(score)
            if span is not None:
                yield heard.take(*span)
        heard.forget_before(state.needed)
    last = state.close()
    if last is not None:
        yield heard.take(*last)


class _Heard:
    """Passes blocks on, and keeps them as long as they are needed."""

    def __init__(self, blocks: Iterable[np.ndarray], sample_rate: int) -> None:
        self._blocks = blocks
        self._rate = sample_rate
        self._kept = np.empty(0, np.float32)
        self._first = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            block = np.asarray(block, np.float32)
            self._kept = np.concatenate([self._kept, block])
            yield block

    def take(self, start: float, end: float) -> Utterance:
        """The samples between two moments, in seconds."""
        begin = max(round(start * self._rate), self._first)
        samples = self._kept[
            begin - self._first : round(end * self._rate) - self._first
        ]
        return Utterance(begin / self._rate, samples.copy())

    def forget_before(self, moment: float) -> None:
        """Drop what is older."""
        count = max(0, round(moment * self._rate) - self._first)
        count = min(count, len(self._kept))
        self._kept = self._kept[count:]
        self._first += count


class _State:
    """Follows the scores, one frame after the other."""

    def __init__(self, options: UtteranceOptions) -> None:
        self.options = options
        self._frame = -1
        # Of the frames above the lower threshold: since when, and the highest score.
        self._run: int | None = None
        self._peak = 0.0
        # Of the open utterance: first frame, last loud frame, scores since the first.
        self._begin: int | None = None
        self._last = 0
        self._scores: list[float] = []
        self._free = 0.0

    @property
    def needed(self) -> float:
        """Seconds from which on samples may still be asked for."""
        if self._begin is not None:
            return self._from(self._begin)
        begin = self._frame if self._run is None else self._run
        return max(self._free, begin * HOP_SECONDS - PADDING_SECONDS)

    def add(self, score: float) -> tuple[float, float] | None:
        """Take the next frame's score; give the utterance that it ends."""
        self._frame += 1
        loud = score > self.options.offset
        if loud:
            if self._run is None:
                self._run, self._peak = self._frame, 0.0
            self._peak = max(self._peak, score)
        else:
            self._run = None
        if self._begin is None:
            if loud and self._is_speech():
                self._begin = self._run
                self._last = self._frame
                self._scores = [score] * (self._frame - (self._run or 0) + 1)
            return None
        self._scores.append(score)
        if loud and self._is_speech():
            self._last = self._frame
        quiet = (self._frame - self._last) * HOP_SECONDS
        if quiet >= self.options.pause:
            return self.close()
        if len(self._scores) * HOP_SECONDS >= self.options.longest:
            return self._cut()
        return None

    def close(self) -> tuple[float, float] | None:
        """End the open utterance, if there is one with enough in it."""
        if self._begin is None:
            return None
        begin, self._begin = self._begin, None
        loud = sum(score > self.options.offset for score in self._scores)
        if loud * HOP_SECONDS < self.options.shortest_speech:
            return None
        start = self._from(begin)
        self._free = (self._last + 1) * HOP_SECONDS + PADDING_SECONDS
        return start, self._free

    def _is_speech(self) -> bool:
        run = self._frame - self._run + 1 if self._run is not None else 0
        return run >= CLICK_FRAMES and self._peak >= self.options.onset

    def _from(self, begin: int) -> float:
        return max(self._free, begin * HOP_SECONDS - PADDING_SECONDS)

    def _cut(self) -> tuple[float, float]:
        """End the utterance at its quietest late moment; the rest begins the next."""
        assert self._begin is not None
        first = round(len(self._scores) * (1 - SHARE_FOR_CUT))
        place = first + int(np.argmin(self._scores[first:]))
        start = self._from(self._begin)
        self._begin += place
        self._scores = self._scores[place:]
        self._free = self._begin * HOP_SECONDS
        return start, self._free
