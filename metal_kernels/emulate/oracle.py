"""MLX's own text of a kernel, on a machine without Metal.

Inside ``mx.export_function`` MLX (0.32 and newer) records a Metal kernel without having
a Metal device, and ``verbose=True`` prints the text at that moment. The print comes
from C++, so the file descriptor is caught and not ``sys.stdout``.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlx_speech.metal_kernels.text import KernelText


def mlx_text(
    kernel: KernelText,
    inputs: Sequence[tuple[Sequence[int], Any]],
    output_shapes: Sequence[Sequence[int]],
    output_dtypes: Sequence[Any],
    template: Sequence[tuple[str, Any]] | None = (),
) -> str:
    """Ask the installed MLX for the text that it would compile.

    Args:
        kernel: names, header and body.
        inputs: shape and dtype (of MLX) of every input.
        output_shapes, output_dtypes, template: as in the call of the kernel.

    Raises:
        RuntimeError: this MLX does not print the text.
    """
    import mlx.core as mx

    # MLX's stubs call it an object.
    call: Any = mx.fast.metal_kernel(
        name=kernel.name,
        input_names=list(kernel.input_names),
        output_names=list(kernel.output_names),
        source=kernel.source,
        header=kernel.header,
        ensure_row_contiguous=kernel.ensure_row_contiguous,
        atomic_outputs=kernel.atomic_outputs,
    )

    def traced(*arrays: mx.array) -> Any:
        return call(
            inputs=list(arrays),
            template=list(template) if template else None,
            grid=(32, 1, 1),
            threadgroup=(32, 1, 1),
            output_shapes=[tuple(shape) for shape in output_shapes],
            output_dtypes=list(output_dtypes),
            verbose=True,
        )

    arrays = [mx.zeros(tuple(shape), dtype=dtype) for shape, dtype in inputs]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "traced.mlxfn")
        printed = _caught_output(lambda: mx.export_function(path, traced, *arrays))
    fence = "```\n"
    if printed.count(fence) < 2:
        raise RuntimeError(f"this MLX printed no kernel: {printed[:200]!r}")
    return printed[printed.index(fence) + len(fence) : printed.rindex("\n" + fence)]


def _caught_output(action: Callable[[], object]) -> str:
    """Run ``action`` and return what it wrote to file descriptor 1."""
    library = ctypes.CDLL(None)
    sys.stdout.flush()
    library.fflush(None)
    saved = os.dup(1)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 1)
        try:
            action()
            library.fflush(None)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        caught.seek(0)
        return caught.read().decode()
