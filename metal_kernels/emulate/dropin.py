"""A replacement for ``mx.fast.metal_kernel``: shipped wrappers run on Linux unmodified.

Inside ``with dropin():`` a call of ``mx.fast.metal_kernel`` gives a kernel that runs on
the emulator, and ``presence.metal_is_available()`` answers yes. So the tested Python is
that which ships: grid, threadgroup, template, shapes of outputs, vjp. Only calls made
inside the block are replaced; ``KernelText.build`` makes them as late as possible.

A launch reads its inputs, so it cannot run inside ``mx.compile`` (nor can it be traced
by ``mx.export_function``); gradients by ``mx.grad`` and ``mx.vjp`` work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlx_speech.metal_kernels.emulate.dtypes import element_type, host_array
from mlx_speech.metal_kernels.emulate.generate import GeneratedText, generate
from mlx_speech.metal_kernels.emulate.launch import compiled
from mlx_speech.metal_kernels.emulate.program import Outcome
from mlx_speech.metal_kernels.presence import pretend_metal
from mlx_speech.metal_kernels.text import KernelText

DEVICE_NAME = "emulated"


@dataclass(frozen=True)
class Launch:
    """One launch that a wrapper asked for.

    Args:
        generated: the completed kernel.
        signature: shape and name of the dtype of every input.
        results: the same of every output.
        grid, threadgroup: as in the call.
        outcome: what it gave.
    """

    generated: GeneratedText
    signature: tuple[tuple[tuple[int, ...], str], ...]
    results: tuple[tuple[tuple[int, ...], str], ...]
    grid: tuple[int, ...]
    threadgroup: tuple[int, ...]
    outcome: Outcome


@dataclass
class Launches:
    """What ran inside a ``dropin`` block, in order."""

    done: list[Launch] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the kernels, one per launch."""
        return [launch.generated.kernel.name for launch in self.done]


@contextmanager
def dropin(
    *,
    check: bool = True,
    seed: int = 0,
    rewrite: Callable[[KernelText], KernelText] | None = None,
) -> Iterator[Launches]:
    """Replace ``mx.fast.metal_kernel`` until the block ends.

    Args:
        check, seed: as in ``run``.
        rewrite: changes each kernel before it is used: plants a bug, or a mutant.

    Raises:
        KernelFault: from the call of a wrapper, when its kernel is wrong.
    """
    import mlx.core as mx

    launches = Launches()

    def metal_kernel(
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        ensure_row_contiguous: bool = True,
        atomic_outputs: bool = False,
        compile_options: object = None,
    ) -> Callable[..., list[mx.array]]:
        kernel = KernelText(
            name,
            tuple(input_names),
            tuple(output_names),
            header,
            source,
            ensure_row_contiguous,
            atomic_outputs,
        )
        return from_text(kernel)

    def from_text(kernel: KernelText) -> Callable[..., list[mx.array]]:
        kernel = rewrite(kernel) if rewrite else kernel
        return _emulated(kernel, check, seed, launches)

    # KernelText.build looks for it.
    metal_kernel.from_text = from_text  # type: ignore[attr-defined]
    real = mx.fast.metal_kernel
    mx.fast.metal_kernel = metal_kernel
    try:
        with pretend_metal(DEVICE_NAME):
            yield launches
    finally:
        mx.fast.metal_kernel = real


def _emulated(
    kernel: KernelText, check: bool, seed: int, launches: Launches
) -> Callable[..., Any]:
    import mlx.core as mx

    def call(
        *,
        inputs: Sequence[Any],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: Sequence[int],
        threadgroup: Sequence[int],
        template: Sequence[tuple[str, Any]] | None = None,
        init_value: float | None = None,
        verbose: bool = False,
        stream: object = None,
    ) -> list[mx.array]:
        hosted = [host_array(value) for value in inputs]
        signature = [(array.shape, kind.name) for array, kind in hosted]
        generated = generate(kernel, signature, output_dtypes, template)
        if verbose:
            # What MLX does; who asks for it wants to read it.
            print(generated.text)
        outcome = compiled(generated, check).run(
            [array for array, _ in hosted],
            output_shapes,
            output_dtypes,
            grid,
            threadgroup,
            init_value=init_value,
            seed=seed,
        )
        results = tuple(
            (array.shape, element_type(dtype).name)
            for array, dtype in zip(outcome.outputs, output_dtypes, strict=True)
        )
        launches.done.append(
            Launch(
                generated,
                tuple(signature),
                results,
                tuple(grid),
                tuple(threadgroup),
                outcome,
            )
        )
        return [
            _to_mlx(array, dtype)
            for array, dtype in zip(outcome.outputs, output_dtypes, strict=True)
        ]

    return call


def _to_mlx(array: np.ndarray, dtype: Any) -> Any:
    import mlx.core as mx

    if element_type(dtype).name == "bfloat16":
        return mx.array(array).view(mx.bfloat16)
    return mx.array(array)
