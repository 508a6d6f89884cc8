"""Convolutions on [batch, time, channels], and how each one is computed.

MLX's own operation is not always the fast one: on a CPU it falls back to scalar
loops for dilated kernels and for most gradients, and on Metal a transposed
convolution multiplies mostly zeros. :func:`choose` is the one place that decides
between it and the matrix products of :mod:`mlx_speech.nn.lowerings`. All ways give
equal values and gradients.

The environment variable ``MLX_SPEECH_CONV`` overrides the choice: ``native`` takes
MLX's operation everywhere, ``lowered`` a matrix product wherever there is one, and
``auto`` (the default) decides. It is read when this module is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import mlx.core as mx

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.nn import lowerings
from mlx_speech.nn.lowerings import pad_time

Mode = Literal["auto", "native", "lowered"]
Device = Literal["cpu", "metal", "other"]
Kind = Literal["plain", "transposed", "period"]
Way = Literal[
    "native", "unfold", "taps", "depthwise", "grouped", "polyphase", "overlap_add"
]

MODE_VARIABLE = "MLX_SPEECH_CONV"
MODE: Mode = backend.mode_from_environment(MODE_VARIABLE, get_args(Mode))

# Above this the copies of `unfold` cost more than the many small products of `taps`
# (measured, see README.md), unless the weight is not much smaller than they are.
_UNFOLDED_FLOATS = 1_000_000
_UNFOLDED_PER_WEIGHT = 4


@dataclass(frozen=True)
class ConvShape:
    """What :func:`choose` looks at.

    Attributes:
        kind: "plain" over time, "transposed", or "period" (along one of two axes).
        rows: batch times input frames, times the period if there is one.
        channels: of the input.
        out: channels of the output.
        kernel: taps.
        stride: as in the layer.
        dilation: as in the layer.
        groups: as in the layer.
    """

    kind: Kind
    rows: int
    channels: int
    out: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


def current_device() -> Device:
    """The device that MLX computes on, as far as :func:`choose` tells them apart."""
    if mx.default_device() == mx.Device(mx.cpu):
        return "cpu"
    return "metal" if backend.on_metal() else "other"


def choose(shape: ConvShape, device: Device, mode: Mode = MODE) -> Way:
    """Decide how a convolution is computed: the rule and its reasons.

    On a CPU (measured, see README.md) MLX is fast only for the forward pass without
    dilation; dilation, transposition, strides and groups run scalar loops in the
    forward pass, the backward pass or both, 10 to 300 times slower than a matrix
    product. A kernel of one tap is a matrix product already.

    On Metal (judged from MLX's sources, not measured) plain convolutions with
    channels in multiples of 16, dilated or not, run an implicit matrix product in
    both directions: native. The gradient of a strided one-dimensional convolution
    and a transposed convolution unfold an input stuffed with zeros, ``stride`` times
    the work: lowered. The period discriminator's two-dimensional kernel skips those
    zeros, but only with channels in multiples of 16. The gradients of grouped
    convolutions miss the fast kernels: lowered.

    Elsewhere (CUDA; not measured) a library behind MLX knows all shapes: native.
    """
    if mode == "native" or (mode == "auto" and device == "other"):
        return "native"
    if mode == "auto" and device == "metal" and _metal_has_a_kernel(shape):
        return "native"
    if mode == "auto" and shape.kernel == 1 and shape.stride == 1 == shape.groups:
        return "native"
    if shape.kind == "transposed":
        # Either copies one thing: the products of every frame, or the weight.
        return "overlap_add" if shape.rows <= shape.channels else "polyphase"
    if shape.groups > 1:
        if shape.stride > 1 and shape.dilation > 1:
            return "native"
        one_each = shape.groups == shape.channels == shape.out
        return "depthwise" if one_each and shape.stride == 1 else "grouped"
    unfolded = shape.rows * shape.kernel * shape.channels
    weight = shape.out * shape.kernel * shape.channels
    large = unfolded > max(_UNFOLDED_FLOATS, _UNFOLDED_PER_WEIGHT * weight)
    # A product over a handful of channels cannot pay for being one of many.
    if large and shape.stride == 1 and shape.channels >= 8:
        return "taps"
    return "unfold"


def _metal_has_a_kernel(shape: ConvShape) -> bool:
    aligned = shape.channels % 16 == 0 and shape.out % 16 == 0
    if shape.kind == "period":
        return aligned
    return shape.stride == 1 and shape.groups == 1


def conv1d(
    x: mx.array,
    weight: mx.array,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    *,
    mode: Mode = MODE,
) -> mx.array:
    """Convolution over time (cross-correlation, as everywhere in the field).

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels / groups].
        stride: frames between two outputs.
        padding: zeros put before and after ``x``, in frames.
        dilation: frames between two taps of the kernel.
        groups: blocks of channels that do not see each other.
        mode: overrides the choice for this call.

    Returns:
        [batch, (time + 2 padding - dilation (kernel - 1) - 1) // stride + 1, out],
        in the dtype of ``x``.

    Raises:
        SpeechError: when the channels do not fit or the input is too short.
    """
    _check_channels(x, weight, groups, "conv1d", 3)
    _check_length(x.shape[1] + 2 * padding, dilation * (weight.shape[1] - 1) + 1)
    out, kernel, _ = weight.shape
    rows = x.shape[0] * x.shape[1]
    shape = ConvShape("plain", rows, x.shape[2], out, kernel, stride, dilation, groups)
    device = current_device()
    way = choose(shape, device, mode)
    if way == "native":
        return mx.conv1d(x, weight, stride, padding, dilation, groups)
    wide_x, wide_weight = _widen(x, weight, device)
    padded = pad_time(wide_x, padding, padding)
    if way == "depthwise":
        y = lowerings.depthwise(padded, wide_weight, dilation)
    elif way == "grouped":
        y = lowerings.grouped(padded, wide_weight, stride, dilation, groups)
    elif way == "taps":
        y = lowerings.taps(padded, wide_weight, dilation)
    else:
        y = lowerings.unfold(padded, wide_weight, stride, dilation)
    return y.astype(x.dtype)


def conv_transpose1d(
    x: mx.array,
    weight: mx.array,
    stride: int = 1,
    padding: int = 0,
    *,
    mode: Mode = MODE,
) -> mx.array:
    """Transposed convolution over time: frame t adds taps at t * stride - padding.

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels].
        stride: output frames per input frame.
        padding: output frames cut off at either end.
        mode: overrides the choice for this call.

    Returns:
        [batch, (time - 1) stride - 2 padding + kernel, out], in the dtype of ``x``.

    Raises:
        SpeechError: when the channels do not fit or nothing would be left.
    """
    _check_channels(x, weight, 1, "conv_transpose1d", 3)
    full = (x.shape[1] - 1) * stride + weight.shape[1]
    _check_length(full, 2 * padding + 1)
    rows = x.shape[0] * x.shape[1]
    out, kernel, channels = weight.shape
    shape = ConvShape("transposed", rows, channels, out, kernel, stride)
    device = current_device()
    way = choose(shape, device, mode)
    if way == "native":
        return mx.conv_transpose1d(x, weight, stride, padding)
    wide_x, wide_weight = _widen(x, weight, device)
    if way == "overlap_add":
        y = lowerings.overlap_add(wide_x, wide_weight, stride)
    else:

        def convolve(padded: mx.array, phases: mx.array) -> mx.array:
            return conv1d(padded, phases, mode=mode)

        y = lowerings.polyphase(wide_x, wide_weight, stride, convolve)
    return y[:, padding : full - padding].astype(x.dtype)


def period_conv(
    x: mx.array,
    weight: mx.array,
    stride: int = 1,
    padding: int = 0,
    *,
    mode: Mode = MODE,
) -> mx.array:
    """Convolution along the first of two axes, as the period discriminator needs.

    Args:
        x: [batch, frames, period, channels].
        weight: [out, kernel, 1, channels].
        stride: frames between two outputs.
        padding: zeros put before and after the frames.
        mode: overrides the choice for this call.

    Returns:
        [batch, (frames + 2 padding - kernel) // stride + 1, period, out], in the
        dtype of ``x``.

    Raises:
        SpeechError: when the channels do not fit or the input is too short.
    """
    _check_channels(x, weight, 1, "period_conv", 4)
    _check_length(x.shape[1] + 2 * padding, weight.shape[1])
    batch, frames, period, channels = x.shape
    out, kernel = weight.shape[:2]
    rows = batch * frames * period
    device = current_device()
    shape = ConvShape("period", rows, channels, out, kernel, stride)
    way = choose(shape, device, mode)
    if way == "native":
        return mx.conv2d(x, weight, (stride, 1), (padding, 0))
    wide_x, wide_weight = _widen(x, weight[:, :, 0], device)
    padded = pad_time(wide_x, padding, padding)
    if way == "taps":
        # Laid end to end, the frames of one column are ``period`` rows apart.
        rows_brc = padded.reshape(batch, -1, channels)
        y = lowerings.taps(rows_brc, wide_weight, period)
        y = y.reshape(batch, -1, period, out)
    else:
        y = lowerings.unfold(padded, wide_weight, stride, 1)
    return y.astype(x.dtype)


def _widen(x: mx.array, weight: mx.array, device: Device) -> tuple[mx.array, mx.array]:
    """float32 on a CPU, where half-precision products take 20 times as long."""
    if device != "cpu":
        return x, weight
    return x.astype(mx.float32), weight.astype(mx.float32)


def _check_channels(
    x: mx.array, weight: mx.array, groups: int, name: str, ndim: int
) -> None:
    if x.ndim != ndim or weight.ndim != ndim:
        raise SpeechError(
            f"{name} needs an input and a weight of {ndim} axes, "
            f"not {x.shape} and {weight.shape}",
            "pass [batch, time, channels], or with the period before the channels",
        )
    if x.shape[-1] != weight.shape[-1] * groups or weight.shape[0] % groups:
        raise SpeechError(
            f"{name} has a weight of {weight.shape[0]} x {weight.shape[-1]} channels "
            f"in {groups} groups and an input of {x.shape[-1]} channels",
            "pass the input as [batch, time, channels] with the module's channels",
        )


def _check_length(available: int, needed: int) -> None:
    if available < needed:
        raise SpeechError(
            f"a convolution needs {needed} frames and has {available}, "
            "padding included",
            "pass a longer input",
        )
