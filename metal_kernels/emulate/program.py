"""Launching a compiled kernel: buffers in, findings or outputs out."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_speech.metal_kernels.emulate.build import Library, kernel_library
from mlx_speech.metal_kernels.emulate.compilers import Compiler
from mlx_speech.metal_kernels.emulate.dtypes import (
    ElementType,
    element_type,
    to_bfloat16_bits,
)
from mlx_speech.metal_kernels.emulate.faults import Finding, KernelFault
from mlx_speech.metal_kernels.emulate.generate import GeneratedText
from mlx_speech.metal_kernels.emulate.lines import lines_of

# What one threadgroup may use on every Apple GPU.
THREADGROUP_LIMIT = 32768

_WRITABLE, _INITIALISED = 1, 2
_CHECK, _FLUSH_DENORMALS, _SHUFFLE = 1, 2, 4
# The runtime keeps its state in globals: one launch at a time.
_LOCK = threading.Lock()
_RUNTIMES: dict[str, ctypes.CDLL] = {}


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("cell", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
    )


_COUNTS = (
    "threads",
    "groups",
    "barriers",
    "simd_operations",
    "matrix_products",
    "device_bytes_read",
    "device_bytes_written",
    "threadgroup_reads",
    "threadgroup_writes",
    "atomics",
)


class _Report(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in _COUNTS),
        ("threadgroup_bytes", ctypes.c_uint32),
        ("findings", ctypes.c_uint32),
        ("stopped", ctypes.c_uint32),
        ("text", ctypes.c_char * 16384),
    )


@dataclass(frozen=True)
class Outcome:
    """What one launch gave.

    Args:
        outputs: arrays in host storage (bfloat16 as uint16 bits).
        threadgroup_bytes: threadgroup memory of one group.
        counts: numbers of threads, groups, barriers, SIMD operations, 8x8 matrix
            products, and, in check mode, of the accesses to memory.
    """

    outputs: list[np.ndarray]
    threadgroup_bytes: int
    counts: dict[str, int]


class Program:
    """A kernel compiled for one signature; may be run any number of times.

    Args:
        generated: from ``generate.generate``.
        check: check every access to memory, or run fast.
        contract: see ``build.kernel_library``.
        chosen: the compiler.

    Raises:
        KernelFault: the text does not compile.
    """

    def __init__(
        self,
        generated: GeneratedText,
        *,
        check: bool = True,
        contract: bool = False,
        chosen: Compiler | None = None,
    ) -> None:
        self.generated = generated
        self.check = check
        self.library = kernel_library(
            generated, check=check, contract=contract, chosen=chosen
        )
        # First, so that the kernel finds it by its name among what is loaded; a second
        # one of that name, from another folder, would not be the kernel's.
        path = self.library.runtime
        if path.name not in _RUNTIMES:
            _RUNTIMES[path.name] = ctypes.CDLL(str(path))
        runtime = _RUNTIMES[path.name]
        kernel = ctypes.CDLL(str(self.library.path))
        self._launch = runtime.emu_launch
        self._entry = ctypes.cast(kernel.emu_entry, ctypes.c_void_p)

    def run(
        self,
        inputs: Sequence[np.ndarray],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[Any],
        grid: Sequence[int],
        threadgroup: Sequence[int],
        *,
        init_value: float | None = None,
        seed: int = 0,
        flush_denormals: bool = False,
        threadgroup_limit: int = THREADGROUP_LIMIT,
    ) -> Outcome:
        """Launch.

        Args:
            inputs: host storage, in the order of the kernel's inputs.
            output_shapes, output_dtypes: one per output.
            grid: numbers of THREADS along x, y, z.
            threadgroup: the same of one group; groups at the edge are smaller.
            init_value: fills every output first; without it they hold garbage.
            seed: 0 runs threads and groups in order, another number shuffles both.
            flush_denormals: very small floats become zero.
            threadgroup_limit: bytes of threadgroup memory.

        Raises:
            KernelFault: there are findings.
            ValueError: grid or threadgroup is not three positive numbers.
        """
        for name, size in (("grid", grid), ("threadgroup", threadgroup)):
            if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
                raise ValueError(f"{name} {tuple(size)} is not three positive integers")
        kinds = [element_type(dtype) for dtype in output_dtypes]
        outputs = [
            _empty_output(shape, kind, init_value)
            for shape, kind in zip(output_shapes, kinds, strict=True)
        ]
        table, kept = self._bind(inputs, outputs, kinds, init_value is not None)
        flags = (_CHECK if self.check else 0) | (_SHUFFLE if seed else 0)
        flags |= _FLUSH_DENORMALS if flush_denormals else 0
        report = _Report()
        triple = ctypes.c_uint32 * 3
        with _LOCK:
            self._launch(
                self._entry,
                table,
                len(table),
                triple(*map(int, grid)),
                triple(*map(int, threadgroup)),
                ctypes.c_uint32(flags),
                ctypes.c_uint64(seed),
                ctypes.c_uint32(threadgroup_limit),
                ctypes.byref(report),
            )
        del kept
        if report.findings or report.stopped:
            findings = _read_findings(
                report.text.decode(), self.generated, self.library
            )
            raise KernelFault(self.generated.kernel.name, findings)
        counts = {name: int(getattr(report, name)) for name in _COUNTS}
        return Outcome(outputs, int(report.threadgroup_bytes), counts)

    def _bind(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        kinds: Sequence[ElementType],
        initialised: bool,
    ) -> tuple[Any, list[Any]]:
        """Fill the table of buffers; the second value must outlive the launch."""
        generated = self.generated
        table = (_Buffer * len(generated.buffers))()
        kept: list[Any] = []
        for buffer in generated.buffers:
            flags = 0
            if buffer.kind == "output":
                array, cell = outputs[buffer.array], kinds[buffer.array].cell
                flags = _WRITABLE | (_INITIALISED if initialised else 0)
            else:
                source = inputs[buffer.array]
                array = _input_memory(source, buffer.kind, generated)
                cell = array.itemsize
            name = buffer.name.encode()
            kept += [array, name]
            table[buffer.index] = _Buffer(
                array.ctypes.data, array.nbytes, cell, flags, name
            )
        return table, kept


def _input_memory(
    source: np.ndarray, kind: str, generated: GeneratedText
) -> np.ndarray:
    contiguous = generated.kernel.ensure_row_contiguous
    array = np.ascontiguousarray(source).reshape(source.shape) if contiguous else source
    if kind == "shape":
        return np.array(array.shape, np.int32)
    if kind == "strides":
        return np.array(array.strides, np.int64) // array.itemsize
    if kind == "ndim":
        return np.array([array.ndim], np.int32)
    if array.flags.c_contiguous:
        return array
    return _span(array)


def _span(array: np.ndarray) -> np.ndarray:
    """Copy the memory between the first and the last element of a strided array."""
    if min(array.strides) < 0:
        raise ValueError("an input with a negative stride cannot be bound")
    last = sum(
        (size - 1) * stride
        for size, stride in zip(array.shape, array.strides, strict=True)
    )
    count = last // array.itemsize + 1
    flat = np.lib.stride_tricks.as_strided(array, (count,), (array.itemsize,))
    return flat.copy()


def _empty_output(
    shape: Sequence[int], kind: ElementType, init_value: float | None
) -> np.ndarray:
    output = np.empty(tuple(shape), kind.numpy)
    if init_value is None:
        # NaN in every float type: what a kernel does not write is seen.
        output.reshape(-1).view(np.uint8)[...] = 0xFF
    elif kind.name == "bfloat16":
        output[...] = to_bfloat16_bits(np.float32(init_value))
    else:
        output[...] = init_value
    return output


def _read_findings(
    text: str, generated: GeneratedText, library: Library
) -> list[Finding]:
    rows = [row.split("\t", 2) for row in text.splitlines()]
    addresses = [place[3:] for _, place, _ in rows if place.startswith("pc:")]
    found = dict(zip(addresses, lines_of(addresses, library.path), strict=True))
    findings = []
    for kind, place, message in rows:
        number = found.get(place.removeprefix("pc:"), 0)
        if place.startswith("line:"):
            number = int(place[5:])
        if number:
            where, line = generated.place(number), generated.line(number)
            findings.append(Finding(kind, message, where, line))
        else:
            name = place.removeprefix("buffer:") if place.startswith("buffer:") else ""
            findings.append(Finding(kind, message, name))
    return findings
