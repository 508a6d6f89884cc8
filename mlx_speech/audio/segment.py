"""Where speech is in a recording, and where to cut a long recording into pieces.

Spans come from the scores of :mod:`mlx_speech.audio.voice_activity` by two thresholds:
a span goes on while the score is above the lower one and counts when it was above the
upper one. Recordings of any length, in memory that does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlx_speech.audio.voice_activity import HOP_SECONDS, speech_scores
from mlx_speech.errors import SpeechError

# Shorter sounds are clicks; they do not even join the speech beside them.
CLICK_SECONDS = 0.04
# Cut pieces keep this much of the silence around them, where there is as much.
MARGIN_SECONDS = 0.1
QUIET_SECONDS = 0.03


class Span(NamedTuple):
    """A stretch of a recording, in seconds from its beginning."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass(frozen=True)
class SpeechOptions:
    """What counts as speech.

    Attributes:
        onset: score that a span must reach.
        offset: score below which it ends.
        shortest_speech: seconds; spans that end up shorter are dropped.
        shortest_silence: seconds; shorter pauses are part of the speech.
        padding: seconds that are added at both ends, for sounds that begin softly.

    Raises:
        SpeechError: thresholds in the wrong order, or spans that would overlap.
    """

    onset: float = 0.8
    offset: float = 0.25
    shortest_speech: float = 0.15
    shortest_silence: float = 0.3
    padding: float = 0.04

    def __post_init__(self) -> None:
        if not 0 < self.offset <= self.onset:
            raise SpeechError(
                f"an offset of {self.offset} with an onset of {self.onset} finds no "
                "speech",
                "choose 0 < offset <= onset",
            )
        if not 0 <= 2 * self.padding <= self.shortest_silence:
            raise SpeechError(
                f"a padding of {self.padding} s does not fit twice into pauses of "
                f"{self.shortest_silence} s",
                "lessen the padding",
            )


def find_speech(
    source: np.ndarray | Iterable[np.ndarray],
    sample_rate: int,
    options: SpeechOptions | None = None,
) -> Iterator[Span]:
    """The stretches of a recording in which somebody speaks.

    Args:
        source: float [samples] in -1..1, or blocks of it of any lengths.
        sample_rate: hertz.
        options: see :class:`SpeechOptions`.

    Yields:
        Spans in order, apart from each other, each about 10 s of audio after its end
        went by.

    Raises:
        SpeechError: while iterating; a sample that is no finite number, or a rate too
            low for speech.
    """
    counter = _Counter([source] if isinstance(source, np.ndarray) else source)
    scores = speech_scores(counter, sample_rate)
    yield from spans_of_scores(
        scores, HOP_SECONDS, options, lambda: counter.samples / sample_rate
    )


def spans_of_scores(
    scores: Iterable[np.ndarray],
    hop_seconds: float,
    options: SpeechOptions | None,
    duration: Callable[[], float],
    first_centre: float = 0.0,
) -> Iterator[Span]:
    """The stretches in which scores say that somebody speaks.

    Args:
        scores: float [frames] each.
        hop_seconds: between two frames.
        options: see :class:`SpeechOptions`.
        duration: seconds of the recording, known once the scores have ended.
        first_centre: seconds at which the first frame is centred.

    Yields:
        Spans in order, apart from each other.
    """
    options = options or SpeechOptions()
    pending: Span | None = None
    for run in _runs(scores, hop_seconds, first_centre, options):
        if pending and run.start - pending.end < options.shortest_silence:
            pending = Span(pending.start, run.end)
            continue
        if pending and pending.seconds >= options.shortest_speech:
            yield _padded(pending, options.padding, run.start)
        pending = run
    if pending and pending.seconds >= options.shortest_speech:
        yield _padded(pending, options.padding, duration())


def cut_at_silences(
    samples: np.ndarray,
    sample_rate: int,
    longest: float,
    shortest: float,
    longest_pause: float = 1.5,
) -> list[Span]:
    """Pieces of a recording that hold all its speech, cut where nobody speaks.

    Pieces are made as long as they may be, and are rather cut at a longer pause than at
    a shorter one. Speech without a pause for more than ``longest`` seconds is cut at
    its quietest place.

    Args:
        samples: float [samples] in -1..1.
        sample_rate: hertz.
        longest: seconds that no piece exceeds.
        shortest: seconds; a piece is shorter only where its speech stands alone, or
            where the other rules leave no choice.
        longest_pause: seconds; a pause that is longer is always cut.

    Returns:
        Spans in order, apart from each other; empty when nobody speaks.

    Raises:
        SpeechError: as :func:`find_speech`; lengths that contradict each other.
    """
    room = longest - 2 * MARGIN_SECONDS
    if not 0 < shortest <= room:
        raise SpeechError(
            f"pieces of {shortest} to {longest} s cannot be cut",
            f"let `longest` be {2 * MARGIN_SECONDS} s more than `shortest` or further",
        )
    spans = [
        part
        for span in find_speech(samples, sample_rate)
        for part in _halved(span, samples, sample_rate, shortest, room)
    ]
    pieces: list[Span] = []
    for group in _groups(spans, longest_pause):
        while group:
            count = _fitting(group, shortest, room)
            pieces.append(Span(group[0].start, group[count - 1].end))
            group = group[count:]
    return _with_margins(pieces, len(samples) / sample_rate)


