"""VITS's duration predictors: how many frames each symbol lasts.

``StochasticDurationPredictor`` (Kim et al. 2021, section 2.2.2) is a flow whose
likelihood of whole durations is bounded by variational dequantisation (Ho et al. 2019,
arXiv 1902.00275) and data augmentation (Chen et al. 2020, arXiv 2002.09741).
``DurationPredictor`` (FastSpeech's, as in Glow-TTS) regresses the logarithm. Both share
one interface and see the text encoder's output without sending gradients into it.
"""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.activations import gelu
from mlx_speech.nn.layers import Conv1d
from mlx_speech.nn.norm import ChannelLayerNorm
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.flow import Flip
from mlx_speech.vits.spline import rational_quadratic_spline

KERNEL_SIZE = 3
P_DROPOUT = 0.5
DETERMINISTIC_CHANNELS = 256
N_FLOWS = 4
N_BINS = 10
TAIL_BOUND = 5.0
LOG_FLOOR = 1e-5
LOG_2PI = math.log(2 * math.pi)


class DilatedDepthSeparableConv(nn.Module):
    """Residual layers of a depthwise dilated and a pointwise convolution ("DDSConv").

    Layer i has dilation ``kernel_size ** i``; [batch, symbols, channels] in and out.
    """

    def __init__(self, channels: int, n_layers: int, p_dropout: float = 0.0) -> None:
        super().__init__()
        self.convs_sep = []
        self.convs_1x1 = []
        self.norms_1 = []
        self.norms_2 = []
        for layer in range(n_layers):
            dilation = KERNEL_SIZE**layer
            self.convs_sep.append(
                Conv1d(
                    channels,
                    channels,
                    KERNEL_SIZE,
                    padding=dilation * (KERNEL_SIZE - 1) // 2,
                    dilation=dilation,
                    groups=channels,
                )
            )
            self.convs_1x1.append(Conv1d(channels, channels, 1))
            self.norms_1.append(ChannelLayerNorm(channels))
            self.norms_2.append(ChannelLayerNorm(channels))
        self.drop = nn.Dropout(p_dropout)

    def __call__(self, x_blc: mx.array, mask_bl1: mx.array) -> mx.array:
        x = x_blc
        for separable, norm_1, pointwise, norm_2 in zip(
            self.convs_sep, self.norms_1, self.convs_1x1, self.norms_2, strict=True
        ):
            hidden = gelu(norm_1(separable(x * mask_bl1)))
            x = x + self.drop(gelu(norm_2(pointwise(hidden))))
        return x * mask_bl1


