"""Configuration of a VITS generator and of its discriminators.

Field names are those of the reference implementation's ``model`` section, so that a
checkpoint's configuration reads the same here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mlx_speech.errors import SpeechError

DECODERS = ("hifigan", "istft")


@dataclass(frozen=True)
class VitsConfig:
    """Everything that fixes the shapes of a VITS generator.

    Attributes:
        n_vocab: number of text symbols.
        spec_channels: bins of the linear spectrogram, n_fft // 2 + 1.
        inter_channels: channels of the latent z (even).
        hidden_channels: channels of the text encoder, posterior encoder and flow.
        filter_channels: inner channels of the text encoder's feed-forward blocks.
        n_heads, n_layers, kernel_size, p_dropout: text encoder.
        window_size: reach of its relative positions, in symbols to either side.
        posterior_layers, flow_layers, n_flows: WaveNet depth of the posterior encoder,
            of each coupling layer, and the number of coupling layers.
        use_sdp: stochastic duration predictor; otherwise the deterministic one.
        n_speakers, gin_channels: speaker table and its width; 0 and 0 for one voice.
        decoder: "hifigan", or "istft" (ConvNeXt blocks and an inverse STFT).
        resblock .. upsample_kernel_sizes: HiFi-GAN generator; unused by "istft".
        istft_channels, istft_layers, istft_n_fft, istft_hop_length: "istft" decoder;
            unused by "hifigan".
    """

    n_vocab: int
    spec_channels: int = 513
    inter_channels: int = 192
    hidden_channels: int = 192
    filter_channels: int = 768
    n_heads: int = 2
    n_layers: int = 6
    kernel_size: int = 3
    p_dropout: float = 0.1
    window_size: int = 4
    posterior_layers: int = 16
    flow_layers: int = 4
    n_flows: int = 4
    use_sdp: bool = True
    n_speakers: int = 0
    gin_channels: int = 0
    decoder: str = "hifigan"
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_initial_channel: int = 512
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    istft_channels: int = 256
    istft_layers: int = 6
    istft_n_fft: int = 1024
    istft_hop_length: int = 256

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise SpeechError(
                f"unknown decoder `{self.decoder}`", f"choose one of {DECODERS}"
            )
        if self.resblock not in ("1", "2"):
            raise SpeechError(f"unknown resblock `{self.resblock}`", "choose 1 or 2")
        if self.inter_channels % 2:
            raise SpeechError(f"inter_channels must be even, not {self.inter_channels}")
        if self.hidden_channels % self.n_heads:
            raise SpeechError(
                f"hidden_channels {self.hidden_channels} must be a multiple of "
                f"n_heads {self.n_heads}"
            )
        if bool(self.n_speakers) != bool(self.gin_channels):
            raise SpeechError(
                "n_speakers and gin_channels must both be zero or both be positive, "
                f"not {self.n_speakers} and {self.gin_channels}"
            )

    @property
    def hop_length(self) -> int:
        """Samples of audio that the decoder makes from one latent frame."""
        if self.decoder == "istft":
            return self.istft_hop_length
        product = 1
        for rate in self.upsample_rates:
            product *= rate
        return product

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary (JSON and YAML can hold it)."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VitsConfig:
        """Build from a dictionary; lists become tuples.

        Raises:
            SpeechError: an unknown or a missing key, named.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SpeechError(f"unknown keys in the VITS configuration: {unknown}")
        if "n_vocab" not in values:
            raise SpeechError("the VITS configuration lacks `n_vocab`")
        return cls(**{key: _as_tuple(value) for key, value in values.items()})


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of the discriminators (HiFi-GAN, Kong et al. 2020, arXiv 2010.05646).

    Attributes:
        periods: one period discriminator each.
        channels_scale: factor on all channel counts; 1.0 is the papers' size.
        use_scale: with the scale discriminator.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    channels_scale: float = 1.0
    use_scale: bool = True

    def __post_init__(self) -> None:
        if not self.periods and not self.use_scale:
            raise SpeechError(
                "a training with discriminators needs at least one",
                "give a period, or set `use_scale`",
            )
        if any(period < 2 for period in self.periods):
            raise SpeechError(f"periods must be 2 or more, not {self.periods}")
        if self.channels_scale <= 0:
            raise SpeechError(
                f"channels_scale must be positive, not {self.channels_scale}"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DiscriminatorConfig:
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise SpeechError(f"unknown keys in the discriminator's: {unknown}")
        return cls(**{key: _as_tuple(value) for key, value in values.items()})


def _as_tuple(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_as_tuple(item) for item in value)
    return value