class _Counter:
    """Blocks that count the samples passing through."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.blocks = blocks
        self.samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield block


def _runs(
    scores: Iterable[np.ndarray],
    hop_seconds: float,
    first_centre: float,
    options: SpeechOptions,
) -> Iterator[Span]:
    """Unbroken stretches above ``offset`` that reach ``onset``, without clicks."""
    begin: int | None = None
    peak = 0.0
    # A frame stands for the time halfway to its neighbours.
    first_edge = first_centre - 0.5 * hop_seconds
    for frame, score in enumerate(_with_silence(scores)):
        if score > options.offset:
            if begin is None:
                begin, peak = frame, 0.0
            peak = max(peak, score)
        elif begin is not None:
            span = Span(
                first_edge + begin * hop_seconds, first_edge + frame * hop_seconds
            )
            begin = None
            if peak >= options.onset and span.seconds >= CLICK_SECONDS:
                yield span


def _with_silence(scores: Iterable[np.ndarray]) -> Iterator[float]:
    """The scores one by one, and a last one that ends whatever goes on."""
    for chunk in scores:
        yield from chunk.tolist()
    yield 0.0


def _padded(span: Span, padding: float, limit: float) -> Span:
    return Span(max(0.0, span.start - padding), min(limit, span.end + padding))


def _groups(spans: Sequence[Span], longest_pause: float) -> Iterator[list[Span]]:
    group: list[Span] = []
    for span in spans:
        if group and span.start - group[-1].end > longest_pause:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _fitting(group: Sequence[Span], shortest: float, room: float) -> int:
    """How many spans of the group make the next piece."""
    lengths = [span.end - group[0].start for span in group]
    most = sum(length <= room for length in lengths)
    if most == len(group):
        return most
    enough = [n for n in range(1, most + 1) if lengths[n - 1] >= shortest]
    good = [n for n in enough if lengths[n - 1] >= room / 2] or enough or [most]
    return max(good, key=lambda n: (group[n].start - group[n - 1].end, n))


def _halved(
    span: Span, samples: np.ndarray, sample_rate: int, shortest: float, room: float
) -> list[Span]:
    """The span, or parts of at most ``room`` seconds cut at quiet places."""
    parts = []
    while span.seconds > room:
        low = span.start + max(shortest, room / 2)
        high = min(span.start + room, max(low, span.end - shortest))
        cut = quietest_moment(samples, sample_rate, low, high)
        parts.append(Span(span.start, cut))
        span = Span(cut, span.end)
    return [*parts, span]


def quietest_moment(
    samples: np.ndarray,
    sample_rate: int,
    low: float,
    high: float,
    width_seconds: float = QUIET_SECONDS,
) -> float:
    """The time around which is least sound.

    Args:
        samples: float [samples].
        sample_rate: hertz.
        low, high: seconds between which it is looked for.
        width_seconds: how long the quiet should last.

    Returns:
        Seconds, at least ``low`` and at most ``high``.
    """
    width = max(1, round(width_seconds * sample_rate))
    first = round(low * sample_rate)
    part = samples[first : round(high * sample_rate) + 1].astype(np.float64)
    energy = np.convolve(part**2, np.ones(width), "same")
    return (first + int(np.argmin(energy))) / sample_rate


def _with_margins(pieces: Sequence[Span], duration: float) -> list[Span]:
    """Every piece with some of the silence around it, at most half of a pause."""
    grown = []
    for index, (start, end) in enumerate(pieces):
        # Beyond the ends of the recording, as far as makes a half of what there is.
        before, after = -start, 2 * duration - end
        if index:
            before = pieces[index - 1].end
        if index + 1 < len(pieces):
            after = pieces[index + 1].start
        margins = (start - before) / 2, (after - end) / 2
        begin = start - min(MARGIN_SECONDS, margins[0])
        grown.append(Span(begin, end + min(MARGIN_SECONDS, margins[1])))
    return grown
