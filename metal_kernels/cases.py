"""One thing to verify about a kernel: what it gives, what it should give, what rivals.

``verification_cases()`` in a kernel's module of cases makes all of them; ``verify.py``
runs them on a Mac, and elsewhere those that are small enough to be emulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import mlx.core as mx

Call = Callable[[], Sequence[mx.array]]


@dataclass(frozen=True)
class KernelCase:
    """A computation by a kernel.

    Attributes:
        kernel: name of the kernel's file.
        variant: what its text is compiled for, for example "float16 norm".
        sizes: of this case, in words.
        part: whether values or gradients are compared.
        tolerance: the largest ``select.relative_error`` allowed.
        found: computes by the kernel; MLX has not evaluated the arrays yet.
        expected: the same by MLX operations, in float32 on the CPU where the kernel
            computes in less.
        rivals: by name, the ways of MLX to compute the same or its main part, on the
            same arrays. Cases that have rivals are timed, have the sizes of real
            models, and are too large to be emulated.
    """

    kernel: str
    variant: str
    sizes: str
    part: Literal["values", "gradients"]
    tolerance: float
    found: Call
    expected: Call
    rivals: Mapping[str, Call] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Kernel, variant, sizes and part in one line."""
        return f"{self.kernel} ({self.variant}), {self.part}, {self.sizes}"


def on_cpu(compute: Call) -> Call:
    """The same, computed and evaluated on the CPU: what a kernel is compared with."""

    def evaluated() -> Sequence[mx.array]:
        with mx.stream(mx.cpu):
            found = compute()
            mx.eval(found)
        return found

    return evaluated
