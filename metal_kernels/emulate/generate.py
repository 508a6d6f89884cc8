"""The Metal text that ``mx.fast.metal_kernel`` builds, on any machine.

MLX completes a kernel with a signature that depends on the arrays of the call: their
number of elements, their dtypes, and on the names that occur in the body. This module
does the same, byte for byte; ``oracle.py`` asks MLX itself, and a test compares the two
over random signatures. Apple's compiler sees ``preamble() + GeneratedText.text``.

Rules that surprise authors:

* an input of fewer than 8 elements is ``constant``, a larger one ``device``;
* ``NAME_shape``, ``NAME_strides``, ``NAME_ndim`` and the thread attributes become
  parameters wherever the letters occur in the body, be it in a comment;
* signature types come from the arrays, never from ``template``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_speech.metal_kernels.emulate.dtypes import ElementType, element_type
from mlx_speech.metal_kernels.text import KernelText

# Inputs with fewer elements lie in constant memory.
CONSTANT_BELOW = 8
MOST_BUFFERS = 31

_SCALAR = (
    "dispatch_quadgroups_per_threadgroup",
    "dispatch_simdgroups_per_threadgroup",
    "quadgroup_index_in_threadgroup",
    "quadgroups_per_threadgroup",
    "simdgroup_index_in_threadgroup",
    "simdgroups_per_threadgroup",
    "thread_execution_width",
    "thread_index_in_quadgroup",
    "thread_index_in_simdgroup",
    "thread_index_in_threadgroup",
    "threads_per_simdgroup",
)
_TRIPLE = (
    "dispatch_threads_per_threadgroup",
    "grid_origin",
    "grid_size",
    "thread_position_in_grid",
    "thread_position_in_threadgroup",
    "threadgroup_position_in_grid",
    "threadgroups_per_grid",
    "threads_per_grid",
    "threads_per_threadgroup",
)
# Name and type of every thread attribute, in the order in which MLX lists them.
ATTRIBUTES = tuple(
    sorted([(name, "uint") for name in _SCALAR] + [(name, "uint3") for name in _TRIPLE])
)
_ASKED = (("shape", "int*"), ("strides", "int64_t*"), ("ndim", "int&"))


@dataclass(frozen=True)
class Buffer:
    """One parameter of the kernel that is bound to memory.

    Args:
        index: of ``[[buffer(index)]]``.
        kind: "input", "shape", "strides", "ndim" or "output".
        name: of the parameter.
        space: "device" or "constant".
        metal: element type in Metal's words.
        reference: ``&`` (a 0-d array, or ndim) instead of ``*``.
        array: which input or output it belongs to.
    """

    index: int
    kind: str
    name: str
    space: str
    metal: str
    reference: bool
    array: int

    @property
    def parameter(self) -> str:
        """Type of the parameter, address space included."""
        const = "" if self.kind == "output" else "const "
        return f"{const}{self.space} {self.metal}{'&' if self.reference else '*'}"


@dataclass(frozen=True)
class GeneratedText:
    """A kernel completed for one set of shapes, dtypes and template values.

    Args:
        kernel: what the author wrote.
        function: the name that MLX gives to the Metal function.
        text: all that follows the preamble.
        buffers, attributes: parameters of the function, in order.
        template: names and values.
        first_body_line: number of the first line of the author's body in ``text``.
    """

    kernel: KernelText
    function: str
    text: str
    buffers: tuple[Buffer, ...]
    attributes: tuple[tuple[str, str], ...]
    template: tuple[tuple[str, Any], ...]
    first_body_line: int

    @property
    def definition(self) -> str:
        """The text without the line that instantiates the template."""
        return self.text.partition("\ntemplate [[host_name(")[0]

    @property
    def template_arguments(self) -> str:
        """``<4, float>``, or nothing without a template."""
        return _angle(self.template)

    def place(self, line: int) -> str:
        """Say where the author wrote line ``line`` of ``text``."""
        header_lines = self.kernel.header.count("\n")
        if line <= header_lines:
            return self.kernel.place(line)
        if line >= self.first_body_line:
            return self.kernel.place(header_lines + 1 + line - self.first_body_line)
        return f"{self.kernel.name}, signature"

    def line(self, number: int) -> str:
        """Line ``number`` of ``text``, without the spaces around it."""
        lines = self.text.split("\n")
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def template_value(value: Any) -> tuple[str, str]:
    """Kind ("bool", "int", "typename") and word of one template value."""
    if isinstance(value, bool):
        return "bool", "1" if value else "0"
    if isinstance(value, int):
        return "int", str(value)
    return "typename", element_type(value).metal


def generate(
    kernel: KernelText,
    inputs: Sequence[tuple[Sequence[int], Any]],
    output_dtypes: Sequence[Any],
    template: Sequence[tuple[str, Any]] | None = (),
) -> GeneratedText:
    """Complete a kernel as MLX does.

    Args:
        kernel: names, header and body.
        inputs: shape and dtype of every input.
        output_dtypes: one per output.
        template: name and value (int, bool or dtype) of the template parameters.

    Raises:
        ValueError: the numbers of names and arrays differ, or more than 31 buffers.
    """
    template = tuple(template or ())
    kinds = [element_type(dtype) for _, dtype in inputs]
    sizes = [math.prod(shape) for shape, _ in inputs]
    outputs = [element_type(dtype) for dtype in output_dtypes]
    if len(inputs) != len(kernel.input_names):
        raise ValueError(
            f"kernel {kernel.name} has {len(kernel.input_names)} inputs, "
            f"{len(inputs)} given"
        )
    if len(outputs) != len(kernel.output_names):
        raise ValueError(
            f"kernel {kernel.name} has {len(kernel.output_names)} outputs, "
            f"{len(outputs)} given"
        )
    scalars = [len(shape) == 0 for shape, _ in inputs]
    buffers = _bind(kernel, kinds, sizes, scalars, outputs)
    attributes = tuple(pair for pair in ATTRIBUTES if pair[0] in kernel.source)
    function = _function_name(kernel.name, template, kinds, sizes, scalars, outputs)
    text = kernel.header
    if template:
        words = ", ".join(f"{template_value(v)[0]} {name}" for name, v in template)
        text += f"template <{words}>\n"
    text += f"[[kernel]] void {function}(\n"
    text += _parameters(buffers, attributes, len(inputs) + len(outputs))
    first_body_line = text.count("\n") + 1
    text += f"{kernel.source}\n}}\n"
    if template:
        whole = function + _angle(template)
        text += (
            f'\ntemplate [[host_name("{function}")]] [[kernel]] '
            f"decltype({whole}) {whole};\n"
        )
    return GeneratedText(
        kernel, function, text, buffers, attributes, template, first_body_line
    )


def _angle(template: Sequence[tuple[str, Any]]) -> str:
    if not template:
        return ""
    return "<" + ", ".join(template_value(value)[1] for _, value in template) + ">"


def _function_name(
    name: str,
    template: Sequence[tuple[str, Any]],
    kinds: Sequence[ElementType],
    sizes: Sequence[int],
    scalars: Sequence[bool],
    outputs: Sequence[ElementType],
) -> str:
    function = f"custom_kernel_{name}"
    if template:
        flat = re.sub(r"[<>]", "_", _angle(template)).replace(", ", "_")
        function += "_" + flat.removesuffix("_")
    for kind, size, scalar in zip(kinds, sizes, scalars, strict=True):
        mark = "s" if scalar else ("c" if size < CONSTANT_BELOW else "")
        function += f"_{kind.metal}{mark}"
    return function + "".join(f"_{kind.metal}" for kind in outputs)


def _bind(
    kernel: KernelText,
    kinds: Sequence[ElementType],
    sizes: Sequence[int],
    scalars: Sequence[bool],
    outputs: Sequence[ElementType],
) -> tuple[Buffer, ...]:
    rows: list[tuple[str, str, str, str, bool, int]] = []
    for array, name in enumerate(kernel.input_names):
        space = "constant" if sizes[array] < CONSTANT_BELOW else "device"
        rows.append(("input", name, space, kinds[array].metal, scalars[array], array))
        if scalars[array]:
            continue
        for kind, word in _ASKED:
            full = f"{name}_{kind}"
            if full in kernel.source:
                row = (kind, full, "constant", word[:-1], word[-1] == "&", array)
                rows.append(row)
    for array, name in enumerate(kernel.output_names):
        metal = outputs[array].metal
        if kernel.atomic_outputs:
            metal = f"atomic<{metal}>"
        rows.append(("output", name, "device", metal, False, array))
    if len(rows) > MOST_BUFFERS:
        raise ValueError(
            f"kernel {kernel.name} binds {len(rows)} buffers, "
            f"Metal allows {MOST_BUFFERS}"
        )
    return tuple(Buffer(index, *row) for index, row in enumerate(rows))


def _parameters(
    buffers: Sequence[Buffer], attributes: Sequence[tuple[str, str]], arrays: int
) -> str:
    """Write the parameter list and the opening brace."""
    text = ""
    for buffer in buffers:
        text += f"  {buffer.parameter} {buffer.name} [[buffer({buffer.index})]]"
        # MLX counts arrays, not buffers: without attributes, a kernel that asks for
        # shapes gets its list closed too early. The lint says so.
        last = buffer.kind == "output" and not (buffer.index < arrays - 1 or attributes)
        text += ") {\n" if last else ",\n"
    for number, (name, kind) in enumerate(attributes, 1):
        text += f"  {kind} {name} [[{name}]]"
        text += ") {\n" if number == len(attributes) else ",\n"
    return text
