"""The same kernel for NVIDIA GPUs: Metal text becomes the text of a CUDA kernel.

What changes is small: address-space words go, threadgroup variables become
``__shared__``, thread attributes become constants at the top of the body, and template
parameters too, as ``mx.fast.cuda_kernel`` has them. Metal's library is replaced by
``cuda/metal_words.cuh``. The result compiles with nvcc, whose report of registers is a
hint for other GPUs as well; nothing here was run on a GPU.

Helpers in the header must be ``inline`` or ``METAL_FUNC``. On CUDA a grid is rounded up
to whole blocks: give a multiple of the threadgroup.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.emulate.dtypes import element_type
from mlx_speech.metal_kernels.emulate.faults import Finding, KernelFault
from mlx_speech.metal_kernels.emulate.generate import (
    Buffer,
    GeneratedText,
    template_value,
)
from mlx_speech.metal_kernels.emulate.rewrite import replace_shared, with_float_literals
from mlx_speech.metal_kernels.emulate.tokens import tokens

_FOLDER = Path(__file__).resolve().parent
_SPACES = frozenset({"device", "constant", "thread", "threadgroup"})
_MARKER = "EMU_VECTORS_GO_HERE"
_INCLUDED = re.compile(r'^#(pragma once|include ".*")\n', re.MULTILINE)

_INLINE = re.compile(r"^(\s*)(?:static\s+)?inline\b", re.MULTILINE)

_INDEX = "emu_thread_index"
_TRIPLES = {
    "thread_position_in_grid": "blockIdx.{d} * blockDim.{d} + threadIdx.{d}",
    "thread_position_in_threadgroup": "threadIdx.{d}",
    "threadgroup_position_in_grid": "blockIdx.{d}",
    "threadgroups_per_grid": "gridDim.{d}",
    "threads_per_grid": "gridDim.{d} * blockDim.{d}",
    "grid_size": "gridDim.{d} * blockDim.{d}",
    "threads_per_threadgroup": "blockDim.{d}",
    "dispatch_threads_per_threadgroup": "blockDim.{d}",
    "grid_origin": "0u",
}
_ALL = "blockDim.x * blockDim.y * blockDim.z"
_SINGLES = {
    "thread_index_in_threadgroup": _INDEX,
    "thread_index_in_simdgroup": f"{_INDEX} % 32",
    "simdgroup_index_in_threadgroup": f"{_INDEX} / 32",
    "simdgroups_per_threadgroup": f"({_ALL} + 31) / 32",
    "dispatch_simdgroups_per_threadgroup": f"({_ALL} + 31) / 32",
    "threads_per_simdgroup": "32",
    "thread_execution_width": "32",
    "thread_index_in_quadgroup": f"{_INDEX} % 4",
    "quadgroup_index_in_threadgroup": f"{_INDEX} / 4",
    "quadgroups_per_threadgroup": f"({_ALL} + 3) / 4",
    "dispatch_quadgroups_per_threadgroup": f"({_ALL} + 3) / 4",
}
# What MLX's own CUDA text brings, as far as kernels see it.
_SURROUNDINGS = """\
#include <cuda/std/array>
#include <cuda/std/complex>
#include <cuda/std/cstdint>
#include <stdint.h>
namespace mlx { namespace core { namespace cu {
typedef ::cuda::std::complex<float> complex64_t;
using Shape = ::cuda::std::array<int32_t, 10>;
using Strides = ::cuda::std::array<int64_t, 10>;
} } }
"""


@dataclass(frozen=True)
class CudaText:
    """A kernel in CUDA's words.

    Args:
        header, source: what ``mx.fast.cuda_kernel`` takes.
        unit: a file for nvcc that holds both, with a signature as MLX writes it.
    """

    header: str
    source: str
    unit: str


@dataclass(frozen=True)
class CudaResources:
    """What ptxas says of a kernel: registers of a thread, bytes of memory."""

    registers: int
    shared_bytes: int
    spilled_bytes: int


def cuda_text(generated: GeneratedText) -> CudaText:
    """Translate a completed kernel.

    Raises:
        ValueError: a declaration of threadgroup memory that Metal does not allow.
    """
    words = (_FOLDER / "cuda" / "metal_words.cuh").read_text(encoding="utf-8")
    vectors = (_FOLDER / "shim" / "vectors.h").read_text(encoding="utf-8")
    words = words.replace(f"{_MARKER}\n", _INCLUDED.sub("", vectors))
    inner = _without_spaces(with_float_literals(generated.kernel.header))
    inner = _INLINE.sub(r"\1__device__ inline", inner)
    header = f"{words}\nnamespace mlx::core::cu {{\n{inner}\n}}\n"
    body, _ = replace_shared(
        generated.kernel.source,
        lambda v: f"__shared__ {v.type} {v.name}{v.brackets};",
    )
    source = _attributes(generated) + _without_spaces(with_float_literals(body))
    return CudaText(header, source, _unit(generated, header, source))


def compile_cuda(
    generated: GeneratedText, architecture: str = "sm_80"
) -> CudaResources:
    """Compile a kernel with nvcc and read the report of its assembler.

    Args:
        generated: the completed kernel.
        architecture: as nvcc names it.

    Raises:
        SpeechError: there is no nvcc.
        KernelFault: nvcc refuses the text.
    """
    if shutil.which("nvcc") is None:
        raise SpeechError("nvcc is not here", "install the CUDA toolkit")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "kernel.cu"
        path.write_text(cuda_text(generated).unit, encoding="utf-8")
        flags = ["-std=c++17", f"-arch={architecture}", "-cubin", "-Xptxas", "-v"]
        done = subprocess.run(
            ["nvcc", *flags, "-o", str(path.with_suffix(".cubin")), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    said = done.stdout + done.stderr
    if done.returncode:
        errors = [line for line in said.splitlines() if "error" in line] or [said]
        findings = [Finding("CUDA", error) for error in errors[:10]]
        raise KernelFault(generated.kernel.name, findings)

    def number(pattern: str) -> int:
        match = re.search(pattern, said)
        return int(match[1]) if match else 0

    return CudaResources(
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes smem"),
        number(r"(\d+) bytes spill stores"),
    )


def _without_spaces(text: str) -> str:
    """Drop address-space words; as macros they would break CUDA's own headers."""
    return "".join(
        "" if token.kind == "name" and token.text in _SPACES else token.text
        for token in tokens(text)
    )


