"""VITS's normalising flow between the posterior's latents and the text's prior.

A stack of affine coupling layers (Dinh et al. 2017, arXiv 1605.08803) that only shift,
so that the volume is preserved and the log-determinant is zero; between them the order
of the channels is reversed. The flow is inverted exactly for synthesis.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.layers import Conv1d
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.wavenet import WaveNet

KERNEL_SIZE = 5


class Flip(nn.Module):
    """Reverses the order of the channels; its own inverse, without parameters."""

    def __call__(
        self, x_btc: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> mx.array:
        return x_btc[..., ::-1]

    reverse = __call__


class ResidualCouplingLayer(nn.Module):
    """Shifts the second half of the channels by a function of the first half."""

    def __init__(
        self, channels: int, hidden_channels: int, n_layers: int, gin_channels: int
    ) -> None:
        super().__init__()
        half = channels // 2
        self.pre = Conv1d(half, hidden_channels, 1)
        self.enc = WaveNet(hidden_channels, KERNEL_SIZE, 1, n_layers, gin_channels)
        self.post = Conv1d(hidden_channels, half, 1)
        # An untrained flow is the identity.
        self.post.weight = mx.zeros_like(self.post.weight)
        self.post.bias = mx.zeros_like(self.post.bias)

    def _shift(
        self, first: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None
    ) -> mx.array:
        hidden = self.pre(first) * mask_bt1
        return self.post(self.enc(hidden, mask_bt1, g_b1c)) * mask_bt1

    def __call__(
        self, x_btc: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> mx.array:
        first, second = mx.split(x_btc, 2, axis=-1)
        second = self._shift(first, mask_bt1, g_b1c) + second * mask_bt1
        return mx.concatenate([first, second], axis=-1)

    def reverse(
        self, x_btc: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> mx.array:
        """The inverse of the call."""
        first, second = mx.split(x_btc, 2, axis=-1)
        second = (second - self._shift(first, mask_bt1, g_b1c)) * mask_bt1
        return mx.concatenate([first, second], axis=-1)


class ResidualCouplingBlock(nn.Module):
    """The whole flow: ``n_flows`` coupling layers, each followed by a flip.

    Args:
        config: ``inter_channels``, ``hidden_channels``, ``flow_layers``, ``n_flows``
            and ``gin_channels`` give the sizes.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flows: list[ResidualCouplingLayer | Flip] = []
        for _ in range(config.n_flows):
            coupling = ResidualCouplingLayer(
                config.inter_channels,
                config.hidden_channels,
                config.flow_layers,
                config.gin_channels,
            )
            self.flows += [coupling, Flip()]

    def __call__(
        self, z_btc: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> mx.array:
        """Latents of speech to latents that the text predicts, z to z_p.

        Args:
            z_btc: [batch, frames, inter_channels], zero at padding.
            mask_bt1: 1 at valid frames, [batch, frames, 1].
            g_b1c: speaker vector [batch, 1, gin_channels] or None.

        Returns:
            z_p in the shape of ``z_btc``.
        """
        for flow in self.flows:
            z_btc = flow(z_btc, mask_bt1, g_b1c)
        return z_btc

    def reverse(
        self, z_btc: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> mx.array:
        """The inverse of the call, z_p to z; arguments and result as there."""
        for flow in reversed(self.flows):
            z_btc = flow.reverse(z_btc, mask_bt1, g_b1c)
        return z_btc
