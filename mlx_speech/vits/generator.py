"""HiFi-GAN's generator: latent frames become a waveform.

Kong et al. 2020, "HiFi-GAN: Generative Adversarial Networks for Efficient and High
Fidelity Speech Synthesis" (arXiv 2010.05646), as the decoder of VITS (Kim et al. 2021,
arXiv 2106.06103). Each stage widens time by a transposed convolution, halves the
channels and averages residual blocks of several kernel sizes and dilations.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.layers import Conv1d, ConvTranspose1d
from mlx_speech.vits.config import VitsConfig

LEAKY_SLOPE = 0.1
# The reference leaves the last activation at its library's default slope.
LAST_LEAKY_SLOPE = 0.01
OUTER_KERNEL_SIZE = 7


class ResBlock1(nn.Module):
    """Residual block with two convolutions a step: dilated, then plain.

    Args:
        channels: of input and output.
        kernel_size: odd.
        dilations: of the first convolution of each step.
    """

    def __init__(
        self, channels: int, kernel_size: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.convs1 = [_same_conv(channels, kernel_size, d) for d in dilations]
        self.convs2 = [_same_conv(channels, kernel_size, 1) for _ in dilations]

    def __call__(self, x_btc: mx.array) -> mx.array:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            hidden = dilated(nn.leaky_relu(x_btc, LEAKY_SLOPE))
            x_btc = x_btc + plain(nn.leaky_relu(hidden, LEAKY_SLOPE))
        return x_btc


class ResBlock2(nn.Module):
    """Residual block with one dilated convolution a step: the light variant.

    Args:
        channels: of input and output.
        kernel_size: odd.
        dilations: one step each.
    """

    def __init__(
        self, channels: int, kernel_size: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.convs = [_same_conv(channels, kernel_size, d) for d in dilations]

    def __call__(self, x_btc: mx.array) -> mx.array:
        for dilated in self.convs:
            x_btc = x_btc + dilated(nn.leaky_relu(x_btc, LEAKY_SLOPE))
        return x_btc


class HifiGanGenerator(nn.Module):
    """Latent frames [batch, frames, inter] to audio [batch, frames * hop].

    Args:
        config: ``inter_channels``, ``gin_channels``, ``upsample_*`` and ``resblock*``
            give the sizes.

    Raises:
        SpeechError: upsampling or residual sizes that do not fit together.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        _check_sizes(config)
        channels = config.upsample_initial_channel
        self.conv_pre = Conv1d(
            config.inter_channels,
            channels,
            OUTER_KERNEL_SIZE,
            padding=OUTER_KERNEL_SIZE // 2,
        )
        if config.gin_channels:
            self.cond = Conv1d(config.gin_channels, channels, 1)
        block = ResBlock1 if config.resblock == "1" else ResBlock2
        self.ups = []
        self.resblocks = []
        for rate, kernel_size in zip(
            config.upsample_rates, config.upsample_kernel_sizes, strict=True
        ):
            self.ups.append(
                ConvTranspose1d(
                    channels,
                    channels // 2,
                    kernel_size,
                    rate,
                    padding=(kernel_size - rate) // 2,
                    weight_norm=True,
                )
            )
            channels //= 2
            self.resblocks += [
                block(channels, size, dilations)
                for size, dilations in zip(
                    config.resblock_kernel_sizes,
                    config.resblock_dilation_sizes,
                    strict=True,
                )
            ]
        self.conv_post = Conv1d(
            channels, 1, OUTER_KERNEL_SIZE, padding=OUTER_KERNEL_SIZE // 2, bias=False
        )
        self._blocks_per_stage = len(config.resblock_kernel_sizes)

    def __call__(self, z_btc: mx.array, g_b1c: mx.array | None = None) -> mx.array:
        """Decode latent frames.

        Args:
            z_btc: [batch, frames, inter].
            g_b1c: speaker vectors [batch, 1, gin]; None for one voice.

        Returns:
            Audio in -1..1, [batch, frames * hop].
        """
        hidden = self.conv_pre(z_btc)
        if g_b1c is not None:
            hidden = hidden + self.cond(g_b1c)
        for stage, upsample in enumerate(self.ups):
            hidden = upsample(nn.leaky_relu(hidden, LEAKY_SLOPE))
            first = stage * self._blocks_per_stage
            blocks = self.resblocks[first : first + self._blocks_per_stage]
            total = blocks[0](hidden)
            for block in blocks[1:]:
                total = total + block(hidden)
            hidden = total / len(blocks)
        hidden = self.conv_post(nn.leaky_relu(hidden, LAST_LEAKY_SLOPE))
        return mx.tanh(hidden)[..., 0]


def _same_conv(channels: int, kernel_size: int, dilation: int) -> Conv1d:
    """A weight-normed convolution that keeps channels and length."""
    return Conv1d(
        channels,
        channels,
        kernel_size,
        padding=(kernel_size - 1) * dilation // 2,
        dilation=dilation,
        weight_norm=True,
    )


def _check_sizes(config: VitsConfig) -> None:
    rates, kernels = config.upsample_rates, config.upsample_kernel_sizes
    if not rates or len(rates) != len(kernels):
        raise SpeechError(
            f"{len(rates)} upsample_rates and {len(kernels)} upsample_kernel_sizes",
            "give one kernel size for each rate, and at least one",
        )
    for rate, kernel in zip(rates, kernels, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            raise SpeechError(
                f"an upsampling kernel of {kernel} does not fit the rate {rate}",
                "choose a kernel that exceeds its rate by an even number",
            )
    if config.upsample_initial_channel % 2 ** len(rates):
        raise SpeechError(
            f"upsample_initial_channel {config.upsample_initial_channel} cannot be "
            f"halved {len(rates)} times"
        )
    sizes, dilations = config.resblock_kernel_sizes, config.resblock_dilation_sizes
    if not sizes or len(sizes) != len(dilations):
        raise SpeechError(
            f"{len(sizes)} resblock_kernel_sizes and {len(dilations)} "
            "resblock_dilation_sizes",
            "give one tuple of dilations for each kernel size, and at least one",
        )
    if any(size % 2 == 0 for size in sizes):
        raise SpeechError(f"resblock_kernel_sizes must be odd, not {sizes}")
    if not all(steps and min(steps) > 0 for steps in dilations):
        raise SpeechError(
            f"resblock_dilation_sizes must be positive, not {dilations}",
            "give one tuple of dilations for each kernel size",
        )
