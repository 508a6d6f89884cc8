"""A butterfly, all stages in one call: the heart of the learned Fourier transform.

``butterfly_reference`` says in MLX operations what it means; ``butterfly`` computes it
by ``butterfly.metal`` where `select` finds that kernel right and faster, and its
gradients by ``butterfly_backward.metal``, chosen in the same way.

Dao et al., "Learning fast algorithms for linear transforms using butterfly
factorizations", 2019; stages as of Cooley & Tukey, 1965.

Resources: 32 to 256 threads, threadgroup memory 8 bytes a point and at most 16 KiB.
Status: text-checked and CPU-emulated (Linux, x86-64); not CUDA-run, not Mac-run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, cast

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.butterfly_launch import (
    BACKWARD,
    FORWARD,
    backward_launch,
    forward_launch,
    geometry,
    kernel_takes,
)
from mlx_speech.metal_kernels.butterfly_plan import (
    ButterflyPlan,
    draw_butterfly,
    flat_weights,
    split_weights,
)
from mlx_speech.metal_kernels.choices import KernelKey, Timing
from mlx_speech.metal_kernels.launch import digest, dtype_name

DTYPES = (mx.complex64, mx.float32, mx.float16, mx.bfloat16)
# Relative to the largest value. Against double precision 1.0e-7 to 2.5e-7 is seen; real
# inputs of fewer bits have gradients of as few.
TOLERANCES = {
    mx.complex64: 1e-6,
    mx.float32: 1e-6,
    mx.float16: 1e-3,
    mx.bfloat16: 5e-3,
}


def butterfly_reference(
    x: mx.array, weights: Sequence[mx.array], plan: ButterflyPlan, scale: float = 1.0
) -> mx.array:
    """The meaning of `butterfly`, in MLX operations; arguments and result as there."""
    # Batch innermost: a stage is one batched product with long rows.
    x_nb = x.reshape(-1, plan.points).T.astype(mx.complex64)
    batch = x_nb.shape[-1]
    y_nb = mx.take(x_nb, plan.order, axis=0)
    for weight in weights:
        span, radix = weight.shape[1], weight.shape[-1]
        groups = y_nb.reshape(-1, radix, span, batch).transpose(0, 2, 1, 3)
        y_nb = (weight @ groups).transpose(0, 2, 1, 3).reshape(plan.points, batch)
    return (y_nb * scale).T.reshape(x.shape)


def butterfly(
    x: mx.array, weights: Sequence[mx.array], plan: ButterflyPlan, scale: float = 1.0
) -> mx.array:
    """All stages of a butterfly over the last axis; differentiable in x and weights.

    Args:
        x: [..., points], complex64, float32, float16 or bfloat16.
        weights: blocks of every stage, innermost first, complex64
            [blocks, span, radix, radix] with axes (block, position in the span, output,
            input); blocks is points / (radix * span), or 1 for all groups.
        plan: radices and order of the inputs.
        scale: multiplies the result.

    Returns:
        complex64, of the shape of x.

    Raises:
        SpeechError: x or a weight has another shape or dtype.
    """
    _check(x, weights, plan)
    if select.kernels_are_possible() and kernel_takes(x, plan):
        tied = all(weight.shape[0] == 1 for weight in weights)
        rows = x.reshape(-1, plan.points)
        if _is_chosen(FORWARD.name, rows, plan, tied):
            function = butterfly_by_kernel(plan, tied, float(scale))
            flat = flat_weights(weights, plan, tied)
            return cast(mx.array, function(rows, flat)).reshape(x.shape)
    return butterfly_reference(x, weights, plan, scale)


@functools.lru_cache(maxsize=128)
def butterfly_by_kernel(plan: ButterflyPlan, tied: bool, scale: float) -> Any:
    """The same by ``butterfly.metal``, whatever ``select.py`` would choose.

    Args:
        plan: such as ``kernel_takes``.
        tied: all stages have one block for all their groups.
        scale: multiplies the result.

    Returns:
        A differentiable function of rows [batch, points] and the blocks in one vector
        (`flat_weights`).
    """

    @mx.custom_function
    def forward(x: mx.array, flat: mx.array) -> mx.array:
        factor = mx.array([scale], dtype=mx.float32)
        launch = forward_launch(x, plan, tied)
        return launch(FORWARD, [x, flat, plan.place, factor])[0]

    @forward.vjp
    def gradients(
        primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array
    ) -> tuple[mx.array, mx.array]:
        x, flat = primals
        by_kernel = _is_chosen(BACKWARD.name, x, plan, tied)
        compute = gradients_by_kernel if by_kernel else reference_gradients
        return compute(x, flat, cotangent, plan, tied, scale)

    return forward


def gradients_by_kernel(
    x: mx.array,
    flat: mx.array,
    cotangent: mx.array,
    plan: ButterflyPlan,
    tied: bool,
    scale: float,
    groups: int | None = None,
) -> tuple[mx.array, mx.array]:
    """Gradients for rows x and flat weights, by ``butterfly_backward.metal``.

    Args:
        x, cotangent: [batch, points].
        flat, plan, tied, scale: as of `butterfly_by_kernel`.
        groups: threadgroups that share the batch; None: as many as are useful.
    """
    factor = mx.array([scale], dtype=mx.float32)
    launch = backward_launch(x, plan, tied, groups)
    x_gradient, partial, _ = launch(BACKWARD, [x, flat, plan.place, cotangent, factor])
    summed = partial.sum(axis=0)
    if not tied:
        return x_gradient, summed
    stages = split_weights(summed, plan, tied=False)
    return x_gradient, mx.concatenate([each.sum(axis=0).reshape(-1) for each in stages])


def reference_gradients(
    x: mx.array,
    flat: mx.array,
    cotangent: mx.array,
    plan: ButterflyPlan,
    tied: bool,
    scale: float,
) -> tuple[mx.array, mx.array]:
    """The same gradients, by MLX through `butterfly_reference`."""

    def function(x: mx.array, flat: mx.array) -> mx.array:
        return butterfly_reference(x, split_weights(flat, plan, tied), plan, scale)

    # What the reference gives is not evaluated: only its gradients are asked for.
    _, (x_gradient, gradient) = mx.vjp(function, [x, flat], [cotangent])
    return x_gradient, gradient


def self_check(name: str, dtype: mx.Dtype, plan: ButterflyPlan, tied: bool) -> str:
    """Compare a kernel with MLX operations on a few rows; what differs, or "".

    Args:
        name: "butterfly" or "butterfly_backward".
        dtype: of x.
        plan, tied: what the kernel is compiled for.
    """
    # One row more than a threadgroup takes: the last one is not full, and in the
    # backward direction one threadgroup has two rounds.
    batch = geometry(plan.points)[0] + 1
    x, flat, cotangent = draw_butterfly(batch, dtype, plan, tied, seed=0)
    backward = name == BACKWARD.name
    found: Sequence[mx.array]
    expected: Sequence[mx.array]
    if backward:
        found = gradients_by_kernel(x, flat, cotangent, plan, tied, 0.5, groups=1)
    else:
        found = [butterfly_by_kernel(plan, tied, 0.5)(x, flat)]
    mx.eval(found)
    with mx.stream(mx.cpu):
        if backward:
            expected = reference_gradients(x, flat, cotangent, plan, tied, 0.5)
        else:
            blocks = split_weights(flat, plan, tied)
            expected = [butterfly_reference(x, blocks, plan, 0.5)]
        mx.eval(expected)
    # Only the gradient for x has as few bits as x.
    limits = (TOLERANCES[dtype if backward else mx.float32], TOLERANCES[mx.float32])
    for one, other, limit in zip(found, expected, limits, strict=False):
        if problem := select.difference([one], [other], limit):
            return problem
    return ""


def variant_name(dtype: mx.Dtype, plan: ButterflyPlan, tied: bool) -> str:
    """What a kernel is compiled for, in words."""
    radices = "*".join(map(str, plan.radices))
    return f"{dtype_name(dtype)} {radices} {'tied' if tied else 'untied'}"


def _is_chosen(name: str, x: mx.array, plan: ButterflyPlan, tied: bool) -> bool:
    # One timing for all batches up to the next power of two.
    batch = 1 << (x.shape[0] - 1).bit_length()
    text = FORWARD if name == FORWARD.name else BACKWARD
    key = KernelKey(
        name, variant_name(x.dtype, plan, tied), (batch, plan.points), digest(text)
    )
    return select.use_kernel(
        key,
        functools.partial(self_check, name, x.dtype, plan, tied),
        functools.partial(_timing, name, batch, x.dtype, plan, tied),
    )


def _timing(
    name: str, batch: int, dtype: mx.Dtype, plan: ButterflyPlan, tied: bool
) -> Timing:
    x, flat, cotangent = draw_butterfly(batch, dtype, plan, tied, seed=0)
    blocks = split_weights(flat, plan, tied)
    mx.eval(x, flat, blocks, cotangent)
    if name == BACKWARD.name:
        arguments = (x, flat, cotangent, plan, tied, 0.5)
        return select.time_both(
            lambda: gradients_by_kernel(*arguments),
            lambda: reference_gradients(*arguments),
        )
    return select.time_both(
        lambda: butterfly_by_kernel(plan, tied, 0.5)(
            x, flat_weights(blocks, plan, tied)
        ),
        lambda: butterfly_reference(x, blocks, plan, 0.5),
    )


def _check(x: mx.array, weights: Sequence[mx.array], plan: ButterflyPlan) -> None:
    if x.ndim == 0 or x.shape[-1] != plan.points:
        raise SpeechError(
            f"the last axis of {list(x.shape)} is not the {plan.points} points of the "
            "butterfly"
        )
    if x.dtype not in DTYPES:
        raise SpeechError(
            f"a butterfly does not take {dtype_name(x.dtype)}",
            "convert it to complex64, float32, float16 or bfloat16",
        )
    if len(weights) != len(plan.radices):
        raise SpeechError(
            f"{len(weights)} weights for the {len(plan.radices)} stages of a butterfly"
        )
    for stage, weight in enumerate(weights):
        full = plan.block_shape(stage, tied=False)
        if weight.shape not in (full, (1, *full[1:])) or weight.dtype != mx.complex64:
            raise SpeechError(
                f"the weights of stage {stage} are {dtype_name(weight.dtype)} "
                f"{list(weight.shape)}, not complex64 {list(full)} or "
                f"{[1, *full[1:]]}"
            )
