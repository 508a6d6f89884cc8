"""Both kernels against double precision, over sizes, radices, dtypes and schedules."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from math import prod

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.butterfly_launch import (
    BACKWARD,
    FORWARD,
    backward_launch,
    forward_launch,
)
from mlx_speech.metal_kernels.emulate.oracle import mlx_text

# (radices, tied, dtype): the smallest, odd ones, all that the issue of the learned
# transform names, every radix at every place, and each dtype.
VARIANTS = [
    ((2, 2, 2), False, mx.complex64),
    ((3, 5), True, mx.complex64),
    ((3, 3, 5), False, mx.complex64),
    ((2, 3, 2, 2, 5), False, mx.complex64),
    ((2,) * 6, True, mx.complex64),
    ((2,) * 7, False, mx.complex64),
    ((2,) * 8, True, mx.complex64),
    ((2,) * 9, False, mx.complex64),
    ((2,) * 10, True, mx.complex64),
    ((2,) * 11, False, mx.complex64),
    ((4, 4, 5, 5), True, mx.complex64),
    ((4, 4, 2, 3, 5), False, mx.complex64),
    ((4, 4, 4, 3, 5), True, mx.complex64),
    ((2, 3, 2, 3, 2, 3, 2, 3), False, mx.complex64),
    ((4, 3, 4), False, mx.float32),
    ((4, 3, 4), True, mx.float16),
    ((4, 3, 4), False, mx.bfloat16),
    *[
        (radices, False, dtype)
        for radices in ((2, 2, 2), (3, 5), (2,) * 11)
        for dtype in (mx.float32, mx.float16, mx.bfloat16)
    ],
]
# Double precision goes through these point by point; the others have no step of another
# kind.
BACKWARD_VARIANTS = [v for v in VARIANTS if prod(v[0]) not in (128, 256)]


def label(variant: tuple[tuple[int, ...], bool, mx.Dtype]) -> str:
    radices, tied, dtype = variant
    kind = str(dtype).rpartition(".")[2]
    return f"{'*'.join(map(str, radices))}-{'tied' if tied else 'untied'}-{kind}"


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_values_equal_double_precision(
    variant: tuple, butterfly_case: Callable
) -> None:
    for seed in (0, 1):
        butterfly_case(*variant, seed=seed).check_forward(seed=seed)


@pytest.mark.parametrize("variant", BACKWARD_VARIANTS, ids=label)
def test_gradients_equal_double_precision(
    variant: tuple, butterfly_case: Callable
) -> None:
    # One threadgroup with two rounds, and then one per round.
    for seed, groups in ((0, 1), (1, None)):
        butterfly_case(*variant, seed=seed).check_backward(groups=groups, seed=seed)


@pytest.mark.parametrize("batch", [1, 17])
def test_batches_of_any_size(batch: int, butterfly_case: Callable) -> None:
    case = butterfly_case((2, 2, 2), batch=batch)
    case.check_forward()
    case.check_backward(groups=2)


def test_the_gradients_in_double_precision_are_those_of_finite_differences(
    butterfly_case: Callable,
) -> None:
    case = butterfly_case((2, 3), batch=2)

    def loss(x: np.ndarray, flat: np.ndarray) -> float:
        moved = case.moved(x=mx.array(x), flat=mx.array(flat))
        return float((np.array(case.cotangent).conj() * moved.result()).real.sum())

    x, flat = np.array(case.x), np.array(case.flat)
    # The loss is linear in each number, so that a large step is exact, and float32,
    # in which the case keeps its arrays, holds it.
    for array, gradient in zip((x, flat), case.gradients, strict=True):
        for place in np.ndindex(*array.shape):
            for direction in (1, 1j):
                kept = array[place]
                array[place] = kept + direction
                up = loss(x, flat)
                array[place] = kept - direction
                step = (up - loss(x, flat)) / 2
                array[place] = kept
                assert abs(step - (gradient[place] * np.conj(direction)).real) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_text_is_what_mlx_compiles_and_what_metal_takes(
    variant: tuple, butterfly_case: Callable
) -> None:
    case = butterfly_case(*variant)
    for text, launch, arrays in (
        (FORWARD, forward_launch(case.x, case.plan, case.tied), case.forward_inputs),
        (BACKWARD, backward_launch(case.x, case.plan, case.tied), case.backward_inputs),
    ):
        shapes, dtypes = launch.output_shapes, launch.output_dtypes
        generated = emulate.prepare(text, arrays, dtypes, launch.template)
        inputs = [(array.shape, array.dtype) for array in arrays]
        assert generated.text == mlx_text(text, inputs, shapes, dtypes, launch.template)
        emulate.check_text(generated)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("variant", [VARIANTS[9], VARIANTS[10]], ids=label)
def test_the_text_compiles_as_cuda_within_its_resources(
    variant: tuple, butterfly_case: Callable
) -> None:
    case = butterfly_case(*variant)
    for text, launch, arrays, registers in (
        # A hint only: an Apple core has room for 128 registers of 256 threads, and for
        # 208 of the 128 threads that the backward kernel takes at most.
        (
            FORWARD,
            forward_launch(case.x, case.plan, case.tied),
            case.forward_inputs,
            128,
        ),
        (
            BACKWARD,
            backward_launch(case.x, case.plan, case.tied),
            case.backward_inputs,
            208,
        ),
    ):
        generated = emulate.prepare(text, arrays, launch.output_dtypes, launch.template)
        used = emulate.compile_cuda(generated)
        assert used.spilled_bytes == 0
        assert used.registers <= registers


@pytest.mark.parametrize("points", [8, 15, 64, 400, 1024, 2048])
def test_resources_are_as_stated(points: int, butterfly_case: Callable) -> None:
    radices = {8: (2, 2, 2), 15: (3, 5), 400: (4, 4, 5, 5)}
    case = butterfly_case(radices.get(points, (2,) * (points.bit_length() - 1)))
    for launch in (
        forward_launch(case.x, case.plan, case.tied),
        backward_launch(case.x, case.plan, case.tied),
    ):
        assert launch.threadgroup_bytes <= 16 * 1024
        assert launch.threadgroup[0] in range(32, 257, 32)
        assert launch.grid[0] % launch.threadgroup[0] == 0
    assert launch.threadgroup[0] <= 128
