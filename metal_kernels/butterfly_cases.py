"""What to verify about butterflies: every variant, gradients, real sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from math import isqrt

import mlx.core as mx
import numpy as np

from mlx_speech.metal_kernels.butterfly import (
    TOLERANCES,
    butterfly_by_kernel,
    butterfly_reference,
    gradients_by_kernel,
    reference_gradients,
    variant_name,
)
from mlx_speech.metal_kernels.butterfly_launch import BACKWARD, FORWARD, geometry
from mlx_speech.metal_kernels.butterfly_plan import (
    ButterflyPlan,
    draw_butterfly,
    split_weights,
)
from mlx_speech.metal_kernels.cases import Call, KernelCase, on_cpu
from mlx_speech.metal_kernels.twiddles import digit_reversal

Radices = tuple[int, ...]
Draw = Callable[[], tuple[mx.array, mx.array, mx.array]]

# Radices and whether the blocks are tied: every kind of step, the smallest, an odd one.
_SMALL: tuple[tuple[Radices, bool], ...] = (
    ((2, 2, 2), False),
    ((3, 5), True),
    ((2,) * 6, True),
    ((2, 2, 3, 3, 4), False),
)
_EVERY_SIZE: tuple[Radices, ...] = (
    *((2,) * stages for stages in range(7, 12)),
    (4, 4, 5, 5),
    (4, 4, 2, 3, 5),
    (4, 4, 4, 3, 5),
)
_DTYPES = (mx.complex64, mx.float32, mx.float16, mx.bfloat16)
# Frames of 30 s of speech.
_BATCH = 3000
_TIMED: tuple[tuple[Radices, bool], ...] = (
    ((2,) * 9, False),
    ((2,) * 10, False),
    ((2,) * 10, True),
    ((4, 4, 5, 5), True),
)
_SCALE = 0.5


def verification_cases() -> Iterator[KernelCase]:
    """Small cases of every variant, every size, then the sizes of real signals."""
    for radices, tied in _SMALL:
        for dtype in _DTYPES if radices == (3, 5) else (mx.complex64,):
            yield _values(radices, tied, dtype)
            yield _gradients(radices, tied, dtype)
    for radices in _EVERY_SIZE:
        yield _values(radices, True, mx.complex64)
        yield _gradients(radices, False, mx.complex64)
    for radices, tied in _TIMED:
        yield _values(radices, tied, mx.complex64, timed=True)
        yield _gradients(radices, tied, mx.complex64, timed=True)


def _values(
    radices: Radices, tied: bool, dtype: mx.Dtype, timed: bool = False
) -> KernelCase:
    plan, batch, draw = _prepare(radices, tied, dtype, timed)

    def found() -> Sequence[mx.array]:
        x, flat, _ = draw()
        return [butterfly_by_kernel(plan, tied, _SCALE)(x, flat)]

    def reference() -> Sequence[mx.array]:
        x, flat, _ = draw()
        return [butterfly_reference(x, split_weights(flat, plan, tied), plan, _SCALE)]

    rivals: dict[str, Call] = {}
    if timed:
        rivals = {
            "MLX operations": reference,
            "two block products": _block_products(draw, plan.points),
            "mx.fft": lambda: [mx.fft.fft(draw()[0])],
        }
    return KernelCase(
        FORWARD.name,
        variant_name(dtype, plan, tied),
        f"{batch} x {plan.points} points",
        "values",
        TOLERANCES[mx.complex64],
        found,
        on_cpu(reference),
        rivals,
    )


def _gradients(
    radices: Radices, tied: bool, dtype: mx.Dtype, timed: bool = False
) -> KernelCase:
    plan, batch, draw = _prepare(radices, tied, dtype, timed)

    def reference() -> Sequence[mx.array]:
        return reference_gradients(*draw(), plan, tied, _SCALE)

    return KernelCase(
        BACKWARD.name,
        variant_name(dtype, plan, tied),
        f"{batch} x {plan.points} points",
        "gradients",
        TOLERANCES[dtype],
        lambda: gradients_by_kernel(*draw(), plan, tied, _SCALE),
        on_cpu(reference),
        {"MLX operations": reference} if timed else {},
    )


def _prepare(
    radices: Radices, tied: bool, dtype: mx.Dtype, timed: bool
) -> tuple[ButterflyPlan, int, Draw]:
    """A plan, the number of rows, and the arrays, which are drawn at their first use.

    Some are large, and not every case is run everywhere.
    """
    plan = ButterflyPlan(radices, digit_reversal(radices))
    # One row more than a threadgroup takes.
    batch = _BATCH if timed else geometry(plan.points)[0] + 1

    @functools.cache
    def draw() -> tuple[mx.array, mx.array, mx.array]:
        return draw_butterfly(batch, dtype, plan, tied, seed=0)

    return plan, batch, draw


def _block_products(draw: Draw, points: int) -> Call:
    """Two stages of blocks as large as each other can be, by matrix products."""
    small = next(r for r in range(isqrt(points), 0, -1) if points % r == 0)
    plan = ButterflyPlan((small, points // small), np.arange(points))

    @functools.cache
    def blocks() -> list[mx.array]:
        _, flat, _ = draw_butterfly(1, mx.complex64, plan, False, seed=1)
        return split_weights(flat, plan, False)

    return lambda: [butterfly_reference(draw()[0], blocks(), plan)]
