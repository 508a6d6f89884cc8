"""What a transcription shows while it runs: text as it comes, and how fast it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlx_speech.cli.console import (
    Bar,
    on_one_line,
    print_data,
    print_note,
    print_piece,
)

if TYPE_CHECKING:
    from mlx_speech.writers import Segment


class TranscriptionScreen:
    """Shows one recording after the other.

    Args:
        quiet: no talk.
        prints_text: whether standard output gets the text.
        verbose: show every segment with its times, on standard output when it gets the
            text, else as talk.
        headed: whether text is printed below the name of its recording.

    Attributes:
        on_text: what a model that streams tells its text to; None where segments do.
    """

    def __init__(
        self, quiet: bool, prints_text: bool, verbose: bool, headed: bool
    ) -> None:
        self.quiet = quiet
        self.prints_text = prints_text
        self.verbose = verbose
        self.headed = headed
        self.on_text: Callable[[str], None] | None = None
        self._bar: Bar | None = None
        self._seconds = 0.0
        self._began = 0.0
        self._blank = False
        self._piece = ""

    def begin(self, title: str, seconds: float, streams: bool = False) -> None:
        """Begin with a recording of so many seconds.

        Args:
            title: what to call it.
            seconds: its length.
            streams: whether the model tells its text a few letters at a time. They are
                printed as they come where segments would be, without a bar, which
                would cut into the line.
        """
        self._seconds, self._began = seconds, time.perf_counter()
        self.on_text = None
        if streams and self.prints_text and not self.verbose:
            self.on_text = self._write
        else:
            self._bar = Bar(title, quiet=self.quiet)
            self._bar.__enter__()
            self._bar.update(0, max(1, round(seconds)), "s")
        if self.prints_text and self.headed:
            name = on_one_line(title)
            self._print(f"{'' if not self._blank else chr(10)}==> {name} <==")
            self._blank = True

    def hear(self, segments: Sequence[Segment], seconds: float) -> None:
        """Show what is new, and that so many seconds are done."""
        from mlx_speech.writers import clock

        for segment in segments:
            text = segment.text.strip()
            if text and self.verbose:
                text = f"[{clock(segment.start)} --> {clock(segment.end)}]  {text}"
            if text and self.on_text is None and (self.prints_text or self.verbose):
                self._print(text)
        if self._bar is not None:
            speed = seconds / max(time.perf_counter() - self._began, 1e-6)
            total = max(1, round(self._seconds))
            self._bar.update(round(seconds), total, f"s  {speed:.1f}x real time")

    def end(self) -> None:
        """Take the bar down, or end the line; also when the recording failed."""
        if self._piece:
            print_data("")
            self._piece = ""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

    def warn(self, text: str) -> None:
        """A line about what is not as it should be, even where there is no talk."""
        print_note(text)

    def note(self, text: str) -> None:
        """A line of talk."""
        if self.quiet:
            return
        if self._bar is not None and self._bar.drawn:
            self._bar.print(text)
        else:
            print_note(text)

    def detail(self, text: str) -> None:
        """A line of talk for those who want to know more."""
        if self.verbose:
            self.note(text)

    def _write(self, piece: str) -> None:
        print_piece(piece)
        self._piece = piece

    def _print(self, text: str) -> None:
        drawn = self._bar is not None and self._bar.drawn
        if self.prints_text and not (drawn and sys.stdout.isatty()):
            print_data(text)
        elif self.prints_text and self._bar is not None:
            self._bar.print(text)
        else:
            self.note(text)