def _attributes(generated: GeneratedText) -> str:
    lines = [
        f"const uint {_INDEX} = threadIdx.x + blockDim.x * (threadIdx.y + "
        "blockDim.y * threadIdx.z);",
        f"(void){_INDEX};",
    ]
    for name, kind in generated.attributes:
        if kind == "uint3":
            axes = ", ".join(_TRIPLES[name].format(d=axis) for axis in "xyz")
            value = f"uint3({axes})"
        else:
            value = _SINGLES[name]
        lines.append(f"const {kind} {name} = {value};")
    return "\n".join(lines) + "\n"


def _unit(generated: GeneratedText, header: str, source: str) -> str:
    parameters = ",\n    ".join(_parameter(buffer) for buffer in generated.buffers)
    constants = ""
    for name, value in generated.template:
        kind, word = template_value(value)
        if kind == "typename":
            constants += f"using {name} = {element_type(value).cuda};\n"
        else:
            constants += f"constexpr {kind} {name} = {word};\n"
    function = re.sub(r"\W", "_", generated.function)
    return (
        f"{_SURROUNDINGS}{header}namespace mlx::core::cu {{\n"
        f"__global__ void {function}(\n    {parameters}) {{\n"
        f"{constants}{source}\n}}\n}}\n"
    )


def _parameter(buffer: Buffer) -> str:
    by_value = {"shape": "Shape", "strides": "Strides", "ndim": "int"}
    if buffer.kind in by_value:
        return f"const __grid_constant__ {by_value[buffer.kind]} {buffer.name}"
    metal = buffer.metal.removeprefix("atomic<").removesuffix(">")
    words = {"float16_t": "__half", "bfloat16_t": "__nv_bfloat16"}
    const = "" if buffer.kind == "output" else "const "
    # A 0-d array is a reference in Metal and comes by value here.
    pointer = "" if buffer.reference else "*"
    return f"{const}{words.get(metal, metal)}{pointer} {buffer.name}"
