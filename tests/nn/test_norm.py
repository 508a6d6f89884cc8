"""Weight norm, its spellings in a checkpoint, and the channel layer norm."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn.norm import (
    FUSED,
    PARAMETRIZED,
    WEIGHT_G_V,
    ChannelLayerNorm,
    conv_from_torch,
    conv_to_torch,
    weight_norm,
)

RNG = np.random.default_rng(3)
SPELLINGS = pytest.mark.parametrize("spelling", [FUSED, WEIGHT_G_V, PARAMETRIZED])


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def norm_by_slices(v: np.ndarray, g: np.ndarray, axis: int) -> np.ndarray:
    """The definition, one slice along ``axis`` at a time."""
    w = np.empty_like(v, dtype=np.float64)
    for i in range(v.shape[axis]):
        part = np.take(v, i, axis).astype(np.float64)
        index = [slice(None)] * v.ndim
        index[axis] = i
        w[tuple(index)] = part * g.reshape(-1)[i] / np.linalg.norm(part)
    return w


@pytest.mark.parametrize(
    ("shape", "axis"), [((6, 5, 4), 0), ((6, 5, 4), 2), ((6, 5, 1, 4), 0)]
)
def test_weight_norm_gives_every_slice_its_length(
    shape: tuple[int, ...], axis: int
) -> None:
    v = numbers(*shape)
    g_shape = [size if i == axis else 1 for i, size in enumerate(shape)]
    g = numbers(*g_shape)
    got = np.array(weight_norm(mx.array(v), mx.array(g), axis))
    np.testing.assert_allclose(got, norm_by_slices(v, g, axis), rtol=1e-5, atol=1e-6)


def test_the_gradient_of_weight_norm_equals_finite_differences() -> None:
    v, g, slope = numbers(3, 2, 4), numbers(3, 1, 1), numbers(3, 2, 4)

    def loss(v_: mx.array, g_: mx.array) -> mx.array:
        return (weight_norm(v_, g_, 0) * mx.array(slope)).sum()

    grads = mx.grad(loss, argnums=(0, 1))(mx.array(v), mx.array(g))
    step = 1e-4
    for which, (values, grad) in enumerate(zip((v, g), grads, strict=True)):
        for index in np.ndindex(*values.shape):
            ends = []
            for sign in (1, -1):
                moved = [v.astype(np.float64), g.astype(np.float64)]
                moved[which][index] += sign * step
                ends.append((norm_by_slices(moved[0], moved[1], 0) * slope).sum())
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert abs(np.array(grad)[index] - numeric) < 1e-3


# PyTorch's shape, its axes seen from MLX's layout, and the axis of the lengths there.
LAYOUTS = pytest.mark.parametrize(
    ("torch_shape", "axes", "transposed", "length_axis"),
    [
        pytest.param((6, 4, 5), (0, 2, 1), False, 0, id="Conv1d"),
        pytest.param((6, 4, 5, 1), (0, 2, 3, 1), False, 0, id="Conv2d"),
        pytest.param((4, 6, 5), (1, 2, 0), True, 2, id="ConvTranspose1d"),
    ],
)


def torch_entries(
    shape: tuple[int, ...], spelling: tuple[str, ...], v: np.ndarray, g: np.ndarray
) -> dict[str, mx.array]:
    if spelling == FUSED:
        return {"weight": mx.array(norm_by_slices(v, g, 0).astype(np.float32))}
    return {spelling[0]: mx.array(g), spelling[1]: mx.array(v)}


@SPELLINGS
@LAYOUTS
@pytest.mark.parametrize("normalised", [True, False])
def test_every_spelling_gives_the_same_convolution(
    spelling: tuple[str, ...],
    torch_shape: tuple[int, ...],
    axes: tuple[int, ...],
    transposed: bool,
    length_axis: int,
    normalised: bool,
) -> None:
    v = numbers(*torch_shape)
    g = np.abs(numbers(torch_shape[0], *[1] * (len(torch_shape) - 1)))
    wanted = norm_by_slices(v, g, 0).transpose(axes)
    entries = torch_entries(torch_shape, spelling, v, g)
    bias = mx.array(numbers(6))
    read = conv_from_torch(
        entries | {"bias": bias}, transposed=transposed, weight_norm=normalised
    )
    assert mx.array_equal(read["bias"], bias)
    if normalised:
        assert set(read) == {"weight_g", "weight_v", "bias"}
        assert read["weight_g"].size == torch_shape[0] == wanted.shape[length_axis]
        got = weight_norm(read["weight_v"], read["weight_g"], length_axis)
    else:
        assert set(read) == {"weight", "bias"}
        got = read["weight"]
    np.testing.assert_allclose(np.array(got), wanted, rtol=1e-5, atol=1e-6)


@SPELLINGS
@LAYOUTS
def test_writing_gives_back_what_was_read(
    spelling: tuple[str, ...],
    torch_shape: tuple[int, ...],
    axes: tuple[int, ...],
    transposed: bool,
    length_axis: int,
) -> None:
    v = numbers(*torch_shape)
    g = np.abs(numbers(torch_shape[0], *[1] * (len(torch_shape) - 1)))
    entries = torch_entries(torch_shape, spelling, v, g) | {"bias": mx.zeros((6,))}
    read = conv_from_torch(entries, transposed=transposed, weight_norm=True)
    written = conv_to_torch(read, transposed=transposed, spelling=spelling)
    assert set(written) == set(entries)
    for name, array in entries.items():
        np.testing.assert_allclose(
            np.array(written[name]), np.array(array), rtol=1e-5, atol=1e-6
        )


def test_a_plain_weight_can_be_written_as_length_and_direction() -> None:
    weight = mx.array(numbers(6, 5, 4))
    written = conv_to_torch({"weight": weight}, transposed=False, spelling=WEIGHT_G_V)
    lengths = np.linalg.norm(np.array(weight).reshape(6, -1), axis=1)
    got = np.array(written["weight_g"]).reshape(-1)
    np.testing.assert_allclose(got, lengths, rtol=1e-6)
    assert written["weight_g"].shape == (6, 1, 1)


G, V = mx.ones((6, 1, 1)), mx.ones((6, 4, 5))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"weight_g": G}, "weight_v is missing beside weight_g"),
        ({"bias": mx.ones((6,)), "weight_v": V}, "weight_g is missing"),
        ({"bias": mx.ones((6,))}, "there 0 times among bias"),
        ({}, "there 0 times among no entries"),
        ({"weight": V, "weight_g": G, "weight_v": V}, "there 2 times"),
        ({"weight": V, "running_mean": G}, "no entry called running_mean"),
        ({"weight": mx.ones((6, 4))}, "weight has 2 axes"),
    ],
)
def test_entries_that_make_no_convolution_are_refused(
    entries: dict[str, mx.array], message: str
) -> None:
    with pytest.raises(SpeechError, match=message) as refusal:
        conv_from_torch(entries, transposed=False, weight_norm=True)
    assert refusal.value.hint


def test_a_transposed_convolution_has_three_axes() -> None:
    with pytest.raises(SpeechError, match="which no transposed convolution here has"):
        conv_from_torch(
            {"weight": mx.ones((6, 4, 5, 1))}, transposed=True, weight_norm=False
        )


def test_channel_layer_norm_equals_numpy() -> None:
    x = numbers(2, 7, 12) * 3 + 1
    layer = ChannelLayerNorm(12)
    assert set(layer.parameters()) == {"gamma", "beta"}
    layer.gamma, layer.beta = mx.array(numbers(12)), mx.array(numbers(12))
    exact = x.astype(np.float64)
    centred = exact - exact.mean(-1, keepdims=True)
    wanted = centred / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    wanted = wanted * np.array(layer.gamma) + np.array(layer.beta)
    np.testing.assert_allclose(np.array(layer(mx.array(x))), wanted, atol=1e-5)


def test_channel_layer_norm_uses_its_eps() -> None:
    x = numbers(1, 2, 4) * 1e-3
    exact = x.astype(np.float64)
    centred = exact - exact.mean(-1, keepdims=True)
    wanted = centred / np.sqrt(exact.var(-1, keepdims=True) + 0.1)
    got = np.array(ChannelLayerNorm(4, eps=0.1)(mx.array(x)))
    np.testing.assert_allclose(got, wanted, atol=1e-7)


def test_channel_layer_norm_refuses_other_channels() -> None:
    with pytest.raises(SpeechError, match="has 12 channels and the input 7"):
        ChannelLayerNorm(12)(mx.zeros((2, 12, 7)))
