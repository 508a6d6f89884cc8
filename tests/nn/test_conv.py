"""Convolutions: both ways of computing them, against loops in numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn.conv import (
    ConvShape,
    choose,
    conv1d,
    conv_transpose1d,
    current_device,
    period_conv,
)

Function = Callable[[mx.array, mx.array], mx.array]

# batch, time, channels, out, kernel, stride, padding, dilation, groups
PLAIN = {
    "one tap": (2, 19, 8, 12, 1, 1, 0, 1, 1),
    "wavenet": (2, 31, 8, 16, 5, 1, 4, 2, 1),
    "resblock, dilation 5": (1, 80, 8, 8, 11, 1, 25, 5, 1),
    "no padding": (2, 23, 4, 6, 3, 1, 0, 3, 1),
    "one channel in": (2, 64, 1, 16, 15, 1, 7, 1, 1),
    "one channel out": (2, 64, 8, 1, 7, 1, 3, 1, 1),
    "stride 2": (2, 31, 6, 4, 3, 2, 1, 1, 1),
    "stride 3, dilation 2": (1, 40, 6, 4, 5, 3, 2, 2, 1),
    "stride over the kernel": (2, 30, 4, 4, 2, 5, 0, 1, 1),
    "scale discriminator g4": (2, 101, 16, 64, 41, 4, 20, 1, 4),
    "scale discriminator g16": (1, 64, 64, 256, 41, 4, 20, 1, 16),
    "scale discriminator g64": (1, 30, 256, 512, 41, 4, 20, 1, 64),
    "scale discriminator g256": (1, 17, 1024, 1024, 41, 4, 20, 1, 256),
    "groups, dilation": (2, 26, 8, 12, 3, 1, 3, 3, 4),
    "groups, stride and dilation": (2, 26, 8, 12, 3, 2, 3, 3, 4),
    "depthwise": (2, 27, 12, 12, 3, 1, 9, 9, 12),
    "depthwise, stride 2": (2, 27, 12, 12, 3, 2, 1, 1, 12),
    "depthwise, two outputs each": (2, 27, 6, 12, 3, 1, 1, 1, 6),
    "input shorter than the kernel": (2, 3, 4, 4, 7, 1, 3, 1, 1),
}
# batch, time, channels, out, kernel, stride, padding
TRANSPOSED = {
    "16/8": (2, 13, 8, 4, 16, 8, 4),
    "16/10": (2, 13, 8, 4, 16, 10, 3),
    "8/2": (1, 25, 16, 8, 8, 2, 3),
    "4/2": (2, 25, 8, 4, 4, 2, 1),
    "2/2": (2, 25, 8, 4, 2, 2, 0),
    "few rows for many channels": (1, 5, 32, 8, 16, 8, 4),
    "few rows, kernel not a multiple": (1, 5, 32, 8, 16, 10, 3),
    "kernel under the stride": (2, 9, 8, 4, 3, 5, 0),
    "stride 1": (2, 9, 8, 4, 3, 1, 1),
    "one frame": (1, 1, 8, 4, 16, 8, 4),
}
# batch, frames, period, channels, out, kernel, stride, padding
PERIOD = {
    "first layer": (2, 41, 2, 1, 32, 5, 3, 2),
    "middle layer": (2, 20, 3, 16, 16, 5, 3, 2),
    "fifth layer": (1, 7, 11, 16, 16, 5, 1, 2),
    "last layer": (2, 9, 5, 16, 1, 3, 1, 1),
}


def plain(case: tuple[int, ...], mode: str) -> Function:
    _, _, _, _, _, stride, padding, dilation, groups = case
    return lambda x, w: conv1d(x, w, stride, padding, dilation, groups, mode=mode)


def transposed(case: tuple[int, ...], mode: str) -> Function:
    return lambda x, w: conv_transpose1d(x, w, case[5], case[6], mode=mode)


def period(case: tuple[int, ...], mode: str) -> Function:
    return lambda x, w: period_conv(x, w, case[6], case[7], mode=mode)


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def plain_arrays(case: tuple[int, ...]) -> list[np.ndarray]:
    batch, time, channels, out, kernel, *_, groups = case
    return arrays((batch, time, channels), (out, kernel, channels // groups))


def transposed_arrays(case: tuple[int, ...]) -> list[np.ndarray]:
    batch, time, channels, out, kernel, _, _ = case
    return arrays((batch, time, channels), (out, kernel, channels))


def period_arrays(case: tuple[int, ...]) -> list[np.ndarray]:
    batch, frames, width, channels, out, kernel, _, _ = case
    return arrays((batch, frames, width, channels), (out, kernel, 1, channels))


def conv1d_by_loops(
    x: np.ndarray, w: np.ndarray, stride: int, padding: int, dilation: int, groups: int
) -> np.ndarray:
    """The definition, in float64, with torch's formula for the output's length."""
    x = np.pad(x.astype(np.float64), [(0, 0), (padding, padding), (0, 0)])
    out, kernel, width = w.shape
    frames = (x.shape[1] - dilation * (kernel - 1) - 1) // stride + 1
    y = np.zeros((x.shape[0], frames, out))
    per_group = out // groups
    for frame in range(frames):
        for tap in range(kernel):
            seen = x[:, frame * stride + tap * dilation]
            for group in range(groups):
                rows = slice(group * per_group, (group + 1) * per_group)
                part = seen[:, group * width : (group + 1) * width]
                y[:, frame, rows] += part @ w[rows, tap].T
    return y


def conv_transpose1d_by_loops(
    x: np.ndarray, w: np.ndarray, stride: int, padding: int
) -> np.ndarray:
    kernel = w.shape[1]
    full = (x.shape[1] - 1) * stride + kernel
    y = np.zeros((x.shape[0], full, w.shape[0]))
    for frame in range(x.shape[1]):
        for tap in range(kernel):
            y[:, frame * stride + tap] += x[:, frame].astype(np.float64) @ w[:, tap].T
    return y[:, padding : full - padding]


def gradients(function: Function, x: np.ndarray, w: np.ndarray) -> list[np.ndarray]:
    """Of a sum weighted by position, so that no two outputs count the same."""

    def loss(x_: mx.array, w_: mx.array) -> mx.array:
        y = function(x_, w_)
        return (y * mx.cos(mx.arange(y.size).reshape(y.shape))).sum()

    found = mx.grad(loss, argnums=(0, 1))(mx.array(x), mx.array(w))
    return [np.array(gradient) for gradient in found]


def assert_near(got: np.ndarray, wanted: np.ndarray, tolerance: float = 2e-6) -> None:
    assert got.shape == wanted.shape
    scale = np.abs(wanted).max()
    assert np.abs(got - wanted).max() <= tolerance * scale


@pytest.mark.parametrize("mode", ["native", "lowered", "auto"])
@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_conv1d_equals_its_definition(case: tuple[int, ...], mode: str) -> None:
    x, w = plain_arrays(case)
    _, _, _, _, _, stride, padding, dilation, groups = case
    got = plain(case, mode)(mx.array(x), mx.array(w))
    assert_near(np.array(got), conv1d_by_loops(x, w, stride, padding, dilation, groups))


@pytest.mark.parametrize("mode", ["native", "lowered", "auto"])
@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_conv_transpose1d_equals_its_definition(
    case: tuple[int, ...], mode: str
) -> None:
    x, w = transposed_arrays(case)
    _, time, _, _, kernel, stride, padding = case
    got = np.array(transposed(case, mode)(mx.array(x), mx.array(w)))
    assert got.shape[1] == (time - 1) * stride - 2 * padding + kernel
    assert_near(got, conv_transpose1d_by_loops(x, w, stride, padding))


@pytest.mark.parametrize("mode", ["native", "lowered", "auto"])
@pytest.mark.parametrize("case", PERIOD.values(), ids=PERIOD)
def test_period_conv_is_a_conv1d_of_every_column(
    case: tuple[int, ...], mode: str
) -> None:
    x, w = period_arrays(case)
    got = np.array(period(case, mode)(mx.array(x), mx.array(w)))
    for column in range(case[2]):
        wanted = conv1d_by_loops(x[:, :, column], w[:, :, 0], case[6], case[7], 1, 1)
        assert_near(got[:, :, column], wanted)


BOTH_WAYS = [
    *((plain, plain_arrays, name, case) for name, case in PLAIN.items()),
    *((transposed, transposed_arrays, name, case) for name, case in TRANSPOSED.items()),
    *((period, period_arrays, name, case) for name, case in PERIOD.items()),
]


@pytest.mark.parametrize(
    ("make", "inputs", "case"),
    [(make, inputs, case) for make, inputs, _, case in BOTH_WAYS],
    ids=[f"{make.__name__} {name}" for make, _, name, _ in BOTH_WAYS],
)
def test_native_and_lowered_gradients_are_equal(
    make: Callable[..., Function],
    inputs: Callable[..., list[np.ndarray]],
    case: tuple[int, ...],
) -> None:
    x, w = inputs(case)
    native = gradients(make(case, "native"), x, w)
    lowered = gradients(make(case, "lowered"), x, w)
    for got, wanted in zip(lowered, native, strict=True):
        assert_near(got, wanted, 5e-6)


@pytest.mark.parametrize("mode", ["native", "lowered"])
def test_gradient_equals_the_transpose_of_the_definition(mode: str) -> None:
    """A convolution is linear in each argument, so one-hot inputs give its matrix."""
    case = (1, 9, 4, 6, 3, 2, 1, 1, 2)
    x, w = plain_arrays(case)
    slope = np.cos(np.arange(5 * 6).reshape(1, 5, 6))
    grad_x, grad_w = gradients(plain(case, mode), x, w)
    for index in np.ndindex(*x.shape):
        hot = np.zeros_like(x)
        hot[index] = 1
        wanted = (conv1d_by_loops(hot, w, 2, 1, 1, 2) * slope).sum()
        assert abs(grad_x[index] - wanted) < 1e-5
    for index in np.ndindex(*w.shape):
        hot = np.zeros_like(w)
        hot[index] = 1
        wanted = (conv1d_by_loops(x, hot, 2, 1, 1, 2) * slope).sum()
        assert abs(grad_w[index] - wanted) < 1e-5


def test_the_taps_way_equals_native_on_a_long_input() -> None:
    """Above the size at which one product per tap is the faster way."""
    for dilation in (1, 5):
        shape = ConvShape("plain", 2 * 6000, 16, 16, 11, 1, dilation)
        assert choose(shape, "cpu", "auto") == "taps"
        case = (2, 6000, 16, 16, 11, 1, 5 * dilation, dilation, 1)
        x, w = plain_arrays(case)
        lowered, native = plain(case, "lowered"), plain(case, "native")
        assert_near(
            np.array(lowered(mx.array(x), mx.array(w))),
            np.array(native(mx.array(x), mx.array(w))),
        )
        for got, wanted in zip(
            gradients(lowered, x, w), gradients(native, x, w), strict=True
        ):
            assert_near(got, wanted, 2e-5)


def test_the_taps_way_equals_native_in_the_period_discriminator() -> None:
    case = (2, 800, 5, 64, 16, 5, 1, 2)
    shape = ConvShape("period", 2 * 800 * 5, 64, 16, 5)
    assert choose(shape, "cpu", "auto") == "taps"
    x, w = period_arrays(case)
    lowered, native = period(case, "lowered"), period(case, "native")
    assert_near(
        np.array(lowered(mx.array(x), mx.array(w))),
        np.array(native(mx.array(x), mx.array(w))),
    )
    for got, wanted in zip(
        gradients(lowered, x, w), gradients(native, x, w), strict=True
    ):
        assert_near(got, wanted, 2e-5)


@pytest.mark.parametrize("mode", ["native", "lowered"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_comes_back_as_it_went_in(dtype: mx.Dtype, mode: str) -> None:
    case = PLAIN["wavenet"]
    x, w = plain_arrays(case)
    exact = np.array(plain(case, "native")(mx.array(x), mx.array(w)))
    got = plain(case, mode)(mx.array(x).astype(dtype), mx.array(w).astype(dtype))
    assert got.dtype == dtype
    assert_near(np.array(got.astype(mx.float32)), exact, 2e-2)


@pytest.mark.parametrize(
    ("shape", "device", "wanted"),
    [
        (ConvShape("plain", 800, 192, 384, 1), "cpu", "native"),
        (ConvShape("plain", 800, 192, 384, 5, dilation=2), "cpu", "unfold"),
        (ConvShape("plain", 80000, 32, 32, 11, dilation=5), "cpu", "taps"),
        (ConvShape("plain", 80000, 1, 16, 15), "cpu", "unfold"),
        (ConvShape("plain", 8000, 16, 64, 41, 4, groups=4), "cpu", "grouped"),
        (ConvShape("plain", 800, 192, 192, 3, groups=192), "cpu", "depthwise"),
        (ConvShape("transposed", 128, 512, 256, 16, 8), "cpu", "overlap_add"),
        (ConvShape("transposed", 8192, 128, 64, 4, 2), "cpu", "polyphase"),
        (ConvShape("period", 2000, 128, 512, 5, 3), "cpu", "unfold"),
        (ConvShape("plain", 800, 192, 384, 5, dilation=2), "metal", "native"),
        (ConvShape("plain", 800, 384, 384, 3, 2), "metal", "unfold"),
        (ConvShape("plain", 8000, 16, 64, 41, 4, groups=4), "metal", "grouped"),
        (ConvShape("transposed", 8192, 128, 64, 4, 2), "metal", "polyphase"),
        (ConvShape("period", 2000, 128, 512, 5, 3), "metal", "native"),
        (ConvShape("period", 2000, 1, 32, 5, 3), "metal", "unfold"),
        (ConvShape("transposed", 8192, 128, 64, 4, 2), "other", "native"),
    ],
)
def test_the_choice_by_device_and_shape(
    shape: ConvShape, device: str, wanted: str
) -> None:
    assert choose(shape, device, "auto") == wanted
    assert choose(shape, device, "native") == "native"
    assert choose(shape, device, "lowered") != "native"


def test_the_device_follows_the_default_of_mlx() -> None:
    before = mx.default_device()
    try:
        mx.set_default_device(mx.cpu)
        assert current_device() == "cpu"
    finally:
        mx.set_default_device(before)


@pytest.mark.parametrize(
    ("function", "x", "w", "message"),
    [
        (conv1d, (1, 9, 4), (6, 3, 5), "6 x 5 channels in 1 groups .* 4 channels"),
        (conv1d, (9, 4), (6, 3, 4), "3 axes"),
        (conv1d, (1, 2, 4), (6, 3, 4), "needs 3 frames and has 2"),
        (conv_transpose1d, (1, 9, 4), (6, 3, 5), "conv_transpose1d has a weight"),
        (period_conv, (1, 9, 2, 4), (6, 3, 1, 5), "period_conv has a weight"),
        (period_conv, (1, 9, 4), (6, 3, 1, 4), "4 axes"),
        (period_conv, (1, 2, 2, 4), (6, 3, 1, 4), "needs 3 frames and has 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    function: Callable[..., mx.array],
    x: tuple[int, ...],
    w: tuple[int, ...],
    message: str,
) -> None:
    with pytest.raises(SpeechError, match=message) as refusal:
        function(mx.zeros(x), mx.zeros(w))
    assert refusal.value.hint


def test_a_transposed_convolution_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(SpeechError, match="needs 7 frames and has 2"):
        conv_transpose1d(mx.zeros((1, 1, 4)), mx.zeros((6, 2, 4)), 2, 3)


def test_groups_must_divide_the_outputs() -> None:
    with pytest.raises(SpeechError, match="6 x 2 channels in 4 groups"):
        conv1d(mx.zeros((1, 9, 8)), mx.zeros((6, 3, 2)), groups=4)


def mode_in_a_new_process(value: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from mlx_speech.nn import conv; print(conv.MODE)"],
        env=os.environ | {"MLX_SPEECH_CONV": value},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_variable_sets_the_mode() -> None:
    assert mode_in_a_new_process("native").stdout.strip() == "native"


def test_an_unknown_mode_is_refused() -> None:
    refused = mode_in_a_new_process("fast")
    assert refused.returncode != 0
    assert "MLX_SPEECH_CONV is 'fast'" in refused.stderr
    assert "auto, native, lowered" in refused.stderr
