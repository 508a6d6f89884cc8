"""What a transcription shows while it runs: text as it comes, and how fast it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlx_speech.cli.console import Bar, print_data, print_note

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
    """

    def __init__(
        self, quiet: bool, prints_text: bool, verbose: bool, headed: bool
    ) -> None:
        self.quiet = quiet
        self.prints_text = prints_text
        self.verbose = verbose
        self.headed = headed
        self._bar: Bar | None = None
        self._seconds = 0.0
        self._began = 0.0
        self._blank = False

    def begin(self, title: str, seconds: float) -> None:
        """Begin with a recording of so many seconds."""
        self._seconds, self._began = seconds, time.perf_counter()
        self._bar = Bar(title, quiet=self.quiet)
        self._bar.__enter__()
        self._bar.update(0, max(1, round(seconds)), "s")
        if self.prints_text and self.headed:
            self._print(f"{'' if not self._blank else chr(10)}==> {title} <==")
            self._blank = True

    def hear(self, segments: Sequence[Segment], seconds: float) -> None:
        """Show what is new, and that so many seconds are done."""
        from mlx_speech.writers import clock

        for segment in segments:
            text = segment.text.strip()
            if text and self.verbose:
                text = f"[{clock(segment.start)} --> {clock(segment.end)}]  {text}"
            if text and (self.prints_text or self.verbose):
                self._print(text)
        if self._bar is not None:
            speed = seconds / max(time.perf_counter() - self._began, 1e-6)
            total = max(1, round(self._seconds))
            self._bar.update(round(seconds), total, f"s  {speed:.1f}x real time")

    def end(self) -> None:
        """Take the bar down; also when the recording failed."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

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

    def _print(self, text: str) -> None:
        drawn = self._bar is not None and self._bar.drawn
        if self.prints_text and not (drawn and sys.stdout.isatty()):
            print_data(text)
        elif self.prints_text and self._bar is not None:
            self._bar.print(text)
        else:
            self.note(text)
