"""Convolution layers with the parameters of PyTorch's and MLX's layout.

Each layer holds ``weight`` [O, K, C], or with ``weight_norm=True`` the length
``weight_g`` and the direction ``weight_v``, out of which the weight is made anew at
each forward pass (Salimans and Kingma, 2016), so that an optimiser moves length and
direction and no projection is needed. The length belongs to the axis that PyTorch
puts first: the outputs of a convolution, the *inputs* of a transposed one.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.conv import conv1d, conv_transpose1d, period_conv
from mlx_speech.nn.norm import weight_length, weight_norm


class _Convolution(nn.Module):
    """Parameters of a convolution: initialised as PyTorch does, perhaps normalised.

    Args:
        shape: of the weight, MLX's layout: outputs first, inputs last.
        length_axis: the axis along which weight norm keeps one length per slice.
        bias: whether there is one.
        weight_norm: whether the weight is split into length and direction.
    """

    def __init__(
        self, shape: tuple[int, ...], length_axis: int, bias: bool, weight_norm: bool
    ) -> None:
        super().__init__()
        # PyTorch's kaiming_uniform with a = sqrt(5) comes to this bound. Its fan-in
        # is counted over all axes but its first, also in a transposed convolution.
        fan_in = math.prod(shape) // shape[length_axis]
        bound = 1 / math.sqrt(fan_in)
        weight = mx.random.uniform(-bound, bound, shape)
        if weight_norm:
            self.weight_g = weight_length(weight, length_axis)
            self.weight_v = weight
        else:
            self.weight = weight
        if bias:
            self.bias = mx.random.uniform(-bound, bound, (shape[0],))
        self._length_axis = length_axis

    def effective_weight(self) -> mx.array:
        """The weight that the convolution uses, [O, K, C] or [O, K, 1, C]."""
        if "weight_v" in self:
            return weight_norm(self.weight_v, self.weight_g, self._length_axis)
        return self.weight

    def _add_bias(self, y: mx.array) -> mx.array:
        return y + self.bias if "bias" in self else y


class Conv1d(_Convolution):
    """Convolution over the time axis of [batch, time, channels].

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps.
        stride: frames between two outputs.
        padding: zeros on either side, in frames.
        dilation: frames between two taps.
        groups: blocks of channels that do not see each other.
        bias: whether to add one, [out].
        weight_norm: whether to hold ``weight_g`` [out, 1, 1] and ``weight_v``
            instead of ``weight`` [out, kernel, in / groups].

    Raises:
        SpeechError: when ``groups`` does not divide both numbers of channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        weight_norm: bool = False,
    ) -> None:
        if in_channels % groups or out_channels % groups:
            raise SpeechError(
                f"{in_channels} input and {out_channels} output channels cannot be "
                f"split into {groups} groups",
                "choose groups that divide both",
            )
        shape = (out_channels, kernel_size, in_channels // groups)
        super().__init__(shape, 0, bias, weight_norm)
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups

    def __call__(self, x_btc: mx.array) -> mx.array:
        """[batch, time, in] to [batch, frames, out]; see ``nn.conv.conv1d``."""
        weight = self.effective_weight()
        y = conv1d(x_btc, weight, self.stride, self.padding, self.dilation, self.groups)
        return self._add_bias(y)


class ConvTranspose1d(_Convolution):
    """Transposed convolution over the time axis of [batch, time, channels].

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps.
        stride: output frames per input frame.
        padding: output frames cut off at either end.
        bias: whether to add one, [out].
        weight_norm: whether to hold ``weight_g`` [1, 1, in] and ``weight_v``
            instead of ``weight`` [out, kernel, in].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int = 0,
        bias: bool = True,
        weight_norm: bool = False,
    ) -> None:
        shape = (out_channels, kernel_size, in_channels)
        super().__init__(shape, 2, bias, weight_norm)
        self.stride = stride
        self.padding = padding

    def __call__(self, x_btc: mx.array) -> mx.array:
        """[batch, time, in] to [batch, (time - 1) stride - 2 padding + kernel, out]."""
        weight = self.effective_weight()
        return self._add_bias(
            conv_transpose1d(x_btc, weight, self.stride, self.padding)
        )


class PeriodConv2d(_Convolution):
    """Convolution along the frames of [batch, frames, period, channels].

    PyTorch's Conv2d with kernel (k, 1), stride (s, 1) and padding (p, 0), the layer
    of HiFi-GAN's multi-period discriminator (Kong et al., 2020).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps along the frames.
        stride: frames between two outputs.
        padding: zeros before and after the frames.
        weight_norm: whether to hold ``weight_g`` [out, 1, 1, 1] and ``weight_v``
            instead of ``weight`` [out, kernel, 1, in].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        weight_norm: bool = True,
    ) -> None:
        shape = (out_channels, kernel_size, 1, in_channels)
        super().__init__(shape, 0, True, weight_norm)
        self.stride = stride
        self.padding = padding

    def __call__(self, x_bhwc: mx.array) -> mx.array:
        """[batch, frames, period, in] to [batch, outputs, period, out]."""
        weight = self.effective_weight()
        return self._add_bias(period_conv(x_bhwc, weight, self.stride, self.padding))
