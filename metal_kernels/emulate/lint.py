"""What a compiler other than Apple's accepts in a kernel, and Metal or MLX does not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_speech.metal_kernels.emulate.faults import Finding
from mlx_speech.metal_kernels.emulate.generate import ATTRIBUTES, GeneratedText
from mlx_speech.metal_kernels.emulate.outline import (
    SPACES,
    Outline,
    declared_pointer,
    has_pointer,
    outline,
    statements,
)
from mlx_speech.metal_kernels.emulate.preamble import preamble_names
from mlx_speech.metal_kernels.emulate.standard import (
    FORBIDDEN,
    KEYWORDS,
    STANDARD_CALLS,
    TYPES,
)
from mlx_speech.metal_kernels.emulate.tokens import (
    Token,
    closing,
    closing_angle,
    tokens,
    without_comments,
)

# The tokens that break a rule, with words for the author.
Rule = Iterator[tuple[Token, str]]

_NAMESPACES = frozenset({"metal", "fast", "precise"})
_SECOND_DECLARATION = frozenset({"uint", "uint3", "int", "ushort", "const", "auto"})


def lint(generated: GeneratedText) -> list[Finding]:
    """Check tokens and names.

    Args:
        generated: the completed kernel; its header and body are looked at.
    """
    kernel = generated.kernel
    header, body = outline(kernel.header), outline(kernel.source)
    types = header.types | body.types | TYPES
    types |= {name for name, value in generated.template}
    found: list[Finding] = []
    # Both texts count their lines from 1; the body follows the header.
    shift = kernel.header.count("\n")
    for part, offset in ((header, 0), (body, shift)):
        rules = (
            _words(part),
            _calls(part, header, types),
            _local_pointers(part, types),
            _lambdas(part),
            _matrix_origins(part),
        )
        for rule in rules:
            found += [
                _finding(generated, token.line + offset, message)
                for token, message in rule
            ]
    for rule in (_parameters(header), _helpers(header, types), _taken_names(header)):
        found += [_finding(generated, token.line, message) for token, message in rule]
    for token, message in _body_only(body):
        found.append(_finding(generated, token.line + shift, message))
    found += [
        Finding("lint", message, kernel.name) for message in _attributes(generated)
    ]
    return list(dict.fromkeys(found))


def _finding(generated: GeneratedText, line: int, message: str) -> Finding:
    kernel = generated.kernel
    lines = (kernel.header + kernel.source).split("\n")
    text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return Finding("lint", message, kernel.place(line), text)


def _words(part: Outline) -> Rule:
    for token in part.parts:
        if token.kind == "name" and token.text in FORBIDDEN:
            yield token, f"`{token.text}`: {FORBIDDEN[token.text]}"
        if token.kind == "directive":
            include = re.match(r"\s*#\s*include\s*(\S+)", token.text)
            if include and not re.fullmatch(r"<metal_\w+>", include[1]):
                yield token, f"include of {include[1]}: only <metal_...> headers exist"


def _calls(part: Outline, header: Outline, types: frozenset[str]) -> Rule:
    """Every called name is defined here, or known to be in Metal's library."""
    known = STANDARD_CALLS | KEYWORDS | types | header.macros | part.macros
    known |= {function.name.text for function in (*header.functions, *part.functions)}
    parts = part.parts
    for index, token in enumerate(parts):
        if token.kind != "name" or token.text in known:
            continue
        behind = index + 1
        if behind < len(parts) and parts[behind].text == "<":
            behind = (closing_angle(parts, behind) or index) + 1
        if behind >= len(parts) or parts[behind].text != "(":
            continue
        before = parts[index - 1].text if index else ""
        if before in types:
            continue  # `float a(3)`
        if before == "::" and parts[index - 2].text not in _NAMESPACES:
            continue
        yield token, f"`{token.text}` is no known function of Metal's library"


def _local_pointers(part: Outline, types: frozenset[str]) -> Rule:
    for body in (*(function.body for function in part.functions), part.parts):
        for statement in statements(body):
            found = declared_pointer(statement, types)
            if found and not found[1] & SPACES and "using" not in found[1]:
                yield found[0], f"pointer `{found[0].text}` has no address space"


