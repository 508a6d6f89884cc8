"""The edits behind the kinds of planted bugs: small, and no line changes its number.

Each function yields what it did and the changed kernel, once per place that it suits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mlx_speech.metal_kernels.emulate.mutate import BARRIERS
from mlx_speech.metal_kernels.emulate.rewrite import SharedVariable, replace_shared
from mlx_speech.metal_kernels.emulate.tokens import (
    Token,
    closing,
    join,
    next_spoken,
    tokens,
)
from mlx_speech.metal_kernels.text import KernelText

Edits = Iterator[tuple[str, KernelText]]

# Attributes by which threads of one SIMD group can be told apart, best first.
_THREAD_NUMBERS = (
    "thread_index_in_simdgroup",
    "thread_index_in_threadgroup",
    "thread_position_in_threadgroup.x",
    "thread_position_in_grid.x",
)
_ZERO = re.compile(
    r"\b(?P<kind>float|half|bfloat|float2|float4|T)\s+(?P<name>\w+)\s*=\s*"
    r"(?:(?:float[24]?|T|half|bfloat|static_cast<T>)\()?"
    r"[+-]?(?:0(?:\.0*f?)?|INFINITY)(?:,\s*0(?:\.0*f?)?)*\)?\s*(?=[,;])"
)


def with_statement_first(text: KernelText, statement: str) -> tuple[str, KernelText]:
    """Put a statement in front of the body."""
    return f"first: {statement}", replace(text, source=f"{statement} {text.source}")


def with_statement_last(text: KernelText, statement: str) -> tuple[str, KernelText]:
    """Put a statement behind the body."""
    # On a line of its own: the last one may end in a comment.
    return f"last: {statement}", replace(text, source=f"{text.source}\n{statement}\n")


def with_branches_around_barriers(text: KernelText) -> Edits:
    """Let only some threads come to a barrier."""
    number = _thread_number(text)
    for index, parts in _barrier_calls(text):
        yield _inserted(text, parts, index, f"if ({number} < 5) ")


def returns_before_barriers(text: KernelText) -> Edits:
    """Let one thread return first."""
    number = _thread_number(text)
    for index, parts in _barrier_calls(text):
        yield _inserted(text, parts, index, f"if ({number} == 3) return; ")


def input_shifted(text: KernelText) -> Edits:
    """Move every use of an input to where the input has ended."""
    for name in text.input_names:
        parts = tokens(text.source)
        for index, token in enumerate(parts):
            following = _following(parts, index)
            used = following in ("[", "+", ";", ")", ",")
            if token.text == name and used and _preceding(parts, index) != ".":
                changed = Token("name", f"({name} + (1 << 22))", token.line)
                yield _exchanged(text, parts, index, index + 1, [changed], "shifted")
                break


def over_shared_end(text: KernelText) -> Edits:
    """Use a threadgroup array behind its end."""
    for variable in _shared_variables(text):
        if variable.dimensions:
            shift = f"({variable.dimensions[0]}) + "
            yield from _shifted_use(text, variable.name, shift)


def loops_too_far(text: KernelText) -> Edits:
    """Run the last loop with a bound once more than it should."""
    yield from _loop_bound(text, "<=")


def last_loop_short(text: KernelText) -> Edits:
    """Run the last loop with a bound once less than it should."""
    yield from _loop_bound(text, "+ 1 <")


def guarded_shared_writes(text: KernelText) -> Edits:
    """Leave every second element of the first written threadgroup array unset."""
    names = [variable.name for variable in _shared_variables(text)]
    yield from list(_half_written(text, names))[:1]


def guarded_last_write(text: KernelText) -> Edits:
    """Write every second element of an output only."""
    names = [*text.output_names, *_aliases(text, text.output_names)]
    yield from list(_half_written(text, names))[-1:]


def sums_not_set(text: KernelText) -> Edits:
    """Drop the zero from the declaration of what is summed up."""
    for match in _ZERO.finditer(text.source):
        summed = rf"\b{match['name']}\s*(?:\+=|=\s*(?:max|min|fma)\b)"
        if re.search(summed, text.source):
            bare = f"{match['kind']} {match['name']}"
            source = text.source[: match.start()] + bare + text.source[match.end() :]
            yield f"`{match.group()}` becomes `{bare}`", replace(text, source=source)


def more_shared_memory(text: KernelText) -> Edits:
    """Ask for more threadgroup memory than there is."""
    for variable in _shared_variables(text):
        if not variable.dimensions:
            continue
        parts = tokens(text.source)
        for index, token in enumerate(parts):
            if token.text == variable.name and _following(parts, index) == "[":
                start = next_spoken(parts, index + 1)
                yield _inserted(text, parts, start + 1, "32768 * ")
                return


def unguarded(text: KernelText) -> Edits:
    """Take a guard of the edge away: ``if (a < b)``, or ``(a < b) ? c : d``."""
    parts = tokens(text.source)
    for index, token in enumerate(parts):
        if token.text != "(" or _preceding(parts, index) == "for":
            continue
        end = closing(parts, index)
        inside = {part.text for part in parts[index:end]}
        guards = _preceding(parts, index) == "if" or _following(parts, end) == "?"
        if guards and "<" in inside and not inside & {"?", ";"}:
            always = [Token("name", "(true", token.line)]
            yield _exchanged(text, parts, index, end, always, "always true")


def matrix_strides_off(text: KernelText) -> Edits:
    """Give a matrix load a row length that is one too large."""
    parts = tokens(text.source)
    for index, token in enumerate(parts):
        if token.text != "simdgroup_load" or _following(parts, index) != "(":
            continue
        start = next_spoken(parts, index + 1)
        end = closing(parts, start)
        commas = _commas(parts, start, end)
        if len(commas) >= 2:
            yield _inserted(text, parts, commas[1] + 1, " 1 +")
            return


def matrices_not_set(text: KernelText) -> Edits:
    """Drop the zeros of matrices."""
    parts = tokens(text.source)
    for index, token in enumerate(parts):
        if token.text != "make_filled_simdgroup_matrix":
            continue
        start = index
        while parts[start].text != "=":
            start -= 1
        bracket = next(i for i in range(index, len(parts)) if parts[i].text == "(")
        end = closing(parts, bracket) + 1
        yield _exchanged(text, parts, start, end, [], "removed")


def simd_in_branches(text: KernelText) -> Edits:
    """Let half of a SIMD group leave out a sum over it."""
    number = _thread_number(text)
    parts = tokens(text.source)
    for index, token in enumerate(parts):
        if not re.fullmatch(r"simd_(sum|max|min|shuffle\w*)", token.text):
            continue
        start = next_spoken(parts, index + 1)
        if start >= len(parts) or parts[start].text != "(":
            continue
        end = closing(parts, start)
        first = ([*_commas(parts, start, end), end])[0]
        value = join(parts[start + 1 : first])
        call = join(parts[index : end + 1])
        changed = f"(({number} & 16) ? ({value}) : {call})"
        new = [Token("name", changed, token.line)]
        yield _exchanged(text, parts, index, end + 1, new, "in a branch")


def without_casts(text: KernelText) -> Edits:
    """Drop ``static_cast<T>`` from results: bfloat does not come by itself."""
    for match in re.finditer(r"static_cast<T>(?=\()", text.source):
        source = text.source[: match.start()] + text.source[match.end() :]
        yield "`static_cast<T>` removed", replace(text, source=source)


def _thread_number(text: KernelText) -> str:
    for name in _THREAD_NUMBERS:
        if name.split(".")[0] in text.source:
            return name
    return _THREAD_NUMBERS[-1]


def _shared_variables(text: KernelText) -> list[SharedVariable]:
    return replace_shared(text.source, lambda variable: "")[1]


def _aliases(text: KernelText, names: tuple[str, ...]) -> list[str]:
    """Names of pointers that are made from one of ``names``."""
    found = []
    for match in re.finditer(
        r"\bdevice\s+[\w<>, ]+\*\s*(\w+)\s*=([^;]*);", text.source
    ):
        if set(re.findall(r"\w+", match[2])) & set(names):
            found.append(match[1])
    return found


def _barrier_calls(text: KernelText) -> Iterator[tuple[int, list[Token]]]:
    parts = tokens(text.source)
    for index, token in enumerate(parts):
        if token.text in BARRIERS - {"simdgroup_barrier"}:
            yield index, parts


def _loop_bound(text: KernelText, comparison: str) -> Edits:
    """Put another comparison in the place of the last loop's ``<``."""
    parts = tokens(text.source)
    bounds = []
    for index, token in enumerate(parts):
        if token.text != "for":
            continue
        start = next_spoken(parts, index + 1)
        inside = range(start, closing(parts, start))
        bounds += [i for i in inside if parts[i].text == "<"][:1]
    for index in bounds[-1:]:
        new = [Token("operator", comparison, parts[index].line)]
        words = f"`<` becomes `{comparison}`"
        yield _exchanged(text, parts, index, index + 1, new, words)


