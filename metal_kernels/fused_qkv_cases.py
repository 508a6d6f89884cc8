"""What to verify about the fused projection: every variant, gradients, real sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import mlx.core as mx

from mlx_speech.metal_kernels.cases import Call, KernelCase, on_cpu
from mlx_speech.metal_kernels.fused_qkv import fused_qkv_by_kernel
from mlx_speech.metal_kernels.fused_qkv_launch import (
    DECODE,
    DECODE_4BIT,
    FLOATS,
    PREFILL,
    variant_name,
)
from mlx_speech.metal_kernels.fused_qkv_reference import (
    HeadArrays,
    Projection,
    fused_qkv_reference,
)
from mlx_speech.metal_kernels.fused_qkv_samples import (
    TOLERANCES,
    draw_input,
    draw_projection,
    expected_values,
)

# Gradients are sums of as many products as there are rows or channels.
_GRADIENT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class _Sizes:
    """Of a case; ``group`` is 0 for weights that are not quantised."""

    batch: int
    length: int
    channels: int
    n_heads: int
    head_channels: int
    group: int = 0

    def __str__(self) -> str:
        rows = f"{self.batch} x {self.length} rows, {self.channels} channels"
        return f"{rows}, {self.n_heads} x {self.head_channels} heads"


_SMALL = {
    DECODE: (_Sizes(1, 1, 8, 1, 3), _Sizes(2, 3, 36, 3, 4)),
    DECODE_4BIT: tuple(_Sizes(1, 3, 2 * g, 3, 5, g) for g in (32, 64, 128)),
    PREFILL: (_Sizes(1, 9, 8, 1, 3), _Sizes(2, 21, 37, 3, 5)),
}
# Whisper tiny and large; Whisper's encoder has 1500 positions.
_REAL = {
    DECODE: (_Sizes(1, 1, 384, 6, 64), _Sizes(1, 1, 1280, 20, 64)),
    DECODE_4BIT: (_Sizes(1, 1, 384, 6, 64, 64), _Sizes(1, 1, 1280, 20, 64, 64)),
    PREFILL: (_Sizes(1, 1500, 384, 6, 64), _Sizes(1, 1500, 1280, 20, 64)),
}
# Norm and bias.
_OPTIONS = ((True, True), (False, False), (True, False), (False, True))
_REAL_DTYPES = (mx.float16, mx.float32)


def verification_cases() -> Iterator[KernelCase]:
    """Small cases of every variant, then gradients, then the sizes of real models."""
    for kernel, dtype in product(_SMALL, FLOATS):
        for sizes, (norm, bias) in product(_SMALL[kernel], _OPTIONS):
            # Single options meet no code of their own dtype: float32 stands for all.
            if norm == bias or dtype == mx.float32:
                yield _values(kernel, sizes, dtype, norm, bias)
    for kernel in _SMALL:
        yield _gradients(kernel, _SMALL[kernel][1])
    for kernel, dtype in product(_REAL, _REAL_DTYPES):
        for sizes in _REAL[kernel]:
            yield _values(kernel, sizes, dtype, norm=True, bias=True, timed=True)


def _values(
    kernel: str,
    sizes: _Sizes,
    dtype: mx.Dtype,
    norm: bool,
    bias: bool,
    timed: bool = False,
) -> KernelCase:
    x, projection = _draw(sizes, dtype, norm, bias)
    return KernelCase(
        kernel,
        variant_name(x, projection),
        str(sizes),
        "values",
        TOLERANCES[dtype],
        lambda: fused_qkv_by_kernel(kernel, x, projection),
        lambda: expected_values(x, projection),
        _rivals(x, projection) if timed else {},
    )


def _rivals(x: mx.array, projection: Projection) -> dict[str, Call]:
    """All of it by MLX operations, and its product alone on rows that are normed."""
    rivals: dict[str, Call] = {
        "MLX operations": lambda: fused_qkv_reference(x, projection)
    }
    if projection.bits:
        bits, group_size = projection.bits, projection.group_size
        packed, scales, offsets = projection.weights
        rivals["mx.quantized_matmul"] = lambda: [
            mx.quantized_matmul(
                x, packed, scales, offsets, group_size=group_size, bits=bits
            )
        ]
    else:
        weight, bias = projection.weights[0], projection.bias
        assert bias is not None
        rivals["mx.addmm"] = lambda: [mx.addmm(bias, x, weight.T)]
    return rivals


def _gradients(kernel: str, sizes: _Sizes) -> KernelCase:
    """Of the sum of squares of q, k and v, for the input and every float weight."""
    x, projection = _draw(sizes, mx.float32, norm=True, bias=True)
    packed = projection.weights[:1] if projection.bits else ()
    floats = [x, *projection.weights[len(packed) :], *projection.optional]

    def gradients(way: Callable[[mx.array, Projection], HeadArrays]) -> Call:
        def loss(arrays: list[mx.array]) -> mx.array:
            x, *weights, bias, gamma, beta = arrays
            assert projection.norm is not None
            changed = replace(
                projection,
                weights=(*packed, *weights),
                bias=bias,
                norm=replace(projection.norm, weight=gamma, bias=beta),
            )
            q, k, v = way(x, changed)
            return q.square().sum() + k.square().sum() + v.square().sum()

        def compute() -> Sequence[mx.array]:
            found: Sequence[mx.array] = mx.grad(loss)(floats)
            return found

        return compute

    return KernelCase(
        kernel,
        variant_name(x, projection),
        str(sizes),
        "gradients",
        _GRADIENT_TOLERANCE,
        gradients(functools.partial(fused_qkv_by_kernel, kernel)),
        on_cpu(gradients(fused_qkv_reference)),
    )


def _draw(
    sizes: _Sizes, dtype: mx.Dtype, norm: bool, bias: bool
) -> tuple[mx.array, Projection]:
    projection = draw_projection(
        sizes.channels,
        sizes.n_heads,
        sizes.head_channels,
        dtype,
        bias=bias,
        norm=norm,
        group_size=sizes.group,
    )
    return draw_input((sizes.batch, sizes.length, sizes.channels), dtype), projection
