"""A light decoder: ConvNeXt blocks at frame rate and an inverse STFT.

The HiFi-GAN generator spends most of its work at audio rate. Predicting the magnitude
and phase of a short-time spectrum instead, as iSTFTNet (Kaneko et al. 2022, arXiv
2203.02395) and Vocos (Siuzdak 2023, arXiv 2306.00814) do, keeps every layer at frame
rate, which is what makes a training of minutes on a CPU possible.

Against Vocos: leaky ReLU instead of GELU (the error function is the slowest elementwise
operation of MLX's CPU back end), an expansion of 3, and the speaker is added once.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.audio.stft import istft
from mlx_speech.nn.layers import Conv1d
from mlx_speech.vits.config import VitsConfig

EXPANSION = 3
KERNEL_SIZE = 7
LEAKY_SLOPE = 0.1
# A frame's magnitude may not pass this; it is louder than full scale by far, and keeps
# the exponential of an untrained network finite.
MAX_LOG_MAGNITUDE = 7.0


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, two linear maps, scaled residual.

    Liu et al. 2022 (arXiv 2201.03545), in one dimension; shape [batch, frames,
    channels] in and out.
    """

    def __init__(self, channels: int, n_layers: int) -> None:
        super().__init__()
        self.dwconv = Conv1d(
            channels,
            channels,
            KERNEL_SIZE,
            padding=KERNEL_SIZE // 2,
            groups=channels,
        )
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, EXPANSION * channels)
        self.pwconv2 = nn.Linear(EXPANSION * channels, channels)
        self.gamma = mx.full((channels,), 1.0 / n_layers)

    def __call__(self, x_btc: mx.array) -> mx.array:
        hidden = self.pwconv1(self.norm(self.dwconv(x_btc)))
        hidden = self.pwconv2(nn.leaky_relu(hidden, LEAKY_SLOPE))
        return x_btc + self.gamma * hidden


class IstftDecoder(nn.Module):
    """Latent frames to audio: [batch, frames, inter] to [batch, frames * hop].

    Args:
        config: ``istft_channels``, ``istft_layers``, ``istft_n_fft`` and
            ``istft_hop_length`` give the sizes.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        channels = config.istft_channels
        self.n_fft = config.istft_n_fft
        self.hop_length = config.istft_hop_length
        self.conv_pre = Conv1d(
            config.inter_channels, channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2
        )
        if config.gin_channels:
            self.cond = Conv1d(config.gin_channels, channels, 1)
        self.norm_pre = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = [
            ConvNeXtBlock(channels, config.istft_layers)
            for _ in range(config.istft_layers)
        ]
        self.norm_post = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, 2 * (self.n_fft // 2 + 1))

    def __call__(self, z_btc: mx.array, g_b1c: mx.array | None = None) -> mx.array:
        """Decode ``z_btc`` [batch, frames, inter], for the speaker ``g`` if given."""
        hidden = self.conv_pre(z_btc)
        if g_b1c is not None:
            hidden = hidden + self.cond(g_b1c)
        hidden = self.norm_pre(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        log_magnitude, phase = mx.split(self.head(self.norm_post(hidden)), 2, axis=-1)
        magnitude = mx.exp(mx.minimum(log_magnitude, MAX_LOG_MAGNITUDE))
        spectrum = magnitude * mx.cos(phase) + 1j * (magnitude * mx.sin(phase))
        audio = istft(spectrum, self.n_fft, self.hop_length, center=False)
        # Frames sit in the middle of their hop, as in the spectrogram of the posterior
        # encoder, so half of the overhang is cut on either side.
        margin = (self.n_fft - self.hop_length) // 2
        return audio[..., margin : margin + z_btc.shape[1] * self.hop_length]
