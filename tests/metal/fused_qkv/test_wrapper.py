"""The wrapper: which kernel takes what, refusals, self-check, choice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.choices import Timing
from mlx_speech.metal_kernels.fused_qkv import fused_qkv
from mlx_speech.metal_kernels.fused_qkv_launch import (
    DECODE,
    DECODE_4BIT,
    PREFILL,
    suitable_kernel,
    variant_name,
)
from mlx_speech.metal_kernels.fused_qkv_reference import (
    LayerNormWeights,
    Projection,
    fused_qkv_reference,
)
from mlx_speech.metal_kernels.fused_qkv_samples import (
    draw_input,
    draw_projection,
    self_check,
    time_sample,
)
from mlx_speech.metal_kernels.text import KernelText


def draw(
    shape: tuple[int, int, int],
    dtype: mx.Dtype = mx.float32,
    group_size: int = 0,
    heads: tuple[int, int] = (2, 4),
    bias: bool = True,
    norm: bool = True,
) -> tuple[mx.array, Projection]:
    projection = draw_projection(
        shape[2], *heads, dtype, bias=bias, norm=norm, group_size=group_size
    )
    return draw_input(shape, dtype), projection


@pytest.mark.parametrize(
    ("shape", "group_size", "expected"),
    [
        ((1, 1, 32), 0, DECODE),
        ((2, 4, 32), 0, DECODE),
        ((3, 3, 32), 0, PREFILL),
        ((1, 1, 30), 0, ""),
        ((3, 3, 30), 0, PREFILL),
        ((1, 1, 4), 0, ""),
        ((3, 3, 7), 0, ""),
        ((0, 4, 32), 0, ""),
        ((1, 8, 32), 32, DECODE_4BIT),
        ((1, 9, 32), 32, ""),
    ],
)
def test_rows_and_channels_decide_which_kernel(
    shape: tuple[int, int, int], group_size: int, expected: str
) -> None:
    assert suitable_kernel(*draw(shape, group_size=group_size)) == expected


def test_mixed_and_unknown_dtypes_are_left_to_mlx() -> None:
    x, projection = draw((1, 1, 32))
    assert suitable_kernel(x.astype(mx.float16), projection) == ""
    assert projection.bias is not None
    mixed = replace(projection, bias=projection.bias.astype(mx.float16))
    assert suitable_kernel(x, mixed) == ""
    x, projection = draw((1, 1, 32), mx.float16, group_size=32)
    wide = replace(
        projection,
        weights=(projection.weights[0], *(w.astype(mx.float32) for w in _tables(x))),
    )
    assert suitable_kernel(x, wide) == ""
    eight = mx.quantize(mx.ones((24, 32), mx.float16), 32, 8)
    assert suitable_kernel(x, replace(projection, weights=tuple(eight), bits=8)) == ""


def _tables(x: mx.array) -> list[mx.array]:
    return [mx.ones((24, 1), x.dtype)] * 2


def test_more_elements_than_indices_reach_are_left_to_mlx() -> None:
    x = mx.broadcast_to(mx.zeros((1, 1, 1)), (1, 2**21, 1024))
    weight = mx.broadcast_to(mx.zeros((1, 1)), (24, 1024))
    assert suitable_kernel(x, Projection((weight,), 2)) == ""
    assert suitable_kernel(x[:, :1000], Projection((weight,), 2)) == PREFILL


def spoilt(**changes: Any) -> tuple[mx.array, Projection]:
    x, projection = draw((2, 3, 32))
    x = changes.pop("x", x)
    return x, replace(projection, **changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (spoilt(x=mx.zeros((3, 32))), "not [3, 32]"),
        (spoilt(x=mx.zeros((1, 3, 32), mx.int32)), "not int32"),
        (spoilt(x=mx.zeros((1, 3, 31))), "does not fit an input of 31"),
        (spoilt(n_heads=3), "24 rows of a weight cannot be split"),
        (spoilt(n_heads=0), "of 0 heads"),
        (spoilt(weights=(mx.zeros((32,)),)), "two axes, not [1]"),
        (spoilt(bias=mx.zeros((23,))), "a bias [23] does not fit 24 rows"),
        (
            spoilt(norm=LayerNormWeights(mx.ones((32,)), mx.zeros((31,)))),
            "the bias [31] of a layer norm does not fit 32 channels",
        ),
        (
            spoilt(norm=LayerNormWeights(mx.ones((1, 32)), mx.zeros((32,)))),
            "the weight [1, 32] of a layer norm",
        ),
        (
            spoilt(weights=(mx.zeros((24, 4)),) * 3, bits=4, group_size=32),
            "uint32, not float32",
        ),
        (
            spoilt(
                weights=(mx.zeros((24, 4), mx.uint32), *[mx.zeros((24, 2))] * 2),
                bits=4,
                group_size=32,
            ),
            "[[24, 2], [24, 2]] do not fit 24 rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    call: tuple[mx.array, Projection], message: str
) -> None:
    with pytest.raises(SpeechError) as caught:
        fused_qkv(*call)
    assert message in caught.value.message


def test_variants_have_names() -> None:
    assert variant_name(*draw((1, 1, 32))) == "float32 norm bias"
    call = draw((1, 1, 32), mx.bfloat16, 32, bias=False, norm=False)
    assert variant_name(*call) == "bfloat16 groups of 32"


def test_without_metal_the_reference_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "auto")
    call = draw((2, 3, 32))
    for found, expected in zip(
        fused_qkv(*call), fused_qkv_reference(*call), strict=True
    ):
        assert mx.array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "group_size", "kernel"),
    [((2, 2, 32), 0, DECODE), ((2, 2, 32), 32, DECODE_4BIT), ((2, 9, 32), 0, PREFILL)],
)
def test_with_metal_a_checked_kernel_computes(
    shape: tuple[int, int, int],
    group_size: int,
    kernel: str,
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> None:
    call = draw(shape, group_size=group_size)
    with emulate.dropin(check=False) as launches:
        found = fused_qkv(*call)
        checked = len(launches.done) - 1
        again = fused_qkv(*call)
    assert checked > 1  # the self-check
    assert launches.names == [kernel] * (checked + 2)
    for one, two, expected in zip(found, again, exact(*call), strict=True):
        assert mx.array_equal(one, two)
        np.testing.assert_allclose(np.array(one), expected, atol=1e-5)


def negated(text: KernelText) -> KernelText:
    """A kernel that is wrong in its sign."""
    for word in ("(mine)", "(value)"):
        wrong = word.replace("(", "(-")
        source = text.source.replace(f"static_cast<T>{word}", f"static_cast<T>{wrong}")
        if source != text.source:
            return replace(text, source=source)
    raise AssertionError(text.name)


@pytest.mark.parametrize(
    ("shape", "group_size"), [((1, 1, 32), 0), ((1, 1, 32), 32), ((2, 9, 32), 0)]
)
def test_a_kernel_that_is_wrong_on_a_device_is_not_used(
    shape: tuple[int, int, int], group_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    call = draw(shape, group_size=group_size)
    with emulate.dropin(check=False, rewrite=negated) as launches:
        found = fused_qkv(*call)
        assert len(launches.done) == 1  # wrong at once
        fused_qkv(*call)
    assert len(launches.done) == 1
    for one, expected in zip(found, fused_qkv_reference(*call), strict=True):
        assert mx.array_equal(one, expected)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "batch 1, length" in caplog.text
    assert "the results differ by" in caplog.text


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize(("rows", "timed"), [(3, 3), (9, 16), (16, 16), (17, 32)])
def test_only_sizes_at_which_a_kernel_is_ahead_use_it(
    monkeypatch: pytest.MonkeyPatch, ahead: bool, rows: int, timed: int
) -> None:
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "auto")
    asked = []

    def timing(name: str, rows: int, like: Projection, dtype: mx.Dtype) -> Timing:
        asked.append((rows, like.channels, dtype))
        return Timing(1.0, 2.0) if ahead else Timing(2.0, 1.0)

    monkeypatch.setattr("mlx_speech.metal_kernels.fused_qkv.time_sample", timing)
    call = draw((1, rows, 32))
    with emulate.dropin(check=False) as launches:
        fused_qkv(*call)
        before = len(launches.done)
        fused_qkv(*call)
    assert len(launches.done) == before + ahead
    assert asked == [(timed, 32, mx.float32)]


def test_samples_have_the_sizes_that_are_timed() -> None:
    _, projection = draw((1, 1, 64), mx.float16, group_size=32)
    with emulate.dropin(check=False) as launches:
        timing = time_sample(DECODE_4BIT, 3, projection, mx.float16)
    assert timing.kernel > 0
    assert timing.operations > 0
    assert {launch.outcome.outputs[0].shape for launch in launches.done} == {
        (1, 2, 3, 4)
    }


def test_a_self_check_tries_every_number_of_rows() -> None:
    with emulate.dropin(check=False) as launches:
        assert self_check(DECODE, mx.float32, bias=True, norm=True) == ""
        blocks = {dict(done.generated.template)["BLOCK_ROWS"] for done in launches.done}
        assert blocks == {1, 2, 3, 4}
