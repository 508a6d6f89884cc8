"""Queries, keys and values of self-attention from one product, behind a layer norm.

What it means stands in ``fused_qkv_reference.py``. On Metal, a kernel computes it in
one launch where ``select.py`` finds that quicker: ``fused_qkv_decode.metal`` for a few
rows, ``fused_qkv_decode_4bit.metal`` for weights of 4 bits, ``fused_qkv_prefill.metal``
for many rows. Gradients are those of the reference, two matrix products of MLX.

Resources: decode 256 threads, 8 bytes of threadgroup memory a row and at most 32;
prefill 128 threads, 8,960 bytes.
Status: text-checked and CPU-emulated (Linux, x86-64); not CUDA-run, not Mac-run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import mlx.core as mx

from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.choices import KernelKey
from mlx_speech.metal_kernels.fused_qkv_launch import (
    PREFILL,
    kernel_digest,
    launch,
    suitable_kernel,
    variant_name,
)
from mlx_speech.metal_kernels.fused_qkv_reference import (
    HeadArrays,
    LayerNormWeights,
    Projection,
    fused_qkv_reference,
)
from mlx_speech.metal_kernels.fused_qkv_samples import self_check, time_sample


def fused_qkv(x_blc: mx.array, projection: Projection) -> HeadArrays:
    """Queries, keys and values, by a kernel or by MLX operations.

    Args:
        x_blc: [batch, length, channels], of floating point.
        projection: weights, heads, and the layer norm of ``x``, if any.

    Returns:
        Three arrays [batch, heads, length, head channels] in the dtype of ``x`` (where
        the weights have another, in that to which MLX promotes the two).

    Raises:
        SpeechError: shapes that do not fit each other, or an input that is not of
            floating point.
    """
    projection.check(x_blc)
    if select.kernels_are_possible():
        name = suitable_kernel(x_blc, projection)
        if name and _is_chosen(name, x_blc, projection):
            return fused_qkv_by_kernel(name, x_blc, projection)
    return fused_qkv_reference(x_blc, projection)


def fused_qkv_by_kernel(
    name: str, x_blc: mx.array, projection: Projection
) -> HeadArrays:
    """The same by the kernel ``name``, which has to be suitable; differentiable."""
    function = _differentiable(
        name,
        projection.n_heads,
        len(projection.weights),
        projection.bias is not None,
        None if projection.norm is None else projection.norm.epsilon,
        projection.bits,
        projection.group_size,
    )
    q, k, v = function(x_blc, *projection.weights, *projection.optional)
    return q, k, v


@functools.cache
def _differentiable(
    name: str,
    n_heads: int,
    n_weights: int,
    has_bias: bool,
    epsilon: float | None,
    bits: int,
    group_size: int,
) -> Callable[..., Any]:
    """A kernel as a function of arrays, with the gradient of the reference."""

    def bundle(weights: Sequence[mx.array], optional: Sequence[mx.array]) -> Projection:
        rest = list(optional)
        bias = rest.pop(0) if has_bias else None
        norm = None
        if epsilon is not None:
            weight, shift = rest
            norm = LayerNormWeights(weight, shift, epsilon)
        return Projection(tuple(weights), n_heads, bias, norm, bits, group_size)

    @mx.custom_function
    def by_kernel(x_blc: mx.array, *arrays: mx.array) -> HeadArrays:
        projection = bundle(arrays[:n_weights], arrays[n_weights:])
        return launch(name, x_blc, projection)

    @by_kernel.vjp
    def gradients(
        primals: Sequence[mx.array],
        cotangents: Sequence[mx.array],
        outputs: Sequence[mx.array],
    ) -> list[mx.array]:
        # Packed words have no gradient; all else is a float array.
        places = [i for i, a in enumerate(primals) if a.dtype != mx.uint32]

        def reference(*floats: mx.array) -> HeadArrays:
            arrays = list(primals)
            for place, array in zip(places, floats, strict=True):
                arrays[place] = array
            x_blc, *rest = arrays
            return fused_qkv_reference(
                x_blc, bundle(rest[:n_weights], rest[n_weights:])
            )

        # What the reference gives is not evaluated: only its gradients are asked for.
        _, found = mx.vjp(reference, [primals[i] for i in places], list(cotangents))
        by_place = dict(zip(places, found, strict=True))
        return [
            by_place[i] if i in by_place else mx.zeros_like(primal)
            for i, primal in enumerate(primals)
        ]

    return cast(Callable[..., Any], by_kernel)


def _is_chosen(name: str, x_blc: mx.array, projection: Projection) -> bool:
    rows = x_blc.shape[0] * x_blc.shape[1]
    if name == PREFILL:
        rows = 1 << (rows - 1).bit_length()  # one timing for all lengths up to this
    key = KernelKey(
        name,
        variant_name(x_blc, projection),
        (rows, projection.channels, projection.n_outputs),
        kernel_digest(name),
    )
    return select.use_kernel(
        key,
        lambda: self_check(
            name,
            x_blc.dtype,
            bias=projection.bias is not None,
            norm=projection.norm is not None,
            group_size=projection.group_size,
        ),
        lambda: time_sample(name, rows, projection, x_blc.dtype),
    )
