"""The discriminators of a HiFi-GAN training: one on the waveform, one for each period.

Kong et al. 2020 (arXiv 2010.05646) fold the waveform into columns of a period's length
and convolve along the columns; the scale discriminator on the raw waveform is
MelGAN's (Kumar et al. 2019, arXiv 1910.06711). VITS uses one scale and five periods.
All convolutions are weight-normed.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.nn.layers import Conv1d, PeriodConv2d
from mlx_speech.vits.config import DiscriminatorConfig

LEAKY_SLOPE = 0.1
# A judgement: scores [batch, n] and every layer's activation, the scores' own included.
Judgement = tuple[mx.array, list[mx.array]]

# Scale discriminator: output channels as a multiple of the first layer's, kernel,
# stride, and whether four input channels make a group.
SCALE_FIRST_CHANNELS = 16
SCALE_LAYERS = (
    (1, 15, 1, False),
    (4, 41, 4, True),
    (16, 41, 4, True),
    (64, 41, 4, True),
    (64, 41, 4, True),
    (64, 5, 1, False),
)
GROUP_CHANNELS = 4
# Period discriminators: output channels and stride.
PERIOD_LAYERS = ((32, 3), (128, 3), (512, 3), (1024, 3), (1024, 1))
PERIOD_KERNEL_SIZE = 5
LAST_KERNEL_SIZE = 3


class ScaleDiscriminator(nn.Module):
    """Grouped, strided convolutions on the raw waveform.

    Args:
        channels_scale: factor on all channels, rounded so that groups stay whole.
    """

    def __init__(self, channels_scale: float = 1.0) -> None:
        super().__init__()
        groups = SCALE_FIRST_CHANNELS * channels_scale / GROUP_CHANNELS
        width = GROUP_CHANNELS * max(1, round(groups))
        self.convs = []
        channels = 1
        for multiple, kernel_size, stride, grouped in SCALE_LAYERS:
            self.convs.append(
                Conv1d(
                    channels,
                    multiple * width,
                    kernel_size,
                    stride,
                    padding=kernel_size // 2,
                    groups=channels // GROUP_CHANNELS if grouped else 1,
                    weight_norm=True,
                )
            )
            channels = multiple * width
        self.conv_post = Conv1d(
            channels,
            1,
            LAST_KERNEL_SIZE,
            padding=LAST_KERNEL_SIZE // 2,
            weight_norm=True,
        )

    def __call__(self, audio_bs: mx.array) -> Judgement:
        """Judge audio [batch, samples]; features are [batch, frames, channels]."""
        return _judge(audio_bs[..., None], self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Convolutions over every ``period``-th sample.

    Args:
        period: samples.
        channels_scale: factor on all channels.
    """

    def __init__(self, period: int, channels_scale: float = 1.0) -> None:
        super().__init__()
        self.period = period
        self.convs = []
        channels = 1
        for full, stride in PERIOD_LAYERS:
            width = max(1, round(full * channels_scale))
            self.convs.append(
                PeriodConv2d(
                    channels,
                    width,
                    PERIOD_KERNEL_SIZE,
                    stride,
                    padding=PERIOD_KERNEL_SIZE // 2,
                )
            )
            channels = width
        self.conv_post = PeriodConv2d(
            channels, 1, LAST_KERNEL_SIZE, 1, padding=LAST_KERNEL_SIZE // 2
        )

    def __call__(self, audio_bs: mx.array) -> Judgement:
        """Judge audio [batch, samples]; features [batch, rows, period, channels].

        Raises:
            SpeechError: the audio is too short to be reflected to whole rows.
        """
        return _judge(self._fold(audio_bs), self.convs, self.conv_post)

    def _fold(self, audio_bs: mx.array) -> mx.array:
        """[batch, samples] to [batch, rows, period, 1], the end reflected."""
        batch, samples = audio_bs.shape
        missing = -samples % self.period
        if missing >= samples:
            raise SpeechError(
                f"{samples} samples are too few for a discriminator of period "
                f"{self.period}",
                "choose longer training segments",
            )
        if missing:
            audio_bs = mx.pad(audio_bs, [(0, 0), (0, missing)], mode="reflect")
        return audio_bs.reshape(batch, -1, self.period, 1)


def _judge(hidden: mx.array, convs: Sequence[nn.Module], last: nn.Module) -> Judgement:
    """Through all layers: flat scores, and what each layer gave."""
    features = []
    for conv in convs:
        hidden = nn.leaky_relu(conv(hidden), LEAKY_SLOPE)
        features.append(hidden)
    scores = last(hidden)
    return scores.reshape(scores.shape[0], -1), [*features, scores]


class Discriminators(nn.Module):
    """All discriminators of one training; ``discriminators`` holds the scale one first.

    Args:
        config: periods, sizes, and whether there is a scale discriminator.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        scale = [ScaleDiscriminator(config.channels_scale)] if config.use_scale else []
        self.discriminators: list[ScaleDiscriminator | PeriodDiscriminator] = [
            *scale,
            *(
                PeriodDiscriminator(period, config.channels_scale)
                for period in config.periods
            ),
        ]

    def __call__(self, audio_bs: mx.array) -> list[Judgement]:
        """One (scores, features) for each discriminator, of audio [batch, samples]."""
        return [discriminator(audio_bs) for discriminator in self.discriminators]
