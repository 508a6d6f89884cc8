"""Kernel text as tokens: what every pass over it shares. Joined again: the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
  | (?P<directive>(?<![^\n])[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)
  | (?P<space>\s+)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<number>\.?\d(?:[eE][+-]|[\w.])*)
  | (?P<operator>\[\[|\]\]|::|->|<<=|>>=|<<|>>|[-+*/%&|^=!<>]=|&&|\|\||\+\+|--|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_FLOATING = re.compile(r"(?!0[xX])(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?")
_SILENT = frozenset({"comment", "space"})


@dataclass(frozen=True)
class Token:
    """A piece of text.

    Args:
        kind: "comment", "string", "directive", "space", "name", "number", "operator".
        text: as written.
        line: on which it begins; the first is 1.
    """

    kind: str
    text: str
    line: int

    @property
    def silent(self) -> bool:
        """Whether the compiler skips it."""
        return self.kind in _SILENT


def tokens(text: str) -> list[Token]:
    """Split text; the texts of the tokens, joined, are ``text``."""
    found, line = [], 1
    for match in _TOKEN.finditer(text):
        found.append(Token(str(match.lastgroup), match.group(), line))
        line += match.group().count("\n")
    return found


def join(parts: Sequence[Token]) -> str:
    """Put tokens together again."""
    return "".join(token.text for token in parts)


def spoken(parts: Sequence[Token]) -> list[Token]:
    """Drop spaces and comments."""
    return [token for token in parts if not token.silent]


def next_spoken(parts: Sequence[Token], start: int) -> int:
    """Index of the first spoken token from ``start`` on, or the number of tokens."""
    while start < len(parts) and parts[start].silent:
        start += 1
    return start


def without_comments(text: str) -> str:
    """Replace each comment by its line ends and a space."""
    return "".join(
        " " + "\n" * token.text.count("\n") if token.kind == "comment" else token.text
        for token in tokens(text)
    )


def closing(parts: Sequence[Token], start: int) -> int:
    """Index of the bracket that closes the one at ``start``.

    Raises:
        ValueError: it is never closed.
    """
    pairs = {"(": ")", "[": "]", "{": "}"}
    opened = parts[start].text
    depth = 0
    for index in range(start, len(parts)):
        if parts[index].text == opened:
            depth += 1
        elif parts[index].text == pairs[opened]:
            depth -= 1
            if depth == 0:
                return index
    raise ValueError(f"line {parts[start].line}: `{opened}` is never closed")


def angle_depth(token: Token) -> int:
    """How many lists of template arguments a token opens; negative when it closes."""
    return {"<": 1, ">": -1, ">>": -2}.get(token.text, 0)


def closing_angle(parts: Sequence[Token], start: int) -> int | None:
    """Index of the ``>`` that closes the ``<`` at ``start``; None for a comparison."""
    depth = 0
    for index in range(start, len(parts)):
        if parts[index].text in (";", "{", "}", "&&", "||"):
            return None
        depth += angle_depth(parts[index])
        if depth <= 0:
            return index
    return None


def neighbours(parts: Sequence[Token]) -> Iterator[tuple[int, str, str]]:
    """Yield index, previous and next spoken text of every spoken token."""
    indices = [index for index, token in enumerate(parts) if not token.silent]
    for place, index in enumerate(indices):
        before = parts[indices[place - 1]].text if place else ""
        after = parts[indices[place + 1]].text if place + 1 < len(indices) else ""
        yield index, before, after


def is_floating(number: str) -> bool:
    """Tell whether a number without a suffix is floating-point (``1.0``, ``1e3``)."""
    return bool(_FLOATING.fullmatch(number))