class ElementwiseAffine(nn.Module):
    """x to m + exp(logs) x per channel; ``m`` and ``logs`` are [1, channels]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.m = mx.zeros((1, channels))
        self.logs = mx.zeros((1, channels))

    def __call__(
        self, x_blc: mx.array, mask_bl1: mx.array, condition_blc: mx.array
    ) -> tuple[mx.array, mx.array]:
        y = (self.m + mx.exp(self.logs) * x_blc) * mask_bl1
        return y, mx.sum(self.logs * mask_bl1, axis=(1, 2))

    def reverse(
        self, x_blc: mx.array, mask_bl1: mx.array, condition_blc: mx.array
    ) -> mx.array:
        return (x_blc - self.m) * mx.exp(-self.logs) * mask_bl1


class ConvFlow(nn.Module):
    """Coupling layer on two channels: the second through a spline made of the first."""

    def __init__(self, filter_channels: int, n_layers: int) -> None:
        super().__init__()
        self.pre = Conv1d(1, filter_channels, 1)
        self.convs = DilatedDepthSeparableConv(filter_channels, n_layers)
        self.proj = Conv1d(filter_channels, 3 * N_BINS - 1, 1)
        self.proj.weight = mx.zeros_like(self.proj.weight)
        self.proj.bias = mx.zeros_like(self.proj.bias)
        self._logit_scale = 1 / math.sqrt(filter_channels)

    def __call__(
        self, x_bl2: mx.array, mask_bl1: mx.array, condition_blc: mx.array
    ) -> tuple[mx.array, mx.array]:
        y, log_slope = self._transform(x_bl2, mask_bl1, condition_blc, False)
        return y, mx.sum(log_slope * mask_bl1, axis=(1, 2))

    def reverse(
        self, x_bl2: mx.array, mask_bl1: mx.array, condition_blc: mx.array
    ) -> mx.array:
        return self._transform(x_bl2, mask_bl1, condition_blc, True)[0]

    def _transform(
        self,
        x_bl2: mx.array,
        mask_bl1: mx.array,
        condition_blc: mx.array,
        inverse: bool,
    ) -> tuple[mx.array, mx.array]:
        first, second = mx.split(x_bl2, 2, axis=-1)
        hidden = self.convs(self.pre(first) + condition_blc, mask_bl1)
        parameters = (self.proj(hidden) * mask_bl1)[:, :, None, :]
        second, log_slope = rational_quadratic_spline(
            second,
            parameters[..., :N_BINS] * self._logit_scale,
            parameters[..., N_BINS : 2 * N_BINS] * self._logit_scale,
            parameters[..., 2 * N_BINS :],
            TAIL_BOUND,
            inverse,
        )
        return mx.concatenate([first, second], axis=-1) * mask_bl1, log_slope


class StochasticDurationPredictor(nn.Module):
    """Samples log durations, and scores durations by their likelihood.

    Args:
        config: ``hidden_channels`` and ``gin_channels`` give the sizes.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        channels, n_layers = config.hidden_channels, 3
        self.flows = self._make_flows(channels, n_layers)
        self.post_pre = Conv1d(1, channels, 1)
        self.post_proj = Conv1d(channels, channels, 1)
        self.post_convs = DilatedDepthSeparableConv(channels, n_layers, P_DROPOUT)
        self.post_flows = self._make_flows(channels, n_layers)
        self.pre = Conv1d(channels, channels, 1)
        self.proj = Conv1d(channels, channels, 1)
        self.convs = DilatedDepthSeparableConv(channels, n_layers, P_DROPOUT)
        if config.gin_channels:
            self.cond = Conv1d(config.gin_channels, channels, 1)

    @staticmethod
    def _make_flows(channels: int, n_layers: int) -> list[Any]:
        flows: list[Any] = [ElementwiseAffine(2)]
        for _ in range(N_FLOWS):
            flows += [ConvFlow(channels, n_layers), Flip()]
        return flows

    def _encode(
        self, x_blc: mx.array, mask_bl1: mx.array, g_b1c: mx.array | None
    ) -> mx.array:
        hidden = self.pre(mx.stop_gradient(x_blc))
        if g_b1c is not None:
            hidden = hidden + self.cond(mx.stop_gradient(g_b1c))
        return self.proj(self.convs(hidden, mask_bl1)) * mask_bl1

    def __call__(
        self,
        x_blc: mx.array,
        mask_bl1: mx.array,
        durations_bl: mx.array,
        noise_bl2: mx.array,
        g_b1c: mx.array | None = None,
    ) -> mx.array:
        """Upper bound of the negative log likelihood of the durations.

        Args:
            x_blc: the text encoder's output [batch, symbols, hidden_channels].
            mask_bl1: 1 at valid symbols, [batch, symbols, 1].
            durations_bl: frames of each symbol, [batch, symbols], 0 at padding.
            noise_bl2: standard normal noise [batch, symbols, 2].
            g_b1c: speaker vector [batch, 1, gin_channels] or None.

        Returns:
            Summed over each item's symbols, in nats, [batch].
        """
        condition = self._encode(x_blc, mask_bl1, g_b1c)
        durations = durations_bl[..., None]
        seen = self.post_convs(self.post_pre(durations), mask_bl1)
        posterior_condition = condition + self.post_proj(seen) * mask_bl1

        noise = noise_bl2 * mask_bl1
        z_q, log_det_q = _run_flows(
            self.post_flows, noise, mask_bl1, posterior_condition
        )
        z_u, z_1 = mx.split(z_q, 2, axis=-1)
        # The sigmoid's derivative is sigmoid(z) sigmoid(-z).
        log_sigmoid_slope = -mx.logaddexp(-z_u, 0.0) - mx.logaddexp(z_u, 0.0)
        log_det_q = log_det_q + mx.sum(log_sigmoid_slope * mask_bl1, axis=(1, 2))
        log_q = -_half_square_norm(noise, mask_bl1) - log_det_q

        continuous = (durations - mx.sigmoid(z_u)) * mask_bl1
        z_0 = mx.log(mx.maximum(continuous, LOG_FLOOR)) * mask_bl1
        log_det = -mx.sum(z_0, axis=(1, 2))
        z, log_det_flows = _run_flows(
            self.flows, mx.concatenate([z_0, z_1], axis=-1), mask_bl1, condition
        )
        nll = _half_square_norm(z, mask_bl1) - log_det - log_det_flows
        return nll + log_q

    def loss(
        self,
        x_blc: mx.array,
        mask_bl1: mx.array,
        durations_bl: mx.array,
        noise_bl2: mx.array | None,
        g_b1c: mx.array | None = None,
    ) -> mx.array:
        """Each item's share of the bound per valid symbol of the batch, [batch]."""
        if noise_bl2 is None:
            raise ValueError("the stochastic duration predictor's loss needs noise")
        bound = self(x_blc, mask_bl1, durations_bl, noise_bl2, g_b1c)
        return bound / mx.sum(mask_bl1)

    def predict(
        self,
        x_blc: mx.array,
        mask_bl1: mx.array,
        noise_bl2: mx.array | None,
        g_b1c: mx.array | None = None,
    ) -> mx.array:
        """Sample log durations.

        Args:
            x_blc, mask_bl1, g_b1c: as in the call.
            noise_bl2: normal noise, already scaled, [batch, symbols, 2]; None for the
                centre of the distribution.

        Returns:
            Natural logarithm of the frames of each symbol, [batch, symbols].
        """
        condition = self._encode(x_blc, mask_bl1, g_b1c)
        z = noise_bl2
        if z is None:
            z = mx.zeros((*x_blc.shape[:2], 2))
        # The first coupling layer changes only the channel that is dropped at the end.
        for flow in [*reversed(self.flows[2:]), self.flows[0]]:
            z = flow.reverse(z, mask_bl1, condition)
        return z[..., 0]


