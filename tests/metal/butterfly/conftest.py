"""Butterflies in double precision, point by point; launches of both kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.butterfly_launch import (
    BACKWARD,
    FORWARD,
    backward_launch,
    forward_launch,
    geometry,
)
from mlx_speech.metal_kernels.butterfly_plan import (
    ButterflyPlan,
    draw_butterfly,
    split_weights,
)
from mlx_speech.metal_kernels.launch import Launch
from mlx_speech.metal_kernels.text import KernelText

# Relative to the largest value; float32 and complex64 are one kind here.
TOLERANCES = {mx.float16: 1e-3, mx.bfloat16: 5e-3}
FLOAT_TOLERANCE = 5e-7
SCALE = 0.75


@dataclass(frozen=True)
class Stage:
    """Of every output point n of a stage: its block's numbers and the points it reads.

    Attributes:
        numbers: complex [points, radix].
        reads: int [points, radix].
        places: int [points, radix], where the numbers lie among the untied blocks.
    """

    numbers: np.ndarray
    reads: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Case:
    """Rows, blocks and cotangent of one butterfly, and what must come out."""

    plan: ButterflyPlan
    tied: bool
    x: mx.array
    flat: mx.array
    cotangent: mx.array

    @property
    def scale(self) -> mx.array:
        return mx.array([SCALE], dtype=mx.float32)

    @functools.cached_property
    def stages(self) -> list[Stage]:
        found = []
        blocks = split_weights(self.flat, self.plan, self.tied)
        n = np.arange(self.plan.points)
        for radix, span, block in zip(
            self.plan.radices, self.plan.spans, blocks, strict=True
        ):
            position, output = n % span, n // span % radix
            group = n // (span * radix)
            numbers = np.array(block).astype(np.complex128)
            numbers = numbers[0 if self.tied else group, position, output]
            inputs = np.arange(radix)
            reads = (n - output * span)[:, None] + inputs * span
            row = (group * span + position) * radix + output
            found.append(Stage(numbers, reads, row[:, None] * radix + inputs))
        return found

    @functools.cached_property
    def values(self) -> list[np.ndarray]:
        """What every stage reads, and the result without scale: [batch, points]."""
        points = np.array(self.x.astype(mx.complex64)).astype(np.complex128)
        points = points[:, np.array(self.plan.order)]
        found = [points]
        for stage in self.stages:
            points = np.einsum("nr,bnr->bn", stage.numbers, points[:, stage.reads])
            found.append(points)
        return found

    def result(self) -> np.ndarray:
        return SCALE * self.values[-1]

    @functools.cached_property
    def gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """Of x, and of all blocks in their flat form (tied ones summed up)."""
        cotangent = SCALE * np.array(self.cotangent).astype(np.complex128)
        sums = []
        read = self.values
        for index in reversed(range(len(self.stages))):
            stage = self.stages[index]
            products = cotangent[..., None] * read[index][:, stage.reads].conj()
            gradient = np.zeros(stage.places.size, np.complex128)
            gradient[stage.places.ravel()] = products.sum(axis=0).ravel()
            gradient = gradient.reshape(self.plan.block_shape(index, tied=False))
            if self.tied:
                gradient = gradient.sum(axis=0)
            sums.insert(0, gradient.ravel())
            back = np.zeros_like(cotangent)
            for p in range(stage.reads.shape[1]):
                for n in range(self.plan.points):
                    source = stage.reads[n, p]
                    back[:, source] += stage.numbers[n, p].conj() * cotangent[:, n]
            cotangent = back
        x_gradient = np.empty_like(cotangent)
        x_gradient[:, np.array(self.plan.order)] = cotangent
        if self.x.dtype != mx.complex64:
            x_gradient = x_gradient.real
        return x_gradient, np.concatenate(sums)

    @property
    def forward_inputs(self) -> list[mx.array]:
        return [self.x, self.flat, self.plan.place, self.scale]

    @property
    def backward_inputs(self) -> list[mx.array]:
        return [self.x, self.flat, self.plan.place, self.cotangent, self.scale]

    def check_text(self, text: KernelText) -> None:
        """Fails where Metal would refuse a text in place of one of the kernels."""
        if text.name == BACKWARD.name:
            inputs = self.backward_inputs
            launch = backward_launch(self.x, self.plan, self.tied)
        else:
            inputs = self.forward_inputs
            launch = forward_launch(self.x, self.plan, self.tied)
        dtypes, template = launch.output_dtypes, launch.template
        emulate.check_text(emulate.prepare(text, inputs, dtypes, template))

    def forward(self, text: KernelText = FORWARD, **options: Any) -> np.ndarray:
        """Run the forward kernel, or a text in its place."""
        launch = forward_launch(self.x, self.plan, self.tied)
        return _run(text, self.forward_inputs, launch, **options)[0]

    def backward(
        self, text: KernelText = BACKWARD, groups: int | None = 1, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the backward kernel; partial sums are added up in double precision."""
        launch = backward_launch(self.x, self.plan, self.tied, groups)
        x_gradient, partial, _ = _run(text, self.backward_inputs, launch, **options)
        summed, start, sums = partial.astype(np.complex128).sum(axis=0), 0, []
        for stage in range(len(self.plan.radices)):
            shape = self.plan.block_shape(stage, tied=False)
            part = summed[start : start + int(np.prod(shape))].reshape(shape)
            start += part.size
            sums.append((part.sum(axis=0) if self.tied else part).ravel())
        return x_gradient, np.concatenate(sums)

    def check_forward(self, text: KernelText = FORWARD, **options: Any) -> None:
        """Fails unless the kernel gives the result, and without a fault."""
        assert _error(self.forward(text, **options), self.result()) < FLOAT_TOLERANCE

    def check_backward(
        self, text: KernelText = BACKWARD, groups: int | None = 1, **options: Any
    ) -> None:
        """Fails unless the kernel gives the gradients, and without a fault."""
        found = self.backward(text, groups, **options)
        limit = TOLERANCES.get(self.x.dtype, FLOAT_TOLERANCE)
        for one, other, allowed in zip(
            found, self.gradients, (limit, FLOAT_TOLERANCE), strict=True
        ):
            assert _error(one, other) < allowed

    def moved(self, **arrays: mx.array) -> Case:
        """The same with other arrays."""
        return replace(self, **arrays)


def _run(
    text: KernelText, inputs: list[mx.array], launch: Launch, **options: Any
) -> list[np.ndarray]:
    return emulate.run(
        text,
        inputs,
        launch.grid,
        launch.threadgroup,
        launch.output_shapes,
        launch.output_dtypes,
        launch.template,
        **options,
    )


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _order(radices: tuple[int, ...]) -> np.ndarray:
    """Some order: digit reversal is tested where the transform is."""
    points = int(np.prod(radices))
    return np.random.default_rng(points).permutation(points)


@pytest.fixture(scope="session")
def butterfly_case() -> Callable[..., Case]:
    """Make a case; without a batch it has one row more than a threadgroup takes."""

    def make(
        radices: tuple[int, ...],
        tied: bool = False,
        dtype: mx.Dtype = mx.complex64,
        batch: int | None = None,
        seed: int = 0,
    ) -> Case:
        plan = ButterflyPlan(radices, _order(radices))
        rows = geometry(plan.points)[0] + 1 if batch is None else batch
        arrays = draw_butterfly(rows, dtype, plan, tied, seed)
        mx.eval(arrays)
        return Case(plan, tied, *arrays)

    return make