def _lambdas(part: Outline) -> Rule:
    parts = part.parts
    for index, token in enumerate(parts):
        if token.text != "[" or not index:
            continue
        if parts[index - 1].text not in ("=", "(", ",", "return", "{", ";"):
            continue
        end = closing(parts, index)
        if end + 1 < len(parts) and parts[end + 1].text in ("(", "{"):
            yield token, "a lambda needs a newer Metal than MLX asks for"


def _matrix_origins(part: Outline) -> Rule:
    parts = part.parts
    for index, token in enumerate(parts[:-1]):
        if token.text not in ("simdgroup_load", "simdgroup_store"):
            continue
        if parts[index + 1].text != "(":
            continue
        depth, commas = 0, 0
        for inner in parts[index + 2 : closing(parts, index + 1)]:
            depth += inner.text in ("(", "[", "<")
            depth -= inner.text in (")", "]", ">")
            commas += inner.text == "," and depth == 0
        if commas > 2:
            yield token, f"{token.text} with an origin has no known-good user"


def _parameters(header: Outline) -> Rule:
    """Pointers and references of helpers say where they point."""
    for function in header.functions:
        for parameter in function.parameters:
            words = {token.text for token in parameter}
            pointer = has_pointer(parameter)
            if pointer and not words & SPACES:
                where = f"parameter `{parameter[-1].text}` of {function.name.text}()"
                yield pointer, f"{where} has no address space"
            if pointer and pointer.text == "&" and "threadgroup" in words:
                yield pointer, "references to threadgroup memory are compiled wrongly"


def _helpers(header: Outline, types: frozenset[str]) -> Rule:
    """What a helper must not do."""
    for function in header.functions:
        if any(token.text == function.name.text for token in function.body):
            yield function.name, f"{function.name.text}() calls itself"
        for statement in statements(function.body):
            first = statement[0]
            if first.text == "threadgroup" and not declared_pointer(statement, types):
                yield first, "threadgroup variables belong into the kernel body"
            if first.text == "static":
                yield first, "Metal has no static local variables"


def _taken_names(header: Outline) -> Rule:
    """Names that MLX's preamble has already defined when the header begins."""
    taken = preamble_names()
    defined = {function.name.text: function.name for function in header.functions}
    for before, token in zip(header.parts, header.parts[1:], strict=False):
        if before.text in ("struct", "class", "using"):
            defined[token.text] = token
    for token in header.parts:
        if token.kind == "directive":
            macro = re.match(r"\s*#\s*define\s+(\w+)", token.text)
            if macro:
                defined[macro[1]] = token
    for name, token in defined.items():
        if name in taken:
            yield token, f"`{name}` is defined by MLX's preamble"


def _body_only(body: Outline) -> Rule:
    for token in body.parts:
        if token.text == "static":
            yield token, "Metal has no static local variables"
        if token.text == "[[":
            yield token, "attributes are written by MLX"
    for before, token in zip(body.parts, body.parts[1:], strict=False):
        declared = before.text in _SECOND_DECLARATION
        if declared and token.text in dict(ATTRIBUTES):
            yield token, f"`{token.text}` is already a parameter, added by MLX"


def _attributes(generated: GeneratedText) -> Iterator[str]:
    source = generated.kernel.source
    spoken = without_comments(source)
    if not generated.attributes:
        yield "the body uses no thread attribute: MLX closes the parameters too early"
    for name, _ in generated.attributes:
        if not re.search(rf"\b{name}\b", spoken):
            yield (
                f"`{name}` stands only in a comment or in another word, and MLX adds "
                "it as a parameter"
            )
    names = {token.text for token in tokens(spoken)}
    for buffer in generated.buffers:
        if buffer.kind in ("shape", "strides", "ndim") and buffer.name not in names:
            yield (
                f"`{buffer.name}` stands only in a comment or in another word, and MLX "
                "adds it as a parameter"
            )
