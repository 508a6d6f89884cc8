"""The text of a Metal kernel as everybody reads it: wrapper, emulator, oracle, CUDA.

A kernel is one file ``NAME.metal`` beside this module::

    // What it computes, shapes of the buffers, grid, threadgroup memory.
    // inputs: x, weights
    // outputs: y
    // shares: complex_pairs
    // [header]
    inline float2 helper(float2 a) { return a; }
    // [body]
    uint i = thread_position_in_grid.x;
    y[i] = x[i];

The lines above the first section are for the reader and for the three declarations;
``shares`` (may be absent) puts the header section of other files in front of the own
one. What stands below ``[header]`` and ``[body]`` is handed to
``mx.fast.metal_kernel`` as it is. MLX looks for the names of shapes, strides and
thread attributes in the whole body, its comments included.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent

_DECLARATION = re.compile(r"//\s*(inputs|outputs|shares)\s*:\s*(.*)")
_SECTION = re.compile(r"\s*//\s*\[(header|body)\]\s*")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class KernelText:
    """What ``mx.fast.metal_kernel`` is called with, and where each line stands.

    Args:
        name: an identifier; part of the name of the compiled function.
        input_names: one per input array, in the order of the call.
        output_names: one per output array.
        header: text in front of the function: helpers, constants.
        source: the body of the function, without signature and braces.
        ensure_row_contiguous: MLX copies strided inputs before the launch.
        atomic_outputs: outputs are ``device atomic<T>*``.
        places: ``file:line`` of every line of header and source, in that order; may be
            empty for a kernel written in Python.

    Raises:
        ValueError: a name is not an identifier, occurs twice, or no output is named.
    """

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    header: str
    source: str
    ensure_row_contiguous: bool = True
    atomic_outputs: bool = False
    places: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_names", tuple(self.input_names))
        object.__setattr__(self, "output_names", tuple(self.output_names))
        names = (self.name, *self.input_names, *self.output_names)
        for name in names:
            if not _IDENTIFIER.fullmatch(name):
                raise ValueError(f"`{name}` is not an identifier")
        buffers = names[1:]
        if len(set(buffers)) != len(buffers):
            raise ValueError(f"kernel {self.name} names a buffer twice: {buffers}")
        if not self.output_names:
            raise ValueError(f"kernel {self.name} has no output")

    def place(self, line: int) -> str:
        """Say where a line of ``header + source`` (the first is 1) was written."""
        if 0 < line <= len(self.places):
            return self.places[line - 1]
        header_lines = self.header.count("\n")
        if line <= header_lines:
            return f"{self.name}, header line {line}"
        return f"{self.name}, source line {line - header_lines}"

    def build(self) -> Callable[..., Any]:
        """Make the callable of MLX, once for each ``mx.fast.metal_kernel`` met.

        The emulator replaces that function for a while, so it is looked up at every
        call and not when a module is imported.
        """
        import mlx.core as mx

        return _built(self, mx.fast.metal_kernel)


@functools.cache
def _built(text: KernelText, metal_kernel: Callable[..., Any]) -> Callable[..., Any]:
    return metal_kernel(
        name=text.name,
        input_names=list(text.input_names),
        output_names=list(text.output_names),
        source=text.source,
        header=text.header,
        ensure_row_contiguous=text.ensure_row_contiguous,
        atomic_outputs=text.atomic_outputs,
    )


def load_text(
    name: str,
    *,
    folder: Path = FOLDER,
    ensure_row_contiguous: bool = True,
    atomic_outputs: bool = False,
) -> KernelText:
    """Read ``NAME.metal``.

    Args:
        name: of the file, without its suffix; becomes the name of the kernel.
        folder: where the file lies; that of this package by default.
        ensure_row_contiguous, atomic_outputs: see ``KernelText``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a section or declaration is missing or stands in the wrong place.
    """
    declared, sections, places = _parse(folder / f"{name}.metal")
    for wanted in ("inputs", "outputs"):
        if wanted not in declared:
            raise ValueError(f"{name}.metal: no line `// {wanted}: ...`")
    if "body" not in sections:
        raise ValueError(f"{name}.metal: no section `// [body]`")
    header, header_places = _shared(declared.get("shares", ()), folder)
    header += sections.get("header", "")
    header_places += places.get("header", ())
    return KernelText(
        name=name,
        input_names=declared["inputs"],
        output_names=declared["outputs"],
        header=header,
        source=sections["body"],
        ensure_row_contiguous=ensure_row_contiguous,
        atomic_outputs=atomic_outputs,
        places=header_places + places["body"],
    )


def _shared(names: tuple[str, ...], folder: Path) -> tuple[str, tuple[str, ...]]:
    text = ""
    places: tuple[str, ...] = ()
    for name in names:
        _, sections, where = _parse(folder / f"{name}.metal")
        if "header" not in sections:
            raise ValueError(f"{name}.metal: no section `// [header]` to share")
        text += sections["header"]
        places += where["header"]
    return text, places


def _parse(
    path: Path,
) -> tuple[dict[str, tuple[str, ...]], dict[str, str], dict[str, tuple[str, ...]]]:
    """Split a file into declarations, sections, and the places of their lines."""
    declared: dict[str, tuple[str, ...]] = {}
    lines: dict[str, list[str]] = {}
    places: dict[str, list[str]] = {}
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := _SECTION.fullmatch(line):
            section = match[1]
            if section in lines or (section == "header" and "body" in lines):
                raise ValueError(f"{path.name}:{number}: unexpected [{section}]")
            lines[section], places[section] = [], []
        elif section:
            lines[section].append(line)
            places[section].append(f"{path.name}:{number}")
        elif match := _DECLARATION.fullmatch(line.strip()):
            declared[match[1]] = tuple(_IDENTIFIER.findall(match[2]))
        elif line.strip() and not line.lstrip().startswith("//"):
            raise ValueError(f"{path.name}:{number}: text above the first section")
    return (
        declared,
        {name: "\n".join(body) + "\n" for name, body in lines.items()},
        {name: tuple(where) for name, where in places.items()},
    )
