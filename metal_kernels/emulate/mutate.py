"""Mutants: how many faults of one token would the tests of a kernel let through?

A mutant differs from the kernel in one token: a barrier that is gone or fences other
memory, another operator, a constant that is off by one, an index that is. A test kills
it by raising: the emulator finds a fault, or the numbers are wrong. Mutants that change
nothing (equivalent ones) survive any test; they are listed with a reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mlx_speech.metal_kernels.emulate.faults import KernelFault
from mlx_speech.metal_kernels.emulate.outline import SPACES
from mlx_speech.metal_kernels.emulate.standard import TYPES
from mlx_speech.metal_kernels.emulate.tokens import (
    Token,
    closing,
    closing_angle,
    is_floating,
    join,
    neighbours,
    tokens,
)
from mlx_speech.metal_kernels.text import KernelText

BARRIERS = frozenset({"threadgroup_barrier", "simdgroup_barrier"})
_OTHER_FENCE = {"mem_threadgroup": "mem_device", "mem_device": "mem_threadgroup"}
_OTHER_OPERATOR = {
    **{"+": "-", "-": "+", "*": "+", "/": "*", "%": "/"},
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&"},
    **{"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="},
    **{"&&": "||", "||": "&&"},
}
_STATEMENT_WORDS = frozenset({"return", "else", "case", "do"})
_OTHER_PART = {"x": "y", "y": "x", "z": "x"}
_TEMPLATES = TYPES | {
    *("static_cast", "reinterpret_cast", "as_type", "simdgroup_matrix", "template"),
    *("make_filled_simdgroup_matrix", "numeric_limits", "enable_if_t", "is_same_v"),
}
# A `*`, `&`, `-` or `+` behind one of these, or behind an opening, has one operand.
_NO_OPERAND = frozenset(
    {"", "(", "[", "{", ",", ";", "=", "return", "?", ":", "<", ">", "case", "}"}
    | set(_OTHER_OPERATOR)
)


@dataclass(frozen=True)
class Mutant:
    """A kernel with one token changed.

    Args:
        kind: "barrier", "operator", "constant" or "index".
        change: what was done, such as ``< becomes <=``.
        place: file and line.
        line: the changed line, as it was.
        text: the changed kernel.
    """

    kind: str
    change: str
    place: str
    line: str
    text: KernelText

    def __str__(self) -> str:
        return f"{self.place}: {self.change}\n    {self.line}"


@dataclass(frozen=True)
class Verdict:
    """What a test made of a mutant.

    Args:
        mutant: it.
        killed_by: kinds of the findings, or "result" for wrong numbers; "" when it
            lives. A mutant that does not compile says nothing about the test.
    """

    mutant: Mutant
    killed_by: str

    @property
    def stillborn(self) -> bool:
        """Whether it did not compile."""
        return self.killed_by == "compile"


def mutants(
    text: KernelText, seed: int = 0, *, others: int | None = None
) -> list[Mutant]:
    """Make all barrier mutants of a kernel, and other ones.

    Args:
        text: the kernel; header and body are both changed.
        seed: chooses the other ones.
        others: how many of them; None for all.
    """
    found = [*_of_part(text, "header"), *_of_part(text, "source")]
    barriers = [mutant for mutant in found if mutant.kind == "barrier"]
    rest = [mutant for mutant in found if mutant.kind != "barrier"]
    if others is not None and others < len(rest):
        chosen = random.Random(seed).sample(range(len(rest)), others)
        rest = [rest[index] for index in sorted(chosen)]
    return barriers + rest


def judge(
    candidates: Iterable[Mutant], test: Callable[[KernelText], object]
) -> list[Verdict]:
    """Run a test on each mutant.

    Args:
        candidates: from ``mutants``.
        test: what the kernel's own test does; raises KernelFault or AssertionError.
    """
    verdicts = []
    for mutant in candidates:
        try:
            test(mutant.text)
        except KernelFault as fault:
            killed_by = ", ".join(sorted(fault.kinds))
        except AssertionError:
            killed_by = "result"
        else:
            killed_by = ""
        verdicts.append(Verdict(mutant, killed_by))
    return verdicts


def survivors(verdicts: Sequence[Verdict]) -> list[Mutant]:
    """Mutants that no test noticed."""
    return [verdict.mutant for verdict in verdicts if not verdict.killed_by]


def score(verdicts: Sequence[Verdict]) -> float:
    """Share of killed mutants among those that compile; 1 without any."""
    living = [verdict for verdict in verdicts if not verdict.stillborn]
    if not living:
        return 1.0
    return 1.0 - len(survivors(living)) / len(living)


def _of_part(text: KernelText, part: str) -> Iterator[Mutant]:
    whole = text.header if part == "header" else text.source
    parts = tokens(whole)
    lines = whole.split("\n")
    shift = text.header.count("\n") if part == "source" else 0
    for index, kind, change, new in _changes(parts):
        changed = [*parts[:index], *new, *parts[index + 1 :]]
        line = parts[index].line
        if part == "header":
            mutated = replace(text, header=join(changed))
        else:
            mutated = replace(text, source=join(changed))
        place, shown = text.place(line + shift), lines[line - 1].strip()
        yield Mutant(kind, change, place, shown, mutated)


def _changes(parts: list[Token]) -> Iterator[tuple[int, str, str, list[Token]]]:
    """Yield index of the token, kind, words, and what stands in its place."""
    untouched = _untouched(parts)
    earlier = ""
    for index, before, after in neighbours(parts):
        token = parts[index]

        def becomes(new: str, token: Token = token) -> list[Token]:
            return [Token(token.kind, new, token.line)]

        if token.text in BARRIERS and after == "(":
            yield index, "barrier", f"{token.text} removed", becomes("(void)sizeof")
            if token.text == "threadgroup_barrier":
                words = "threadgroup_barrier becomes simdgroup_barrier"
                yield index, "barrier", words, becomes("simdgroup_barrier")
        elif before == "::" and token.text in _OTHER_FENCE:
            for new in (_OTHER_FENCE[token.text], "mem_none"):
                yield index, "barrier", f"{token.text} becomes {new}", becomes(new)
        elif token.kind == "number" and index not in untouched:
            for new in _other_numbers(token.text):
                yield index, "constant", f"{token.text} becomes {new}", becomes(new)
        elif token.kind == "operator" and token.text in _OTHER_OPERATOR:
            if index not in untouched and _is_binary(
                token.text, before, after, earlier
            ):
                new = _OTHER_OPERATOR[token.text]
                yield index, "operator", f"{token.text} becomes {new}", becomes(new)
        elif token.text == "[" and _is_subscript(before, earlier):
            yield index, "index", "index plus 1", becomes("[1 + ")
        elif before == "." and token.text in _OTHER_PART:
            new = _OTHER_PART[token.text]
            yield index, "index", f".{token.text} becomes .{new}", becomes(new)
        earlier = before


def _other_numbers(text: str) -> list[str]:
    value = text.rstrip("uUfFhHlL") if not text.startswith("0x") else text
    suffix = text[len(value) :]
    if value.isdigit() and not set(suffix) & set("fFhH"):
        number = int(value)
        return [f"{other}{suffix}" for other in (number + 1, number - 1) if other >= 0]
    if is_floating(value):
        return [f"{float(value) + 1.0!r}{suffix}"]
    return []


def _is_binary(operator: str, before: str, after: str, earlier: str) -> bool:
    if before in _NO_OPERAND:
        return False
    if operator in ("*", "&"):
        declares = before in TYPES or earlier in SPACES or earlier == "const"
        return not declares and after not in (")", ">", ",", "*", "&")
    return True


def _is_subscript(before: str, earlier: str) -> bool:
    """Tell ``a[i]`` from the declaration ``float a[4]``."""
    named = before.isidentifier() or before in ("]", ")")
    return named and not _declares(earlier)


def _declares(earlier: str) -> bool:
    """Whether the word in front of a name makes it a declaration."""
    word = earlier.isidentifier() and earlier not in _STATEMENT_WORDS
    return word or earlier in (">", ">>")


def _untouched(parts: list[Token]) -> set[int]:
    """Indices of template arguments and of the sizes of declared arrays.

    Another size changes nothing or is what ``plant`` does.
    """
    inside: set[int] = set()
    earlier = ""
    for index, before, _ in neighbours(parts):
        text = parts[index].text
        end = None
        if text == "<" and before in _TEMPLATES:
            end = closing_angle(parts, index)
        elif text == "[" and before.isidentifier() and _declares(earlier):
            end = closing(parts, index)
        if end is not None:
            inside.update(range(index, end + 1))
        earlier = before
    return inside