def _shifted_use(text: KernelText, name: str, shift: str) -> Edits:
    """Shift the index of the first use of an array behind its declaration."""
    parts = tokens(text.source)
    uses = [
        index
        for index, token in enumerate(parts)
        if token.text == name and _following(parts, index) == "["
    ]
    for index in uses[1:2]:
        yield _inserted(text, parts, next_spoken(parts, index + 1) + 1, shift)


def _half_written(text: KernelText, names: list[str]) -> Edits:
    """Guard each ``name[E] = value;`` by ``E % 2 == 0``."""
    parts = tokens(text.source)
    for index, token in enumerate(parts):
        if token.text not in names or _following(parts, index) != "[":
            continue
        start = next_spoken(parts, index + 1)
        end = closing(parts, start)
        if _following(parts, end) != "=" or _preceding(parts, index) == "*":
            continue
        place = join(parts[start + 1 : end])
        yield _inserted(text, parts, index, f"if (uint({place}) % 2u == 0u) ")


def _commas(parts: list[Token], start: int, end: int) -> list[int]:
    found, depth = [], 0
    for index in range(start + 1, end):
        depth += parts[index].text in ("(", "[", "{")
        depth -= parts[index].text in (")", "]", "}")
        if parts[index].text == "," and depth == 0:
            found.append(index)
    return found


def _following(parts: list[Token], index: int) -> str:
    index = next_spoken(parts, index + 1)
    return parts[index].text if index < len(parts) else ""


def _preceding(parts: list[Token], index: int) -> str:
    index -= 1
    while index >= 0 and parts[index].silent:
        index -= 1
    return parts[index].text if index >= 0 else ""


def _inserted(
    text: KernelText, parts: list[Token], index: int, piece: str
) -> tuple[str, KernelText]:
    new = [Token("name", piece, parts[index].line)]
    return _exchanged(text, parts, index, index, new, f"`{piece.strip()}`")


def _exchanged(
    text: KernelText,
    parts: list[Token],
    start: int,
    end: int,
    new: list[Token],
    words: str,
) -> tuple[str, KernelText]:
    line = parts[start].line
    place = text.place(text.header.count("\n") + line)
    changed = join([*parts[:start], *new, *parts[end:]])
    shown = text.source.split("\n")[line - 1].strip()
    return f"{place}: {words}: {shown}", replace(text, source=changed)