class DurationPredictor(nn.Module):
    """Predicts log durations by two convolutions.

    Args:
        config: ``hidden_channels`` and ``gin_channels`` give the sizes.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        hidden, filters = config.hidden_channels, DETERMINISTIC_CHANNELS
        padding = KERNEL_SIZE // 2
        self.conv_1 = Conv1d(hidden, filters, KERNEL_SIZE, padding=padding)
        self.norm_1 = ChannelLayerNorm(filters)
        self.conv_2 = Conv1d(filters, filters, KERNEL_SIZE, padding=padding)
        self.norm_2 = ChannelLayerNorm(filters)
        self.proj = Conv1d(filters, 1, 1)
        self.drop = nn.Dropout(P_DROPOUT)
        if config.gin_channels:
            self.cond = Conv1d(config.gin_channels, hidden, 1)

    def predict(
        self,
        x_blc: mx.array,
        mask_bl1: mx.array,
        noise_bl2: mx.array | None = None,
        g_b1c: mx.array | None = None,
    ) -> mx.array:
        """Log durations [batch, symbols]; the noise is ignored. See above."""
        x = mx.stop_gradient(x_blc)
        if g_b1c is not None:
            x = x + self.cond(mx.stop_gradient(g_b1c))
        x = self.drop(self.norm_1(mx.maximum(self.conv_1(x * mask_bl1), 0)))
        x = self.drop(self.norm_2(mx.maximum(self.conv_2(x * mask_bl1), 0)))
        return (self.proj(x * mask_bl1) * mask_bl1)[..., 0]

    def loss(
        self,
        x_blc: mx.array,
        mask_bl1: mx.array,
        durations_bl: mx.array,
        noise_bl2: mx.array | None = None,
        g_b1c: mx.array | None = None,
    ) -> mx.array:
        """Squared error of the log durations per valid symbol of the batch, [batch]."""
        predicted = self.predict(x_blc, mask_bl1, None, g_b1c)
        error = (predicted - mx.log(durations_bl + 1e-6)) * mask_bl1[..., 0]
        return mx.sum(mx.square(error), axis=1) / mx.sum(mask_bl1)


def _run_flows(
    flows: list[Any], z_bl2: mx.array, mask_bl1: mx.array, condition_blc: mx.array
) -> tuple[mx.array, mx.array]:
    """Through all flows: the result, and the summed log-determinant [batch]."""
    total = mx.zeros((z_bl2.shape[0],))
    for flow in flows:
        if isinstance(flow, Flip):
            z_bl2 = flow(z_bl2, mask_bl1)
        else:
            z_bl2, log_det = flow(z_bl2, mask_bl1, condition_blc)
            total = total + log_det
    return z_bl2, total


def _half_square_norm(z_bl2: mx.array, mask_bl1: mx.array) -> mx.array:
    """Minus the log density under the standard normal, summed per item, [batch]."""
    return mx.sum(0.5 * (LOG_2PI + mx.square(z_bl2)) * mask_bl1, axis=(1, 2))
