"""One launch of a kernel: everything but its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_speech.metal_kernels.text import KernelText


@dataclass(frozen=True)
class Launch:
    """Grid, template and outputs of a launch.

    Attributes:
        grid, threadgroup: in threads, as ``mx.fast.metal_kernel`` takes them.
        output_shapes, output_dtypes: of the outputs.
        template: names and values that the text is compiled for.
        threadgroup_bytes: threadgroup memory that the text declares.
    """

    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtypes: tuple[mx.Dtype, ...]
    template: tuple[tuple[str, Any], ...]
    threadgroup_bytes: int

    def __call__(self, text: KernelText, inputs: Sequence[mx.array]) -> list[mx.array]:
        """Launch a kernel.

        Raises:
            RuntimeError, ValueError: there is no Metal, or the kernel is refused.
        """
        return list(
            text.build()(
                inputs=list(inputs),
                template=list(self.template),
                grid=self.grid,
                threadgroup=self.threadgroup,
                output_shapes=list(self.output_shapes),
                output_dtypes=list(self.output_dtypes),
            )
        )


def digest(text: KernelText) -> str:
    """Tell one version of a kernel's text from another."""
    return hashlib.sha256((text.header + text.source).encode()).hexdigest()[:16]


def dtype_name(dtype: mx.Dtype) -> str:
    """MLX's name of a dtype, without the module's."""
    return str(dtype).rpartition(".")[2]
