"""Bugs that kernels have had, planted anew into any kernel: each must be found.

Most kinds find their own places in the text. Those that need to know what the kernel
means are given by hand, as ``(old, new)`` pieces of text; a kind that cannot occur in a
kernel is explained. ``gaps`` tells which are neither, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from mlx_speech.metal_kernels.emulate.mutate import mutants
from mlx_speech.metal_kernels.emulate.plant_edits import (
    guarded_last_write,
    guarded_shared_writes,
    input_shifted,
    last_loop_short,
    loops_too_far,
    matrices_not_set,
    matrix_strides_off,
    more_shared_memory,
    over_shared_end,
    returns_before_barriers,
    simd_in_branches,
    sums_not_set,
    unguarded,
    with_branches_around_barriers,
    with_statement_first,
    with_statement_last,
    without_casts,
)
from mlx_speech.metal_kernels.text import KernelText


@dataclass(frozen=True)
class Planted:
    """A kernel with one bug.

    Args:
        kind: name of the kind.
        change: what was done, and where.
        text: the changed kernel.
    """

    kind: str
    change: str
    text: KernelText


def _barriers(words: str) -> Callable[[KernelText], Iterator[tuple[str, KernelText]]]:
    def plant(text: KernelText) -> Iterator[tuple[str, KernelText]]:
        for mutant in mutants(text, others=0):
            if words in mutant.change:
                yield f"{mutant.place}: {mutant.change}", mutant.text

    return plant


def _by_sign(text: KernelText) -> Iterator[tuple[str, KernelText]]:
    for mutant in mutants(text):
        if mutant.change in ("- becomes +", "+= becomes -="):
            yield f"{mutant.place}: {mutant.change}", mutant.text
            return


def _nothing(text: KernelText) -> Iterator[tuple[str, KernelText]]:
    """For kinds that only the author of a kernel can plant."""
    yield from ()


def _write_to_input(text: KernelText) -> Iterator[tuple[str, KernelText]]:
    for name in text.input_names[:1]:
        yield with_statement_first(text, f"((device uchar*){name})[0] = 0;")


def _shared_write(text: KernelText) -> Iterator[tuple[str, KernelText]]:
    name = text.output_names[0]
    yield with_statement_last(text, f"((device uchar*){name})[0] = 0;")


def _double(text: KernelText) -> Iterator[tuple[str, KernelText]]:
    yield with_statement_first(text, "double wide = 1.0; (void)wide;")


# Name of each kind, and what plants it by itself. Removing every barrier in turn stands
# for four: behind a load, in a loop, before memory is used again, behind a last store.
KINDS: Mapping[str, Callable[[KernelText], Iterator[tuple[str, KernelText]]]] = {
    "barrier removed": _barriers("removed"),
    "fence of the other memory": _barriers("becomes mem_device"),
    "barrier without a fence": _barriers("becomes mem_none"),
    "barrier of a SIMD group only": _barriers("becomes simdgroup_barrier"),
    "barrier in a branch": with_branches_around_barriers,
    "return before a barrier": returns_before_barriers,
    "input read beyond its end": input_shifted,
    "shared memory used beyond its end": over_shared_end,
    "loop one too far": loops_too_far,
    "loop one too short": last_loop_short,
    "wrong stride": _nothing,
    "wrong index": _nothing,
    "wrong order of elements": _nothing,
    "wrong sign": _by_sign,
    "shared memory loaded by half": guarded_shared_writes,
    "output written by half": guarded_last_write,
    "write to an input": _write_to_input,
    "one place written by all threadgroups": _shared_write,
    "sum not set at the start": sums_not_set,
    "double": _double,
    "too much threadgroup memory": more_shared_memory,
    "guard missing": unguarded,
    "wrong stride of a matrix": matrix_strides_off,
    "matrix not set at the start": matrices_not_set,
    "layout of the output swapped": _nothing,
    "SIMD operation in a branch": simd_in_branches,
    "bfloat made by itself": without_casts,
}

# Why two kinds are absent from most kernels; for the ``absent`` of ``gaps``.
WITHOUT_MATRICES: Mapping[str, str] = dict.fromkeys(
    ("wrong stride of a matrix", "matrix not set at the start"),
    "there is no simdgroup matrix",
)

ByHand = Mapping[str, tuple[str, str] | list[tuple[str, str]]]


def planted(text: KernelText, by_hand: ByHand | None = None) -> list[Planted]:
    """Plant every kind of bug that applies.

    Args:
        text: the kernel.
        by_hand: per kind, ``(old, new)`` or several of them; ``old`` must occur in the
            body or the header, its first occurrence is changed. Replaces what the kind
            would plant by itself.

    Raises:
        KeyError: no kind has such a name.
        ValueError: ``old`` does not occur.
    """
    by_hand = by_hand or {}
    for name in by_hand:
        if name not in KINDS:
            raise KeyError(f"no kind of bug is called `{name}`")
    found = []
    for name, plant in KINDS.items():
        if name in by_hand:
            given = by_hand[name]
            for old, new in given if isinstance(given, list) else [given]:
                changed = _replaced(text, old, new)
                found.append(Planted(name, f"`{old}` becomes `{new}`", changed))
        else:
            found += [Planted(name, change, changed) for change, changed in plant(text)]
    return found


def gaps(
    text: KernelText,
    by_hand: ByHand | None = None,
    absent: Mapping[str, str] | None = None,
) -> list[str]:
    """Name the kinds that were neither planted nor explained.

    Args:
        text, by_hand: as for ``planted``.
        absent: per kind, why it cannot occur in this kernel.
    """
    covered = {bug.kind for bug in planted(text, by_hand)} | set(absent or {})
    return [name for name in KINDS if name not in covered]


def _replaced(text: KernelText, old: str, new: str) -> KernelText:
    if old in text.source:
        return replace(text, source=text.source.replace(old, new, 1))
    if old in text.header:
        return replace(text, header=text.header.replace(old, new, 1))
    raise ValueError(f"kernel {text.name} has no text `{old}`")
