"""What the command line draws: errors, notes, tables, bars. The only user of rich.

Standard output carries data, standard error carries talk; bars appear on a terminal
only, and ``NO_COLOR`` is honoured (by rich itself).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def talk() -> Console:
    """A console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(message: str, hint: str = "") -> None:
    """One ``error:`` line and, when there is a hint, one ``hint:`` line."""
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def print_note(message: str) -> None:
    """One line of talk."""
    print(message, file=sys.stderr)


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
        console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield advance
