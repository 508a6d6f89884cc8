"""Indices of private arrays, checked where the compiler does not.

Of an array of plain numbers the compiler checks each index (``-fsanitize=bounds``). Of
an array of vectors or matrices, which are classes here, it allows the place right
behind the end, whose address may be taken. So each such index is written with its
bound: ``float2 a[N]`` stays, and ``a[i]`` becomes ``a[emu_index<(N)>(i)]``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx_speech.metal_kernels.emulate.standard import KEYWORDS, NUMBERS
from mlx_speech.metal_kernels.emulate.tokens import (
    Token,
    closing,
    closing_angle,
    join,
    spoken,
    tokens,
)

_NO_TYPES = KEYWORDS | NUMBERS | {"typedef", "using", "template"}
_QUALIFIERS = frozenset({"const", "thread"})


def with_checked_arrays(text: str) -> str:
    """Write the bound into every index of a local array of classes.

    Args:
        text: without attributes; its lines stay.
    """
    parts = [half for token in tokens(text) for half in _halves(token)]
    places = [index for index, token in enumerate(parts) if not token.silent]
    words = spoken(parts)
    # Bounds of the names that are known, innermost block last.
    blocks: list[dict[str, list[str]]] = [{}]
    declarations: set[int] = set()
    before = ";"
    for index, token in enumerate(words):
        if before in (";", "{", "}"):
            for place, bounds in _declared(words, index).items():
                blocks[-1][words[place].text] = bounds
                declarations.add(place)
        if index in declarations:
            pass
        elif token.text == "{":
            blocks.append({})
        elif token.text == "}" and len(blocks) > 1:
            blocks.pop()
        elif before not in (".", "->", "::", "&") and _is_index(words, index + 1):
            for block in reversed(blocks):
                if token.text in block:
                    _bind(parts, places, words, index + 1, block[token.text])
                    break
        if token.kind != "directive":
            before = token.text
    return join(parts)


def _halves(token: Token) -> list[Token]:
    """Take ``[[`` and ``]]`` apart, which stand in ``a[b[i]]`` too."""
    if token.text not in ("[[", "]]"):
        return [token]
    return [Token(token.kind, token.text[0], token.line)] * 2


def _is_index(words: Sequence[Token], index: int) -> bool:
    return index < len(words) and words[index].text == "["


def _declared(words: Sequence[Token], index: int) -> dict[int, list[str]]:
    """Where a statement declares arrays, if it does, and the bounds of each."""
    while index < len(words) and words[index].text in _QUALIFIERS:
        index += 1
    if index >= len(words) or words[index].kind != "name":
        return {}
    if words[index].text in _NO_TYPES:
        return {}
    index += 1
    if index < len(words) and words[index].text == "<":
        index = (closing_angle(words, index) or len(words)) + 1
    found: dict[int, list[str]] = {}
    while index < len(words) and words[index].kind == "name":
        name, bounds = index, []
        index += 1
        while _is_index(words, index):
            end = closing(words, index)
            bounds.append(" ".join(word.text for word in words[index + 1 : end]))
            index = end + 1
        if not bounds or not all(bounds):
            break
        found[name] = bounds
        # Another array may follow; after a value, none is looked for.
        if index >= len(words) or words[index].text != ",":
            break
        index += 1
    return found


def _bind(
    parts: list[Token],
    places: Sequence[int],
    words: Sequence[Token],
    index: int,
    bounds: Sequence[str],
) -> None:
    """Write the bounds into the brackets that begin at a word."""
    for bound in bounds:
        if not _is_index(words, index):
            return
        end = closing(words, index)
        for place, text in ((index, f"[emu_index<({bound})>("), (end, ")]")):
            line = words[place].line
            parts[places[place]] = Token("operator", text, line)
        index = end + 1
