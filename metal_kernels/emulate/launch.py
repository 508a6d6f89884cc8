"""One call from a kernel and arrays to results: what most tests need."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlx_speech.metal_kernels.emulate.dtypes import (
    element_type,
    from_bfloat16_bits,
    host_array,
)
from mlx_speech.metal_kernels.emulate.generate import GeneratedText, generate
from mlx_speech.metal_kernels.emulate.program import Program
from mlx_speech.metal_kernels.text import KernelText


def prepare(
    kernel: KernelText,
    inputs: Sequence[Any],
    output_dtypes: Sequence[Any],
    template: Sequence[tuple[str, Any]] | None = (),
) -> GeneratedText:
    """Complete a kernel for the arrays of a call.

    Args:
        kernel: the text.
        inputs: arrays of MLX or NumPy, or numbers.
        output_dtypes, template: as in the call.
    """
    hosted = [host_array(value) for value in inputs]
    shapes = [(array.shape, kind.name) for array, kind in hosted]
    return generate(kernel, shapes, output_dtypes, template)


def run(
    kernel: KernelText,
    inputs: Sequence[Any],
    grid: Sequence[int],
    threadgroup: Sequence[int],
    output_shapes: Sequence[Sequence[int]],
    output_dtypes: Sequence[Any],
    template: Sequence[tuple[str, Any]] | None = (),
    *,
    check: bool = True,
    seed: int = 0,
    init_value: float | None = None,
) -> list[np.ndarray]:
    """Run a kernel on the CPU as a GPU would.

    Args:
        kernel: the text.
        inputs: arrays of MLX or NumPy, or numbers; bfloat16 comes as ``mx.array``.
        grid: numbers of THREADS along x, y, z, as for ``mx.fast.metal_kernel``.
        threadgroup: the same of one threadgroup.
        output_shapes, output_dtypes: one per output.
        template: name and value (int, bool or dtype) of the template parameters.
        check: check every access; without it only barriers and SIMD groups are.
        seed: 0 runs threads and groups in order, another number shuffles both.
        init_value: fills every output before the launch.

    Returns:
        The outputs; bfloat16 as float32, which holds it exactly.

    Raises:
        KernelFault: what is wrong, with the lines of the kernel.
        SpeechError: there is no C++ compiler.
    """
    generated = prepare(kernel, inputs, output_dtypes, template)
    outcome = compiled(generated, check).run(
        [host_array(value)[0] for value in inputs],
        output_shapes,
        output_dtypes,
        grid,
        threadgroup,
        init_value=init_value,
        seed=seed,
    )
    return [
        from_bfloat16_bits(array) if element_type(dtype).name == "bfloat16" else array
        for array, dtype in zip(outcome.outputs, output_dtypes, strict=True)
    ]


@functools.lru_cache(maxsize=256)
def compiled(generated: GeneratedText, check: bool) -> Program:
    """Compile, or take the program of an earlier call."""
    return Program(generated, check=check)
