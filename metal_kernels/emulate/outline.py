"""A rough outline of kernel text: functions, their parameters, names that are types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_speech.metal_kernels.emulate.standard import KEYWORDS, TYPES
from mlx_speech.metal_kernels.emulate.tokens import (
    Token,
    angle_depth,
    closing,
    spoken,
    tokens,
)

SPACES = frozenset({"device", "constant", "threadgroup", "thread"})


@dataclass(frozen=True)
class Function:
    """A function that the header defines.

    Args:
        name: its name, as a token.
        parameters: tokens of each parameter.
        body: tokens between the braces.
    """

    name: Token
    parameters: tuple[tuple[Token, ...], ...]
    body: tuple[Token, ...]


@dataclass(frozen=True)
class Outline:
    """What one piece of text defines.

    Args:
        parts: its spoken tokens.
        functions: with their bodies.
        types: names of structs, aliases and template parameters.
        macros: names of ``#define``.
    """

    parts: tuple[Token, ...]
    functions: tuple[Function, ...]
    types: frozenset[str]
    macros: frozenset[str]


def outline(text: str) -> Outline:
    """Take text apart as far as the lint and the planting of bugs need it."""
    parts = spoken(tokens(text))
    functions, types, macros = [], set(), set()
    for index, token in enumerate(parts):
        after = parts[index + 1] if index + 1 < len(parts) else None
        if token.kind == "directive":
            words = token.text.replace("#", " ").replace("(", " ").split()
            if words[:1] == ["define"]:
                macros.add(words[1])
        elif token.text in ("struct", "class", "using", "typename") and after:
            types.add(after.text)
        elif (
            token.kind == "name"
            and token.text not in KEYWORDS
            and after
            and after.text == "("
        ):
            function = _definition(parts, index)
            if function:
                functions.append(function)
    return Outline(tuple(parts), tuple(functions), frozenset(types), frozenset(macros))


def _definition(parts: Sequence[Token], index: int) -> Function | None:
    """Read ``name(parameters) {body}``; None when it is a call or a declaration."""
    try:
        end = closing(parts, index + 1)
    except ValueError:
        return None
    brace = end + 1
    while brace < len(parts) and parts[brace].text in ("const", *SPACES):
        brace += 1
    if brace >= len(parts) or parts[brace].text != "{":
        return None
    return Function(
        parts[index],
        tuple(map(tuple, split_at_commas(parts[index + 2 : end]))),
        tuple(parts[brace + 1 : closing(parts, brace)]),
    )


def split_at_commas(parts: Sequence[Token]) -> list[list[Token]]:
    """Split at commas that stand in no brackets."""
    found: list[list[Token]] = [[]]
    depth = 0
    for token in parts:
        depth += token.text in ("(", "[", "{")
        depth -= token.text in (")", "]", "}")
        depth += angle_depth(token)
        if token.text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return [] if found == [[]] else found


def has_pointer(parameter: Sequence[Token]) -> Token | None:
    """Find the ``*`` or ``&`` of a parameter or declaration."""
    depth = 0
    for token in parameter:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        depth += angle_depth(token)
        if token.text == "=":
            return None
        if depth == 0 and token.text in ("*", "&"):
            return token
    return None


def statements(parts: Sequence[Token]) -> list[list[Token]]:
    """Split a body into pieces that begin where a declaration could begin."""
    found: list[list[Token]] = [[]]
    for index, token in enumerate(parts):
        opens_for = token.text == "(" and index and parts[index - 1].text == "for"
        if token.text in (";", "{", "}") or opens_for:
            found.append([])
        else:
            found[-1].append(token)
    return [statement for statement in found if statement]


def declared_pointer(
    statement: Sequence[Token], types: frozenset[str]
) -> tuple[Token, frozenset[str]] | None:
    """Recognise the declaration of a pointer or reference.

    Returns:
        The declared name and the words in front of it, or None.
    """
    words, index, depth = [], 0, 0
    while index < len(statement):
        token = statement[index]
        if angle_depth(token):
            depth += angle_depth(token)
        elif depth == 0 and token.text in ("*", "&"):
            break
        elif depth == 0 and token.kind != "name" and token.text != "::":
            return None
        else:
            words.append(token.text)
        index += 1
    while index < len(statement) and statement[index].text in ("*", "&", "const"):
        index += 1
    known = TYPES | types
    if index >= len(statement) or not any(word in known for word in words):
        return None
    name = statement[index]
    after = statement[index + 1].text if index + 1 < len(statement) else ";"
    if name.kind != "name" or after not in ("=", ";", ",", "["):
        return None
    return name, frozenset(words)
