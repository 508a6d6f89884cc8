"""From Metal text to a C++ translation unit that runs one GPU thread per call."""

from __future__ import annotations

from mlx_speech.metal_kernels.emulate.arrays import with_checked_arrays
from mlx_speech.metal_kernels.emulate.generate import Buffer, GeneratedText
from mlx_speech.metal_kernels.emulate.rewrite import (
    SharedVariable,
    replace_shared,
    with_float_literals,
    without_attributes,
)

# Under this name the compiler speaks of the kernel's own lines.
KERNEL_FILE = "kernel.metal"

_DERIVED = {
    "thread_execution_width": "32u",
    "threads_per_simdgroup": "32u",
    "grid_origin": "uint3(0u)",
    "grid_size": "emu_triple(t->threads_per_grid)",
    "quadgroup_index_in_threadgroup": "t->thread_index_in_threadgroup / 4",
    "thread_index_in_quadgroup": "t->thread_index_in_threadgroup % 4",
    "quadgroups_per_threadgroup": "emu_quads(t->threads_per_threadgroup)",
    "dispatch_quadgroups_per_threadgroup": (
        "emu_quads(t->dispatch_threads_per_threadgroup)"
    ),
}
_HELPERS = """\
static uint3 emu_triple(const uint32_t* v) { return uint3(v[0], v[1], v[2]); }
static uint emu_quads(const uint32_t* v) { return (v[0] * v[1] * v[2] + 3) / 4; }
"""


def cpp_unit(generated: GeneratedText) -> str:
    """Write the C++ of a kernel; lines of the kernel keep their numbers.

    Raises:
        ValueError: a declaration of threadgroup memory that Metal does not allow.
    """
    body, _ = replace_shared(generated.definition, _shared_reference)
    body = with_checked_arrays(with_float_literals(without_attributes(body)))
    arguments = [_argument(buffer) for buffer in generated.buffers]
    arguments += [_attribute(name, kind) for name, kind in generated.attributes]
    call = generated.function + generated.template_arguments
    return (
        '#include "metal_words.h"\n'
        f'#line 1 "{KERNEL_FILE}"\n{body}\n'
        f'#line 1 "entry"\n{_HELPERS}'
        'extern "C" __attribute__((no_sanitize("thread")))\n'
        "void emu_entry(void** b, const EmuThread* t) {\n"
        f"  {call}({', '.join(arguments)});\n"
        "}\n"
    )


def _shared_reference(variable: SharedVariable) -> str:
    """Bind the name to a block that the runtime keeps for each threadgroup."""
    kind = f"{variable.type}{variable.brackets}"
    return (
        f"{variable.type} (&{variable.name}){variable.brackets} = "
        f"*reinterpret_cast<{variable.type} (*){variable.brackets}>("
        f"emu_threadgroup_variable({variable.number}, sizeof({kind}), "
        f'metal::emu_cell<{variable.type}>::bytes, "{variable.name}"));'
    )


def _argument(buffer: Buffer) -> str:
    const = "" if buffer.kind == "output" else "const "
    pointer = f"({const}{buffer.metal}*)b[{buffer.index}]"
    return f"*{pointer}" if buffer.reference else pointer


def _attribute(name: str, kind: str) -> str:
    if name in _DERIVED:
        return _DERIVED[name]
    return f"emu_triple(t->{name})" if kind == "uint3" else f"t->{name}"
