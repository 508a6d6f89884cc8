"""One thing to verify about a kernel: what it gives, what it should give, what rivals.

Each kernel's module offers ``verification_cases()``; ``verify.py`` runs them on a Mac,
the tests run them through the emulator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import mlx.core as mx

from mlx_speech.metal_kernels.select import difference

Call = Callable[[], Sequence[mx.array]]


@dataclass(frozen=True)
class KernelCase:
    """A small computation by a kernel.

    Attributes:
        kernel: name of the kernel's file.
        variant: what its text is compiled for, for example "float16 norm".
        sizes: of this case, in words.
        part: whether values or gradients are compared.
        tolerance: see ``select.difference``.
        found: computes by the kernel; MLX has not evaluated the arrays yet.
        expected: computes the same by MLX operations, in float32 on the CPU where the
            kernel computes in less.
        rivals: by name, how MLX computes the same quickest, on the same arrays; empty
            for cases that are not timed.
    """

    kernel: str
    variant: str
    sizes: str
    part: Literal["values", "gradients"]
    tolerance: float
    found: Call
    expected: Call
    rivals: Mapping[str, Call] = field(default_factory=dict)

    def problem(self) -> str:
        """What differs, "" if nothing does.

        Raises:
            RuntimeError, ValueError: the kernel does not compile, fit or run.
        """
        return difference(self.found(), self.expected(), self.tolerance)
