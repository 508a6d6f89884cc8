"""How the butterfly's kernels are launched: which sizes they take, grids, templates."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan
from mlx_speech.metal_kernels.launch import Launch
from mlx_speech.metal_kernels.text import load_text

FORWARD = load_text("butterfly")
BACKWARD = load_text("butterfly_backward")

RADICES = (2, 3, 4, 5)
MIN_POINTS, MAX_POINTS = 8, 2048
MAX_STEPS = 8
MAX_THREADS = 256
# The backward kernel keeps blocks and their gradients in registers: 168 of them by
# ptxas, of which half as many threads have room.
MAX_BACKWARD_THREADS = 128
# Points of one threadgroup, 16 KiB: two of them fit into a core's memory.
_GROUP_POINTS = 2048
_MAX_FRAMES = 8
# Threads of a backward launch: enough to fill a GPU, few enough that the partial sums
# of its threadgroups stay small.
BACKWARD_THREADS = 8192
# Offsets in the kernels are 32 bit.
_MAX_NUMBERS = 2**31 - 1


def fits_kernel(plan: ButterflyPlan) -> bool:
    """Whether the kernels have the sizes of a butterfly."""
    return (
        MIN_POINTS <= plan.points <= MAX_POINTS
        and set(plan.radices) <= set(RADICES)
        and len(plan.steps) <= MAX_STEPS
    )


def kernel_takes(x: mx.array, plan: ButterflyPlan) -> bool:
    """Whether the kernels can compute a butterfly of x, [..., points]."""
    return fits_kernel(plan) and 0 < x.size <= _MAX_NUMBERS


def forward_launch(x: mx.array, plan: ButterflyPlan, tied: bool) -> Launch:
    """How ``butterfly.metal`` is launched on rows x [batch, points]."""
    frames, threads = geometry(plan.points)
    groups = -(-x.shape[0] // frames)
    return Launch(
        grid=(threads * groups, 1, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=(x.shape,),
        output_dtypes=(mx.complex64,),
        template=_template(plan, tied, backward=False),
        threadgroup_bytes=8 * frames * plan.points,
    )


def backward_launch(
    x: mx.array, plan: ButterflyPlan, tied: bool, groups: int | None = None
) -> Launch:
    """How ``butterfly_backward.metal`` is launched on rows x [batch, points].

    Args:
        x: [batch, points].
        plan, tied: as of `butterfly_by_kernel`.
        groups: threadgroups that share the batch; None: as many as are useful.
    """
    frames, threads = geometry(plan.points, backward=True)
    useful = -(-x.shape[0] // frames)
    groups = min(useful, groups or BACKWARD_THREADS // threads)
    n_steps = len(plan.steps)
    return Launch(
        grid=(threads * groups, 1, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=(
            x.shape,
            (groups, plan.points * sum(plan.radices)),
            (groups, n_steps, frames, plan.points),
        ),
        output_dtypes=(x.dtype, mx.complex64, mx.complex64),
        template=(*_template(plan, tied, backward=True), ("STEPS", n_steps)),
        threadgroup_bytes=8 * frames * plan.points,
    )


def geometry(points: int, backward: bool = False) -> tuple[int, int]:
    """Rows that a threadgroup takes, and its threads.

    Args:
        points: of the butterfly.
        backward: one thread goes through all rows of a group of points, so that it
            alone adds to the gradients of its blocks. Forward, rows are shared out.
    """
    frames = min(_MAX_FRAMES, _GROUP_POINTS // points)
    # Most steps have groups of 4 points.
    workers = points // 4 * (1 if backward else frames)
    most = MAX_BACKWARD_THREADS if backward else MAX_THREADS
    return frames, min(most, max(32, -(-workers // 32) * 32))


def stage_template(plan: ButterflyPlan) -> tuple[tuple[str, Any], ...]:
    """Points and steps, as the texts' templates name them."""
    steps = plan.steps + (11,) * (MAX_STEPS - len(plan.steps))
    return (
        ("N", plan.points),
        *((f"STEP{index}", step) for index, step in enumerate(steps)),
    )


def _template(
    plan: ButterflyPlan, tied: bool, backward: bool
) -> tuple[tuple[str, Any], ...]:
    frames, threads = geometry(plan.points, backward)
    return (
        *stage_template(plan),
        ("TIED", tied),
        ("FRAMES", frames),
        ("THREADS", threads),
    )
