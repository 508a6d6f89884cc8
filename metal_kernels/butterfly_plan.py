"""What is fixed about a butterfly: radices, order of inputs, shapes of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.twiddles import spans


class ButterflyPlan:
    """What is fixed about a butterfly: its radices and the order of its inputs.

    Args:
        radices: of the stages, innermost first; their product is the number of points.
        order: int [points]: the first stage reads ``x[order]``.

    Attributes:
        radices, points: as given, and the product.
        spans: points that each stage finds merged.
        order: as given, int32.
        place: its inverse, int32: where sample n goes.

    Raises:
        SpeechError: a radix below 2, or an order that is no permutation of the points.
    """

    def __init__(self, radices: Sequence[int], order: np.ndarray) -> None:
        self.radices = tuple(int(radix) for radix in radices)
        if not self.radices or min(self.radices) < 2:
            raise SpeechError(f"a butterfly cannot have the radices {self.radices}")
        self.points = prod(self.radices)
        self.spans = spans(self.radices)
        flat = np.ravel(order)
        if not np.array_equal(np.sort(flat), np.arange(self.points)):
            raise SpeechError(f"the permutation is none of 0 ... {self.points - 1}")
        self.order = mx.array(flat.astype(np.int32))
        self.place = mx.array(np.argsort(flat).astype(np.int32))

    @property
    def steps(self) -> tuple[int, ...]:
        """Stages as the kernels take them: 10 * radix + 1, or 22 for two of radix 2."""
        steps, stage = [], 0
        while stage < len(self.radices):
            if self.radices[stage : stage + 2] == (2, 2):
                steps.append(22)
                stage += 2
            else:
                steps.append(10 * self.radices[stage] + 1)
                stage += 1
        return tuple(steps)

    def block_shape(self, stage: int, tied: bool) -> tuple[int, int, int, int]:
        """Shape of a stage's blocks: [blocks, span, radix, radix]."""
        radix, span = self.radices[stage], self.spans[stage]
        return (1 if tied else self.points // (radix * span), span, radix, radix)


def flat_weights(
    weights: Sequence[mx.array], plan: ButterflyPlan, tied: bool
) -> mx.array:
    """Blocks of all stages as one vector, complex64; the inverse of `split_weights`.

    Args:
        weights: of every stage, as of `butterfly`; where some stages are tied and some
            are not, the former are repeated.
        plan: what they belong to.
        tied: all stages have one block for all their groups.
    """
    spread = [
        mx.broadcast_to(weight, plan.block_shape(stage, tied)).reshape(-1)
        for stage, weight in enumerate(weights)
    ]
    return mx.concatenate(spread)


def split_weights(flat: mx.array, plan: ButterflyPlan, tied: bool) -> list[mx.array]:
    """The blocks of every stage from their flat form."""
    blocks, start = [], 0
    for stage in range(len(plan.radices)):
        shape = plan.block_shape(stage, tied)
        blocks.append(flat[start : start + prod(shape)].reshape(shape))
        start += prod(shape)
    return blocks


def draw_butterfly(
    batch: int, dtype: mx.Dtype, plan: ButterflyPlan, tied: bool, seed: int
) -> tuple[mx.array, mx.array, mx.array]:
    """Random rows [batch, points], flat weights that keep their energy, a cotangent."""
    draw = np.random.default_rng(seed)

    def noise(*shape: int) -> np.ndarray:
        pair = draw.standard_normal((2, *shape))
        return pair[0] + 1j * pair[1]

    x = noise(batch, plan.points)
    stages = [
        noise(prod(plan.block_shape(stage, tied))) / (2 * radix) ** 0.5
        for stage, radix in enumerate(plan.radices)
    ]
    flat = mx.array(np.concatenate(stages).astype(np.complex64))
    cotangent = mx.array(noise(batch, plan.points).astype(np.complex64))
    if dtype == mx.complex64:
        return mx.array(x.astype(np.complex64)), flat, cotangent
    return mx.array(x.real.astype(np.float32)).astype(dtype), flat, cotangent
