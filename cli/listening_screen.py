"""What listening shows: captions on standard output, and beside them how it goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlx_speech.cli.console import print_data, print_note, print_piece

if TYPE_CHECKING:
    from mlx_speech.writers import Segment

# Seconds; less is what any utterance takes.
LATE_SECONDS = 5.0
CAUGHT_UP_SECONDS = 1.0
# By this factor it is later or less late than was said last.
NOTABLE_CHANGE = 1.5


class ListeningScreen:
    """Shows captions, and says how far they are behind.

    Args:
        quiet: no talk; what is wrong is still said.
        verbose: captions with their times.
    """

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet = quiet
        self.verbose = verbose
        # Seconds that were said last to be behind.
        self._behind = 0.0
        self._in_line = False

    def show(self, segments: Sequence[Segment]) -> None:
        """Captions, a line each."""
        from mlx_speech.writers import clock

        for segment in segments:
            text = segment.text.strip()
            if self.verbose:
                text = f"[{clock(segment.start)} --> {clock(segment.end)}]  {text}"
            print_data(text)

    def write(self, piece: str) -> None:
        """A part of a line of captions."""
        print_piece(piece)
        self._in_line = True

    def end_line(self) -> None:
        """End the line of captions that was begun, if one was."""
        if self._in_line:
            print_data("")
            self._in_line = False

    def note(self, text: str) -> None:
        """A line of talk."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """A line about what is not as it should be, even where there is no talk."""
        self._say(f"note: {text}")

    def tell_behind(self, seconds: float) -> None:
        """Say how much sound waits for the model, when that has changed notably."""
        told = self._behind
        if told and seconds < CAUGHT_UP_SECONDS:
            self.note("note: caught up")
            self._behind = 0.0
        elif seconds >= LATE_SECONDS and not (
            told / NOTABLE_CHANGE < seconds < told * NOTABLE_CHANGE
        ):
            self.note(f"note: {seconds:.0f} s behind")
            self._behind = seconds

    def _say(self, text: str) -> None:
        # On a terminal, both are one picture; in a file, captions stay what they are.
        if sys.stdout.isatty():
            self.end_line()
        print_note(text)
