"""Convolutions on [batch, time, channels], and how each one is computed."""

from __future__ import annotations

import mlx.core as mx

from mlx_speech.errors import SpeechError


def conv1d(
    x: mx.array,
    weight: mx.array,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> mx.array:
    """Convolution over time (cross-correlation, as everywhere in the field).

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels / groups].
        stride: frames between two outputs.
        padding: zeros put before and after ``x``, in frames.
        dilation: frames between two taps of the kernel.
        groups: blocks of channels that do not see each other.

    Returns:
        [batch, (time + 2 padding - dilation (kernel - 1) - 1) // stride + 1, out].

    Raises:
        SpeechError: when the channels do not fit or the input is too short.
    """
    _check_channels(x, weight, groups, "conv1d", 3)
    _check_length(x.shape[1] + 2 * padding, dilation * (weight.shape[1] - 1) + 1)
    return mx.conv1d(x, weight, stride, padding, dilation, groups)


def conv_transpose1d(
    x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0
) -> mx.array:
    """Transposed convolution over time: frame t adds taps at t * stride - padding.

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels].
        stride: output frames per input frame.
        padding: output frames cut off at either end.

    Returns:
        [batch, (time - 1) stride - 2 padding + kernel, out].

    Raises:
        SpeechError: when the channels do not fit or nothing would be left.
    """
    _check_channels(x, weight, 1, "conv_transpose1d", 3)
    _check_length((x.shape[1] - 1) * stride + weight.shape[1], 2 * padding + 1)
    return mx.conv_transpose1d(x, weight, stride, padding)


def period_conv(
    x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0
) -> mx.array:
    """Convolution along the first of two axes, as the period discriminator needs.

    Args:
        x: [batch, frames, period, channels].
        weight: [out, kernel, 1, channels].
        stride: frames between two outputs.
        padding: zeros put before and after the frames.

    Returns:
        [batch, (frames + 2 padding - kernel) // stride + 1, period, out].

    Raises:
        SpeechError: when the channels do not fit or the input is too short.
    """
    _check_channels(x, weight, 1, "period_conv", 4)
    _check_length(x.shape[1] + 2 * padding, weight.shape[1])
    return mx.conv2d(x, weight, (stride, 1), (padding, 0))


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
