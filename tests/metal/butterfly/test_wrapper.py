"""The wrapper as users call it: through the choice, with gradients, in a transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers
import numpy as np
import pytest

from mlx_speech.butterfly import ButterflyFFT, MonarchFFT
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.butterfly import (
    butterfly,
    butterfly_reference,
    self_check,
)
from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan, split_weights
from mlx_speech.metal_kernels.emulate import dropin


@pytest.fixture(autouse=True)
def fresh_choices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels are used wherever they can be, and no earlier finding counts."""
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "on")
    select.forget()


def relative(found: mx.array, expected: mx.array) -> float:
    gap = mx.max(mx.abs(found.astype(mx.complex64) - expected.astype(mx.complex64)))
    return float(gap / mx.max(mx.abs(expected)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [mx.complex64, mx.float32])
def test_values_and_gradients_are_those_of_the_operations(
    tied: bool, dtype: mx.Dtype, butterfly_case: Callable
) -> None:
    case = butterfly_case((3, 5), tied, dtype)
    blocks = split_weights(case.flat, case.plan, tied)

    def loss(compute: Callable) -> Callable:
        def of(x: mx.array, blocks: list[mx.array]) -> mx.array:
            y = compute(x[None], blocks, case.plan, 0.75)[0]
            return mx.sum(mx.abs(y - case.cotangent) ** 2)

        return mx.value_and_grad(of, argnums=(0, 1))

    with dropin() as launches:
        value, (x_gradient, block_gradients) = loss(butterfly)(case.x, blocks)
        mx.eval(value, x_gradient, block_gradients)
    # Each kernel was checked before its first use.
    assert launches.names == ["butterfly"] * 2 + ["butterfly_backward"] * 2
    expected, (x_expected, blocks_expected) = loss(butterfly_reference)(case.x, blocks)
    assert abs(float(value / expected) - 1) < 1e-6
    assert relative(x_gradient, x_expected) < 1e-6
    assert x_gradient.dtype == dtype
    for found, other in zip(block_gradients, blocks_expected, strict=True):
        assert found.shape == other.shape
        assert relative(found, other) < 1e-6


def test_some_stages_tied(butterfly_case: Callable) -> None:
    tied = butterfly_case((3, 5), tied=True)
    untied = butterfly_case((3, 5), tied=False)
    blocks = [
        split_weights(tied.flat, tied.plan, True)[0],
        split_weights(untied.flat, tied.plan, False)[1],
    ]
    with dropin() as launches:
        y = butterfly(tied.x, blocks, tied.plan)
        mx.eval(y)
    assert "butterfly" in launches.names
    assert relative(y, butterfly_reference(tied.x, blocks, tied.plan)) < 1e-6


def train(transform: ButterflyFFT, steps: int) -> list[float]:
    """A few steps of Adam towards the exact transform, from random blocks."""
    draw = np.random.default_rng(0)
    optimiser = mlx.optimizers.Adam(learning_rate=0.03)
    losses = []
    for _ in range(steps):
        x = draw.standard_normal((6, transform.n)).astype(np.float32)
        y = mx.array(np.fft.rfft(x).astype(np.complex64))
        x = mx.array(x)

        def loss(model: ButterflyFFT, x: mx.array = x, y: mx.array = y) -> mx.array:
            return mx.mean(mx.abs(model(x) - y) ** 2)

        value, gradients = nn.value_and_grad(transform, loss)(transform)
        optimiser.update(transform, gradients)
        mx.eval(transform.parameters(), optimiser.state)
        losses.append(float(value))
    return losses


@pytest.mark.parametrize(
    ("parameterization", "tied"), [("full", False), ("phase", True)]
)
def test_the_learned_fft_trains_and_infers_as_by_operations(
    parameterization: str, tied: bool
) -> None:
    def made() -> ButterflyFFT:
        return ButterflyFFT(
            32, parameterization=parameterization, tied=tied, init="haar", real=True
        )

    by_kernels, by_operations = made(), made()
    with dropin() as launches:
        losses = train(by_kernels, 4)
        x = mx.array(np.random.default_rng(1).standard_normal((3, 32)).astype("f4"))
        y = by_kernels(x)
        mx.eval(y)
    assert launches.names.count("butterfly") == 1 + 4 + 1
    assert launches.names.count("butterfly_backward") == 1 + 4
    expected = train(by_operations, 4)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert relative(y, by_operations(x)) < 1e-5


def test_other_sizes_are_computed_by_operations() -> None:
    x = mx.array(np.random.default_rng(0).standard_normal((2, 64)).astype("f4"))
    exact = np.fft.fft(np.array(x))
    with dropin() as launches:
        for transform in (
            MonarchFFT(64),
            ButterflyFFT(64, (2, 4, 8)),
            ButterflyFFT(64, (64,)),
        ):
            np.testing.assert_allclose(np.array(transform(x)), exact, atol=2e-5)
        assert np.array(ButterflyFFT(4)(x[:, :4])).shape == (2, 4)
    assert launches.names == []


def test_without_metal_the_operations_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_SPEECH_KERNELS")
    x = mx.array(np.random.default_rng(0).standard_normal((2, 64)).astype("f4"))
    y = ButterflyFFT(64)(x)
    np.testing.assert_allclose(np.array(y), np.fft.fft(np.array(x)), atol=2e-5)


@pytest.mark.parametrize("name", ["butterfly", "butterfly_backward"])
@pytest.mark.parametrize("dtype", [mx.complex64, mx.float16])
def test_self_check_passes_and_finds_a_wrong_kernel(
    name: str, dtype: mx.Dtype, butterfly_case: Callable
) -> None:
    plan = butterfly_case((3, 5)).plan
    with dropin():
        assert self_check(name, dtype, plan, False) == ""

    def breaks(text):  # type: ignore[no-untyped-def]

        return replace(
            text, source=text.source.replace("* scale[0]", "* scale[0] * 1.00001f")
        )

    with dropin(rewrite=breaks):
        assert "differ" in self_check(name, dtype, plan, False)


def test_wrong_arguments_are_explained(butterfly_case: Callable) -> None:
    case = butterfly_case((3, 5))
    blocks = split_weights(case.flat, case.plan, False)
    with pytest.raises(SpeechError, match="not the 15 points"):
        butterfly(case.x[:, :14], blocks, case.plan)
    with pytest.raises(SpeechError, match="int32"):
        butterfly(mx.zeros((2, 15), mx.int32), blocks, case.plan)
    with pytest.raises(SpeechError, match="1 weights for the 2 stages"):
        butterfly(case.x, blocks[:1], case.plan)
    with pytest.raises(SpeechError, match="stage 1 are complex64"):
        butterfly(case.x, [blocks[0], blocks[1][:, :2]], case.plan)
    with pytest.raises(SpeechError, match="stage 0 are float32"):
        butterfly(case.x, [mx.real(blocks[0]), blocks[1]], case.plan)
    with pytest.raises(SpeechError, match="permutation is none of"):
        ButterflyPlan((3, 5), np.zeros(15, int))
    with pytest.raises(SpeechError, match="cannot have the radices"):
        ButterflyPlan((), np.zeros(0, int))
