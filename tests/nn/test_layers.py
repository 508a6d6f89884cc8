"""The convolution modules: parameters, initial values, what they compute."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.nn.conv import conv1d, conv_transpose1d, period_conv
from mlx_speech.nn.layers import Conv1d, ConvTranspose1d, PeriodConv2d


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in tree_flatten(module.parameters())}


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        (Conv1d(8, 6, 5), {"weight": (6, 5, 8), "bias": (6,)}),
        (Conv1d(8, 6, 5, bias=False), {"weight": (6, 5, 8)}),
        (
            Conv1d(8, 6, 5, groups=2, weight_norm=True),
            {"weight_g": (6, 1, 1), "weight_v": (6, 5, 4), "bias": (6,)},
        ),
        (ConvTranspose1d(8, 6, 4, 2), {"weight": (6, 4, 8), "bias": (6,)}),
        (
            ConvTranspose1d(8, 6, 4, 2, bias=False, weight_norm=True),
            {"weight_g": (1, 1, 8), "weight_v": (6, 4, 8)},
        ),
        (
            PeriodConv2d(8, 6, 5, 3, 2),
            {"weight_g": (6, 1, 1, 1), "weight_v": (6, 5, 1, 8), "bias": (6,)},
        ),
        (
            PeriodConv2d(8, 6, 5, 3, 2, weight_norm=False),
            {"weight": (6, 5, 1, 8), "bias": (6,)},
        ),
    ],
)
def test_parameters_have_their_names_and_layout(
    module: nn.Module, wanted: dict[str, tuple[int, ...]]
) -> None:
    assert shapes(module) == wanted


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda wn: Conv1d(48, 64, 5, groups=2, weight_norm=wn), 24 * 5),
        (lambda wn: ConvTranspose1d(64, 48, 4, 2, weight_norm=wn), 48 * 4),
        (lambda wn: PeriodConv2d(48, 64, 5, 3, 2, weight_norm=wn), 48 * 5),
    ],
    ids=["Conv1d", "ConvTranspose1d", "PeriodConv2d"],
)
@pytest.mark.parametrize("weight_norm", [False, True])
def test_initial_values_are_uniform_within_the_fan_in(
    make: object, fan_in: int, weight_norm: bool
) -> None:
    mx.random.seed(0)
    module = make(weight_norm)  # type: ignore[operator]
    bound = fan_in**-0.5
    weight = np.array(module.effective_weight())
    assert 0.99 * bound < np.abs(weight).max() <= bound * 1.00001
    assert abs(weight.std() / bound - 3**-0.5) < 0.02
    assert np.abs(np.array(module.bias)).max() <= bound
    if weight_norm:
        np.testing.assert_allclose(weight, np.array(module.weight_v), atol=1e-7)


def test_the_same_seed_gives_the_same_layer() -> None:
    layers = []
    for _ in range(2):
        mx.random.seed(11)
        layers.append(Conv1d(4, 4, 3))
    assert mx.array_equal(layers[0].weight, layers[1].weight)


def test_layers_compute_the_functions_plus_bias() -> None:
    x = mx.random.normal((2, 30, 8), key=mx.random.key(0))
    plain = Conv1d(8, 6, 3, stride=2, padding=1, dilation=1, groups=2)
    wanted = conv1d(x, plain.weight, 2, 1, 1, 2) + plain.bias
    assert mx.array_equal(plain(x), wanted)
    up = ConvTranspose1d(8, 6, 4, 2, 1)
    wanted = conv_transpose1d(x, up.weight, 2, 1) + up.bias
    assert mx.array_equal(up(x), wanted)
    x_bhwc = x.reshape(2, 10, 3, 8)
    period = PeriodConv2d(8, 6, 5, 3, 2, weight_norm=False)
    wanted = period_conv(x_bhwc, period.weight, 3, 2) + period.bias
    assert mx.array_equal(period(x_bhwc), wanted)


def test_without_a_bias_zeros_stay_zeros() -> None:
    layer = Conv1d(8, 6, 3, padding=1, bias=False, weight_norm=True)
    assert mx.abs(layer(mx.zeros((1, 9, 8)))).max().item() == 0


def test_length_and_direction_are_read_at_every_forward_pass() -> None:
    """Doubling g doubles the output; doubling v changes nothing."""
    for layer, axis in (
        (Conv1d(8, 6, 3, bias=False, weight_norm=True), 0),
        (ConvTranspose1d(8, 6, 4, 2, bias=False, weight_norm=True), 2),
    ):
        x = mx.random.normal((1, 9, 8), key=mx.random.key(1))
        before = layer(x)
        layer.weight_v = layer.weight_v * 2
        np.testing.assert_allclose(np.array(layer(x)), np.array(before), atol=1e-6)
        layer.weight_g = layer.weight_g * 2
        np.testing.assert_allclose(np.array(layer(x)), 2 * np.array(before), atol=1e-5)
        others = tuple(i for i in range(3) if i != axis)
        lengths = np.sqrt((np.array(layer.effective_weight()) ** 2).sum(others))
        np.testing.assert_allclose(lengths, np.array(layer.weight_g).reshape(-1), 1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv1d(8, 6, 3, dilation=2, weight_norm=True), (2, 20, 8)),
        (ConvTranspose1d(8, 6, 16, 8, 4, weight_norm=True), (2, 20, 8)),
        (PeriodConv2d(8, 6, 5, 3, 2), (2, 20, 3, 8)),
    ],
    ids=["Conv1d", "ConvTranspose1d", "PeriodConv2d"],
)
def test_every_parameter_gets_a_gradient(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    x = mx.random.normal(shape, key=mx.random.key(2))
    grads = nn.value_and_grad(layer, lambda x_: mx.square(layer(x_)).sum())(x)[1]
    for name, gradient in tree_flatten(grads):
        assert np.abs(np.array(gradient)).max() > 1e-3, name


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(SpeechError, match=r"8 input and 6 output .* 4 groups"):
        Conv1d(8, 6, 3, groups=4)


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(SpeechError, match=r"6 x 8 channels in 1 groups .* 7 channels"):
        Conv1d(8, 6, 3)(mx.zeros((1, 9, 7)))
    with pytest.raises(SpeechError, match="6 x 8 channels"):
        ConvTranspose1d(8, 6, 4, 2)(mx.zeros((1, 9, 7)))
    with pytest.raises(SpeechError, match="6 x 8 channels"):
        PeriodConv2d(8, 6, 5, 3, 2)(mx.zeros((1, 9, 2, 7)))
