"""What the command line draws: errors, notes, tables, bars. The only user of rich.

Standard output carries data, standard error carries talk; bars appear on a terminal
only, and ``NO_COLOR`` is honoured (by rich itself).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import Progress, TaskID


def open_missing_streams() -> None:
    """Open what the caller has closed of standard input, output and error, on nothing.

    Else the next file that is opened would be taken for one of them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


def talk() -> Console:
    """A console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def as_clock(seconds: float) -> str:
    """A time in whole seconds, 1:02:03 or 4:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_error(message: str, hint: str = "") -> None:
    """One ``error:`` line and, when there is a hint, one ``hint:`` line.

    What would break a line, or command the terminal, is spelled out: names may hold it.
    """
    print(f"error: {on_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {on_one_line(hint)}", file=sys.stderr)


def print_data(text: str) -> None:
    """One line of data on standard output, at once.

    Letters that the terminal's encoding lacks become question marks.
    """
    print_piece(f"{text}\n")


def print_piece(text: str) -> None:
    """A part of a line of data on standard output, at once.

    Raises:
        SpeechError: it cannot be written.
        BrokenPipeError: nobody reads it any more.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SpeechError(
            f"standard output cannot be written: {error.strerror}",
            "see where it leads to",
        ) from error


def print_note(message: str) -> None:
    """One line of talk."""
    print(on_one_line(message), file=sys.stderr)


def on_one_line(text: str) -> str:
    """``text`` with what would break a line or command a terminal spelled out."""
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text
    )


def discard_output() -> None:
    """Let nothing more be written to standard output, which has failed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def print_rows(header: list[str], rows: list[list[str]]) -> None:
    """A table on standard output: plain text, aligned, long cells wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        # Text, since `[a]` in a file's name is no markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call as ``(done, total)``; a bar shows it on a terminal."""
    from rich.progress import Progress

    console = talk()
    with Progress(
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
    ) as progress:
        bar = progress.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield advance


class Bar:
    """A progress bar on standard error, while it is a terminal; a context manager.

    Details stand below the bar, wrapped: on one line with it, a terminal of 80 columns
    would show neither.

    Attributes:
        drawn: whether there is a terminal to draw on and talk is wanted.
    """

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.title = on_one_line(title)
        self.drawn = sys.stderr.isatty() and not quiet
        self._details = ""
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._live: Live | None = None

    def __enter__(self) -> Bar:
        if self.drawn:
            from rich.live import Live
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
            )

            self._progress = Progress(
                # `[a]` in a file's name is no markup.
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self._task = self._progress.add_task(self.title, total=None, text="")
            self._live = Live(
                console=talk(),
                transient=True,
                get_renderable=self._picture,
                # rich would move it to the terminal, `> file` or not.
                redirect_stdout=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, done: int, total: int, text: str = "", details: str = "") -> None:
        """Move to ``done`` of ``total``, with ``text`` behind and ``details`` below."""
        self._details = details
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, text=text)

    def print(self, text: str) -> None:
        """A line above the bar."""
        if self._live is not None:
            # A line that is copied from the terminal stays one line.
            self._live.console.print(text, markup=False, soft_wrap=True)

    def _picture(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        parts = [self._progress] if self._progress is not None else []
        return Group(*parts, Text(self._details, style="dim"))
