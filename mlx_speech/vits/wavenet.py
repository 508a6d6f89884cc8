"""The non-causal WaveNet stack of VITS's posterior encoder and coupling flow.

Gated dilated convolutions with residual and skip outputs (van den Oord et al. 2016,
arXiv 1609.03499), in the form that WaveGlow and VITS use: weight norm everywhere, one
speaker projection for all layers.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.activations import tanh_sigmoid_gate
from mlx_speech.nn.layers import Conv1d


class WaveNet(nn.Module):
    """[batch, frames, channels] to the same shape.

    Args:
        channels: of input, output and every layer.
        kernel_size: taps, odd.
        dilation_rate: layer i has dilation ``dilation_rate ** i``.
        n_layers: layers.
        gin_channels: channels of the speaker vector, 0 for none.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        dilation_rate: int,
        n_layers: int,
        gin_channels: int = 0,
    ) -> None:
        super().__init__()
        self.in_layers = []
        self.res_skip_layers = []
        if gin_channels:
            self.cond_layer = Conv1d(
                gin_channels, 2 * channels * n_layers, 1, weight_norm=True
            )
        for layer in range(n_layers):
            dilation = dilation_rate**layer
            self.in_layers.append(
                Conv1d(
                    channels,
                    2 * channels,
                    kernel_size,
                    padding=dilation * (kernel_size - 1) // 2,
                    dilation=dilation,
                    weight_norm=True,
                )
            )
            # The last layer's output goes nowhere but into the sum of the skips.
            outputs = 2 * channels if layer < n_layers - 1 else channels
            self.res_skip_layers.append(Conv1d(channels, outputs, 1, weight_norm=True))

    def __call__(
        self, x_btc: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> mx.array:
        """Run the stack.

        Args:
            x_btc: [batch, frames, channels].
            mask_bt1: 1 at valid frames, [batch, frames, 1].
            g_b1c: speaker vector [batch, 1, gin_channels]; needs ``gin_channels``.

        Returns:
            Sum of the layers' skips, zero at padding, [batch, frames, channels].
        """
        n_layers = len(self.in_layers)
        conditions = (
            [None] * n_layers
            if g_b1c is None
            else mx.split(self.cond_layer(g_b1c), n_layers, axis=-1)
        )
        x, skips = x_btc, mx.zeros_like(x_btc)
        for layer, condition in enumerate(conditions):
            hidden = self.in_layers[layer](x)
            if condition is not None:
                hidden = hidden + condition
            output = self.res_skip_layers[layer](tanh_sigmoid_gate(hidden))
            if layer < n_layers - 1:
                residual, skip = mx.split(output, 2, axis=-1)
                x = (x + residual) * mask_bt1
                skips = skips + skip
            else:
                skips = skips + output
        return skips * mask_bt1
