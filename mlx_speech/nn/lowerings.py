"""Convolutions written as matrix products, equal to MLX's own in value and gradient.

Every function takes an input that is padded already, [batch, time, channels], and a
weight in MLX's layout. Which of them is used when is decided in
:mod:`mlx_speech.nn.conv`; here is only how each one works. Three of them bring their
own gradient, because the automatic one of their forward pass would scatter or copy
what a second product gives directly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import mlx.core as mx

Convolve = Callable[[mx.array, mx.array], mx.array]


def out_frames(frames: int, kernel: int, stride: int, dilation: int) -> int:
    """Frames that come out of a convolution over ``frames`` padded frames."""
    return (frames - dilation * (kernel - 1) - 1) // stride + 1


def pad_time(x: mx.array, before: int, after: int) -> mx.array:
    """Zeros before and after axis 1 of ``x`` [batch, time, ...]."""
    if before == 0 and after == 0:
        return x
    return mx.pad(x, [(0, 0), (before, after)] + [(0, 0)] * (x.ndim - 2))


def unfold(x: mx.array, weight: mx.array, stride: int, dilation: int) -> mx.array:
    """Put the taps' frames side by side, then one product with the whole weight.

    Copies the input ``kernel`` times and the weight never.

    Args:
        x: [batch, time, ..., channels]; axes between time and channels ride along.
        weight: [out, kernel, channels].
        stride: frames between two outputs.
        dilation: frames between two taps.

    Returns:
        [batch, frames, ..., out].
    """
    out, kernel, channels = weight.shape
    frames = out_frames(x.shape[1], kernel, stride, dilation)
    reach = (frames - 1) * stride + 1
    starts = range(0, kernel * dilation, dilation)
    taps = [x[:, start : start + reach : stride] for start in starts]
    return mx.concatenate(taps, axis=-1) @ weight.reshape(out, kernel * channels).T


def taps(x: mx.array, weight: mx.array, dilation: int) -> mx.array:
    """Add one product per tap, each on a shifted view of the input; stride 1.

    Copies the weight once and the input never.

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels].
        dilation: frames between two taps.

    Returns:
        [batch, frames, out].
    """
    return _taps_function(dilation)(x, weight)


def _sum_of_taps(
    x: mx.array, weight_kio: mx.array, frames: int, dilation: int
) -> mx.array:
    total = x[:, :frames] @ weight_kio[0]
    for tap in range(1, weight_kio.shape[0]):
        start = tap * dilation
        total = mx.addmm(total, x[:, start : start + frames], weight_kio[tap])
    return total


@cache
def _taps_function(dilation: int) -> Convolve:
    @mx.custom_function
    def forward(x: mx.array, weight: mx.array) -> mx.array:
        frames = out_frames(x.shape[1], weight.shape[1], 1, dilation)
        weight_kio = mx.contiguous(weight.transpose(1, 2, 0))
        return _sum_of_taps(x, weight_kio, frames, dilation)

    @forward.vjp
    def backward(
        primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array
    ) -> tuple[mx.array, mx.array]:
        x, weight = primals
        frames = cotangent.shape[1]
        margin = dilation * (weight.shape[1] - 1)
        # The gradient of the input is a convolution too: the cotangent with the
        # kernel turned around in time and its channels swapped.
        turned_koi = mx.contiguous(weight[:, ::-1].transpose(1, 0, 2))
        padded = pad_time(cotangent, margin, margin)
        grad_x = _sum_of_taps(padded, turned_koi, x.shape[1], dilation)
        cotangent_bot = cotangent.swapaxes(1, 2)
        grad_weight = mx.stack(
            [
                (cotangent_bot @ x[:, start : start + frames]).sum(axis=0)
                for start in range(0, margin + dilation, dilation)
            ],
            axis=1,
        )
        return grad_x, grad_weight

    return cast(Convolve, forward)


def depthwise(x: mx.array, weight: mx.array, dilation: int) -> mx.array:
    """One kernel per channel, stride 1: shift, multiply, add.

    Args:
        x: [batch, time, channels].
        weight: [channels, kernel, 1].
        dilation: frames between two taps.

    Returns:
        [batch, frames, channels].
    """
    kernel = weight.shape[1]
    frames = out_frames(x.shape[1], kernel, 1, dilation)
    total = x[:, :frames] * weight[:, 0, 0]
    for tap in range(1, kernel):
        start = tap * dilation
        total = total + x[:, start : start + frames] * weight[:, tap, 0]
    return total


def grouped(
    x: mx.array, weight: mx.array, stride: int, dilation: int, groups: int
) -> mx.array:
    """Patches of each group times the group's weight, batched over the groups.

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels / groups].
        stride: frames between two outputs.
        dilation: frames between two taps; 1 where ``stride`` is not.
        groups: blocks of channels that do not see each other.

    Returns:
        [batch, frames, out].
    """
    return _grouped_function(stride, dilation, groups)(x, weight)


def _patches(
    x: mx.array, kernel: int, stride: int, dilation: int, groups: int, frames: int
) -> mx.array:
    """[groups, batch * frames, kernel * channels / groups], out of ``x``."""
    batch, time, channels = x.shape
    width = channels // groups
    shape = (groups, batch, frames, kernel, width)
    strides = (width, time * channels, stride * channels, dilation * channels, 1)
    views = mx.as_strided(mx.contiguous(x), shape, strides)
    return views.reshape(groups, batch * frames, kernel * width)


def _join_groups(y: mx.array, batch: int, blocks: int) -> mx.array:
    """[groups, batch * frames, blocks * width] to [batch, frames * blocks, channels].

    ``blocks`` consecutive frames lie in one row of ``y``.
    """
    groups, rows, columns = y.shape
    frames, width = rows // batch, columns // blocks
    y = y.reshape(groups, batch, frames, blocks, width).transpose(1, 2, 3, 0, 4)
    return y.reshape(batch, frames * blocks, groups * width)


@cache
def _grouped_function(stride: int, dilation: int, groups: int) -> Convolve:
    @mx.custom_function
    def forward(x: mx.array, weight: mx.array) -> mx.array:
        out, kernel, _ = weight.shape
        frames = out_frames(x.shape[1], kernel, stride, dilation)
        patches = _patches(x, kernel, stride, dilation, groups, frames)
        per_group = weight.reshape(groups, out // groups, -1).swapaxes(1, 2)
        return _join_groups(patches @ per_group, x.shape[0], 1)

    @forward.vjp
    def backward(
        primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array
    ) -> tuple[mx.array, mx.array]:
        x, weight = primals
        kernel, width = weight.shape[1:]
        batch, frames = cotangent.shape[:2]
        patches = _patches(x, kernel, stride, dilation, groups, frames)
        rows = cotangent.reshape(batch * frames, groups, -1).transpose(1, 2, 0)
        grad_weight = (rows @ patches).reshape(weight.shape)
        # Input frames fall into blocks of ``stride``. All frames of a block see the
        # same ``reach`` outputs, so the input's gradient is a stride-1 convolution
        # of the cotangent that yields a whole block per step.
        reach = -(-kernel // stride)
        blocks = (x.shape[1] - 1) // stride + 1
        margin = dilation * (reach - 1)
        padded = pad_time(cotangent, margin, blocks - frames)
        whole = mx.pad(weight, [(0, 0), (0, reach * stride - kernel), (0, 0)])
        turned = whole.reshape(groups, -1, reach, stride * width)[:, :, ::-1]
        turned = turned.swapaxes(1, 2).reshape(groups, -1, stride * width)
        windows = _patches(padded, reach, 1, dilation, groups, blocks)
        grad_x = _join_groups(windows @ turned, batch, stride)
        return grad_x[:, : x.shape[1]], grad_weight

    return cast(Convolve, forward)


def polyphase(
    x: mx.array, weight: mx.array, stride: int, convolve: Convolve
) -> mx.array:
    """Transposed convolution as a plain one with ``stride`` times the channels.

    An output block of ``stride`` frames is a stride-1 convolution of the input; in
    [batch, time, channels] the blocks come apart by a reshape. Copies the weight.

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels].
        stride: output frames per input frame.
        convolve: the stride-1 convolution of a padded input that does the work.

    Returns:
        [batch, (time - 1) stride + kernel, out].
    """
    out, kernel, channels = weight.shape
    batch, time, _ = x.shape
    reach = -(-kernel // stride)
    whole = mx.pad(weight, [(0, 0), (0, reach * stride - kernel), (0, 0)])
    phases = whole.reshape(out, reach, stride, channels)[:, ::-1].transpose(2, 0, 1, 3)
    phases = phases.reshape(stride * out, reach, channels)
    y = convolve(pad_time(x, reach - 1, reach - 1), phases)
    return y.reshape(batch, -1, out)[:, : (time - 1) * stride + kernel]


def overlap_add(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """Transposed convolution as one product per frame, added where frames overlap.

    Copies the ``out * kernel`` products of every frame and the weight never.

    Args:
        x: [batch, time, channels].
        weight: [out, kernel, channels].
        stride: output frames per input frame.

    Returns:
        [batch, (time - 1) stride + kernel, out].
    """
    out, kernel, channels = weight.shape
    batch, time, _ = x.shape
    reach = -(-kernel // stride)
    pieces = x @ weight.reshape(out * kernel, channels).T
    pieces = pieces.reshape(batch, time, out, kernel)
    excess = reach * stride - kernel
    pieces = mx.pad(pieces, [(0, 0), (0, 0), (0, 0), (0, excess)])
    pieces = pieces.reshape(batch, time, out, reach, stride).transpose(0, 1, 3, 4, 2)
    y = pad_time(pieces[:, :, 0], 0, reach - 1)
    for lag in range(1, reach):
        y = y + pad_time(pieces[:, :, lag], lag, reach - 1 - lag)
    return y.reshape(batch, -1, out)[:, : (time - 1) * stride + kernel]
