"""Which recordings stand where in the windows of a training epoch.

Whisper hears windows that hold several sentences with pauses between them, begins
anywhere, and learns to write when each began and ended. Corpora hold single sentences:
here they are laid out in windows, anew in every epoch, as a function of (seed, epoch)
alone. The sounds themselves are put together in ``training_batches``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A recording that is cut off must be heard for so long.
_SHORTEST_CUT_SECONDS = 0.15
_SHORTEST_PAUSE_SECONDS = 0.04
_LONG_PAUSE = 4
_LATE_CHOICES = 4


@dataclass(frozen=True)
class Clip:
    """What the layout needs to know of a recording: samples, and tokens of its text."""

    samples: int
    tokens: int


@dataclass(frozen=True)
class Layout:
    """How windows are made.

    Attributes:
        window: samples of a window.
        sample_rate: hertz.
        most_tokens: of the texts in one window, times included.
        pack: whether several recordings may share a window.
        longest_pause: seconds of silence before a recording.
        cut_share: of the windows, that go on with a recording beyond their end.
        silence_share: of the windows, in which nobody speaks.
        full_share: of the windows, whose recording goes on to their end; the others'
            ends after a pause.
        long_pause_share: of the pauses, that last up to four times as long.
        late_share: of the windows, as many more that are silent until a recording
            begins that does not fit behind the silence.
        longest_loss: seconds that a recording at the beginning of a window may lack.
    """

    window: int
    sample_rate: int
    most_tokens: int
    pack: bool
    longest_pause: float
    cut_share: float
    silence_share: float
    full_share: float = 0.5
    long_pause_share: float = 0.0
    late_share: float = 0.0
    longest_loss: float = 0.0


@dataclass(frozen=True)
class Placed:
    """Recording ``clip`` from sample ``start`` of a window on; cut off at its end?

    A negative ``start`` says how much of its beginning the window lacks.
    """

    clip: int
    start: int
    cut: bool = False


@dataclass(frozen=True)
class Window:
    """One window: what is in it, and after how many samples its recording ends."""

    placed: tuple[Placed, ...]
    content: int


def lay_out(
    clips: Sequence[Clip], layout: Layout, seed: int, epoch: int
) -> list[Window]:
    """Lay all clips out in windows, in random order.

    Args:
        clips: each fits into a window.
        layout: how.
        seed, epoch: another layout for each pair.

    Returns:
        Windows in random order; every clip is in exactly one of them to its end, and
        may be cut off in others.
    """
    draw = np.random.default_rng([seed, epoch])
    windows: list[Window] = []
    placed: list[Placed] = []
    end = tokens = 0
    for index in draw.permutation(len(clips)).tolist():
        clip = clips[index]
        start = end + _pause(layout, draw, first=not placed)
        # Silence is no reason to leave out a recording that fits.
        if not placed:
            start = min(start, layout.window - clip.samples)
        elif not (
            layout.pack
            and start + clip.samples <= layout.window
            and tokens + clip.tokens <= layout.most_tokens
        ):
            cut = _goes_on(layout, draw, start)
            if cut:
                placed.append(Placed(index, start, cut=True))
                end = layout.window
            windows.append(_close(placed, end, layout, draw))
            placed, tokens = [], 0
            start = _start_after(layout, draw, start, cut)
            start = min(start, layout.window - clip.samples)
        placed.append(Placed(index, start))
        end = start + clip.samples
        tokens += clip.tokens
        if not layout.pack:
            windows.append(_close(placed, end, layout, draw))
            placed, end, tokens = [], 0, 0
    if placed:
        windows.append(_close(placed, end, layout, draw))
    silent = round(layout.silence_share * len(windows))
    late = round(layout.late_share * len(windows))
    windows += [_close([], 0, layout, draw) for _ in range(silent)]
    windows += [_late(clips, layout, draw) for _ in range(late)]
    return [windows[place] for place in draw.permutation(len(windows))]


def _pause(layout: Layout, draw: np.random.Generator, first: bool) -> int:
    """Samples of silence before a recording; a window may begin with none."""
    longest = layout.longest_pause
    if draw.random() < layout.long_pause_share:
        longest *= _LONG_PAUSE
    shortest = 0.0 if first else min(_SHORTEST_PAUSE_SECONDS, longest)
    return int(draw.uniform(shortest, longest) * layout.sample_rate)


def _start_after(
    layout: Layout, draw: np.random.Generator, start: int, cut: bool
) -> int:
    """Where the recording begins that began at ``start`` of the window before.

    Transcription goes on where it has written that a cut recording begins, a little
    too early or too late. One that hardly begins goes unnoticed: the next window
    follows without a gap, as after silence.
    """
    loss = round(layout.longest_loss * layout.sample_rate)
    if cut:
        return int(draw.uniform(-loss, loss + 1))
    if start < layout.window - loss:
        return _pause(layout, draw, first=True)
    return (start + loss) % layout.window - loss


def _goes_on(layout: Layout, draw: np.random.Generator, start: int) -> bool:
    wanted = draw.random() < layout.cut_share
    return layout.pack and wanted and layout.window - start > _shortest_cut(layout)


def _late(clips: Sequence[Clip], layout: Layout, draw: np.random.Generator) -> Window:
    """A window at whose end somebody is speaking who began after silence.

    Long recordings are cut off more often than short ones, and mostly not soon: the
    silence is mostly shorter.
    """
    choices = draw.integers(len(clips), size=_LATE_CHOICES).tolist()
    index = max(choices, key=lambda choice: clips[choice].samples)
    samples = clips[index].samples
    least = min(_shortest_cut(layout), samples)
    heard = int(least + draw.random(2).max() * (samples - least))
    placed = Placed(index, layout.window - heard, cut=True)
    return Window((placed,), layout.window)


def _shortest_cut(layout: Layout) -> int:
    return round(_SHORTEST_CUT_SECONDS * layout.sample_rate)


def _close(
    placed: Sequence[Placed], end: int, layout: Layout, draw: np.random.Generator
) -> Window:
    """A window, whose recording ends with it or soon after what is said."""
    if draw.random() < layout.full_share or end == layout.window:
        return Window(tuple(placed), layout.window)
    # Even silence lasts a while.
    least = max(end, layout.window // 8)
    after = int(draw.uniform(0.0, layout.longest_pause) * layout.sample_rate)
    return Window(tuple(placed), min(least + after, layout.window))
