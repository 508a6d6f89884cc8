"""VITS's posterior encoder: a linear spectrogram to a distribution of latents."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.layers import Conv1d
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.wavenet import WaveNet

KERNEL_SIZE = 5


class PosteriorEncoder(nn.Module):
    """Kim et al. 2021, section 2.2.1; used in training and for voice conversion.

    Args:
        config: ``spec_channels``, ``hidden_channels``, ``inter_channels``,
            ``posterior_layers`` and ``gin_channels`` give the sizes.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.pre = Conv1d(config.spec_channels, hidden, 1)
        self.enc = WaveNet(
            hidden, KERNEL_SIZE, 1, config.posterior_layers, config.gin_channels
        )
        self.proj = Conv1d(hidden, 2 * config.inter_channels, 1)

    def __call__(
        self, spec_btf: mx.array, mask_bt1: mx.array, g_b1c: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Mean and log standard deviation of the latents.

        Args:
            spec_btf: magnitude spectrogram [batch, frames, spec_channels].
            mask_bt1: 1 at valid frames, [batch, frames, 1].
            g_b1c: speaker vector [batch, 1, gin_channels] or None.

        Returns:
            m_q and logs_q, each [batch, frames, inter_channels], zero at padding.
        """
        hidden = self.pre(spec_btf) * mask_bt1
        hidden = self.enc(hidden, mask_bt1, g_b1c)
        m_q, logs_q = mx.split(self.proj(hidden) * mask_bt1, 2, axis=-1)
        return m_q, logs_q


def sample_latent(
    m_q: mx.array, logs_q: mx.array, eps: mx.array, mask_bt1: mx.array
) -> mx.array:
    """z = (m + eps exp(logs)) mask, all [batch, frames, inter_channels]."""
    return (m_q + eps * mx.exp(logs_q)) * mask_bt1
