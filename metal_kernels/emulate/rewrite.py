"""The few changes that let a C++ compiler read Metal text. Line numbers stay.

* ``threadgroup T a[N];`` declares memory shared by a threadgroup. C++ has no word for
  it, so each declaration is replaced by what the caller wants instead.
* ``[[attributes]]`` go: C++ does not know them.
* ``1.0`` is a float in Metal and a double in C++: it gets its ``f``; the suffixes ``h``
  and ``bf`` become user-defined ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mlx_speech.metal_kernels.emulate.tokens import (
    Token,
    angle_depth,
    closing,
    is_floating,
    join,
    spoken,
    tokens,
)

_SUFFIX = re.compile(r"(?!0[xX])(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)(bf|BF|h|H)")
_OPEN, _CLOSE = frozenset("([{<"), frozenset(")]}>")


@dataclass(frozen=True)
class SharedVariable:
    """One variable in threadgroup memory.

    Args:
        number: in order of declaration.
        type: of an element.
        name: of the variable.
        dimensions: text between each pair of brackets; none for a scalar.
    """

    number: int
    type: str
    name: str
    dimensions: tuple[str, ...]

    @property
    def brackets(self) -> str:
        """The dimensions as they are written behind a name."""
        return "".join(f"[{size}]" for size in self.dimensions)


def replace_shared(
    text: str, replacement: Callable[[SharedVariable], str]
) -> tuple[str, list[SharedVariable]]:
    """Replace every declaration of threadgroup variables.

    Pointers, references and parameters with the word ``threadgroup`` keep their text.

    Raises:
        ValueError: a variable has an initialiser, which Metal does not allow.
    """
    parts = tokens(text)
    out: list[str] = []
    found: list[SharedVariable] = []
    index, before = 0, ";"
    while index < len(parts):
        token = parts[index]
        if token.text == "threadgroup" and before in (";", "{", "}"):
            end = _statement_end(parts, index)
            body = spoken(parts[index + 1 : end])
            if not _is_pointer(body):
                made = []
                for kind, name, sizes in _declarators(body):
                    variable = SharedVariable(len(found), kind, name, sizes)
                    found.append(variable)
                    made.append(replacement(variable))
                line_ends = sum(part.text.count("\n") for part in parts[index:end])
                out.append(" ".join(made) + "\n" * line_ends)
                index, before = end + 1, ";"
                continue
        out.append(token.text)
        if not token.silent and token.kind != "directive":
            before = token.text
        index += 1
    return "".join(out), found


def _statement_end(parts: list[Token], start: int) -> int:
    depth = 0
    for index in range(start, len(parts)):
        text = parts[index].text
        if text in ("(", "[", "{"):
            depth += 1
        elif text in (")", "]", "}"):
            depth -= 1
        elif text == ";" and depth == 0:
            return index
    raise ValueError(f"line {parts[start].line}: a declaration without `;`")


def _is_pointer(body: list[Token]) -> bool:
    depth = 0
    for token in body:
        if token.text in _OPEN:
            depth += 1
        elif token.text in _CLOSE:
            depth -= 1
        elif depth == 0 and token.text in ("*", "&"):
            return True
        elif depth == 0 and token.text == "=":
            return False
    return False


def _declarators(body: list[Token]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Take ``float2 a[N], b[4][M]`` apart into type, name, sizes."""
    index, depth = 0, 0
    for index, token in enumerate(body):
        after = body[index + 1].text if index + 1 < len(body) else ";"
        if (
            index
            and depth == 0
            and token.kind == "name"
            and after in ("[", ",", ";", "=", "{")
        ):
            break
        depth += angle_depth(token)
    kind = " ".join(token.text for token in body[:index])
    found = []
    while index < len(body):
        name, sizes = body[index].text, []
        index += 1
        while index < len(body) and body[index].text == "[":
            end = closing(body, index)
            sizes.append(" ".join(token.text for token in body[index + 1 : end]))
            index = end + 1
        if index < len(body) and body[index].text != ",":
            raise ValueError(
                f"line {body[index].line}: threadgroup variable `{name}` "
                "cannot have an initialiser"
            )
        found.append((kind, name, tuple(sizes)))
        index += 1
    return found


def without_attributes(text: str) -> str:
    """Drop ``[[...]]``."""
    out, depth = [], 0
    for token in tokens(text):
        if token.text == "[[":
            depth += 1
        elif token.text == "]]" and depth:
            depth -= 1
        elif not depth:
            out.append(token.text)
        else:
            out.append("\n" * token.text.count("\n"))
    return "".join(out)


def with_float_literals(text: str) -> str:
    """Make floating-point literals what they are in Metal: never double."""
    parts = []
    for token in tokens(text):
        if token.kind == "number":
            if is_floating(token.text):
                token = Token(token.kind, token.text + "f", token.line)
            elif match := _SUFFIX.fullmatch(token.text):
                value = match[1] if re.search(r"[.eE]", match[1]) else match[1] + ".0"
                word = "_emu_half" if match[2] in "hH" else "_emu_bfloat"
                token = Token(token.kind, value + word, token.line)
        parts.append(token)
    return join(parts)
