"""Settings of a VITS training: one flat list, the same in YAML and as flags.

The defaults are those of the VITS paper's reference training, except where the comment
says why not. The demo's and the base's settings lie as YAML files in ``weights/``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx_speech.corpus import check_validation_share
from mlx_speech.errors import SpeechError
from mlx_speech.training.config import setting
from mlx_speech.training.limits import check_limits
from mlx_speech.training.settings import LoopSettings

# Validation score whose lowest value marks the best checkpoint.
BEST_METRIC = "mcd"
# What `base` says when there is none.
NO_BASE = ("", "none")

POSITIVE = (
    "max_steps",
    "batch_size",
    "segment_frames",
    "validation_limit",
    "learning_rate",
    "lr_decay",
    "adam_eps",
    "slow_rate",
    "discriminator_scale",
    "length_scale",
    "hidden_channels",
    "inter_channels",
    "filter_channels",
    "n_heads",
    "n_layers",
    "posterior_layers",
    "flow_layers",
    "n_flows",
    "gin_channels",
    "resblock_kernel_sizes",
    "upsample_rates",
    "upsample_initial_channel",
    "upsample_kernel_sizes",
    "istft_channels",
    "istft_layers",
)
NOT_NEGATIVE = (
    "seed",
    "weight_decay",
    "weight_mel",
    "weight_kl",
    "weight_duration",
    "weight_adversarial",
    "weight_feature",
    "weight_stft",
    "noise_scale",
    "noise_scale_w",
    "kl_warmup_steps",
)


@dataclass(frozen=True)
class VitsTrainConfig:
    """Everything that a VITS training may be told; see each field's ``help``."""

    data: str = setting("", "folder of recordings")
    base: str = setting("", "folder of the voice to start from; empty for scratch")

    # Data and front end; ignored where a base voice brings its own.
    mel: str = setting("vits-22k", "mel preset: sampling rate, window, bands")
    fft: str = setting(
        "", "learned transform, as `mlx-speech fft` writes it, for all spectrograms"
    )
    vocabulary: str = setting(
        "english-phonemes", "text symbols: english-phonemes or characters"
    )
    add_blank: bool = setting(True, "a blank symbol between all text symbols")
    validation_share: float = setting(0.05, "share of the data kept for validation")
    validation_limit: int = setting(12, "at most so many validation sentences")

    # Schedule.
    max_steps: int = setting(10000, "total steps, resumed ones included")
    batch_size: int = setting(16, "utterances a step")
    segment_frames: int = setting(32, "frames that the decoder is trained on at once")
    seed: int = setting(1234, "seed of weights, data order and noise")
    validate_every: int = setting(500, "steps between validations; 0 for none")
    sample_every: int = setting(500, "steps between spoken samples; 0 for none")
    checkpoint_every: int = setting(
        500, "steps between checkpoints; 0 for only the last one"
    )
    checkpoint_minutes: float = setting(
        10.0, "minutes between checkpoints at most; 0 for no such limit"
    )
    keep: int = setting(2, "checkpoints kept beside the best")
    log_every: int = setting(10, "steps between lines in metrics.jsonl")

    # Optimisation (AdamW, bias-corrected).
    learning_rate: float = setting(2e-4, "learning rate of all networks")
    lr_decay: float = setting(0.999875, "factor on the learning rate per epoch")
    adam_betas: tuple[float, ...] = setting((0.8, 0.99), "AdamW's betas")
    adam_eps: float = setting(1e-9, "AdamW's epsilon")
    weight_decay: float = setting(0.01, "AdamW's weight decay")
    slow_parts: tuple[str, ...] = setting(
        (), "generator parts with a lower learning rate, such as enc_p"
    )
    slow_rate: float = setting(0.1, "factor on the learning rate of slow_parts")
    frozen_parts: tuple[str, ...] = setting((), "generator parts that do not learn")
    ema_decay: float = setting(0.999, "decay of the averaged generator")

    # Loss weights.
    weight_mel: float = setting(45.0, "weight of the mel L1 loss")
    weight_kl: float = setting(1.0, "weight of the KL divergence")
    kl_warmup_steps: int = setting(
        0, "steps over which weight_kl rises from 0, so that the latent says much early"
    )
    weight_duration: float = setting(1.0, "weight of the duration loss")
    weight_adversarial: float = setting(1.0, "weight of the generator's LSGAN loss")
    weight_feature: float = setting(2.0, "weight of the feature matching loss")
    weight_stft: float = setting(0.0, "weight of the multi-resolution STFT loss")
    discriminator_start: int = setting(
        0, "steps before the discriminators join; a negative number for never"
    )
    discriminator_scale: float = setting(1.0, "factor on the discriminators' channels")
    discriminator_periods: tuple[int, ...] = setting(
        (2, 3, 5, 7, 11), "one period discriminator each"
    )

    # What the finished voice does unless told otherwise.
    noise_scale: float = setting(0.667, "noise of the prior when speaking")
    noise_scale_w: float = setting(0.8, "noise of the durations when speaking")
    length_scale: float = setting(1.0, "duration factor when speaking")

    # Shapes; see VitsConfig. A base voice brings its own.
    hidden_channels: int = setting(192, "text encoder, posterior encoder and flow")
    inter_channels: int = setting(192, "channels of the latent")
    filter_channels: int = setting(768, "inner channels of the text encoder")
    n_heads: int = setting(2, "attention heads of the text encoder")
    n_layers: int = setting(6, "layers of the text encoder")
    p_dropout: float = setting(0.1, "dropout of the text encoder")
    posterior_layers: int = setting(16, "WaveNet layers of the posterior encoder")
    flow_layers: int = setting(4, "WaveNet layers of a coupling layer")
    n_flows: int = setting(4, "coupling layers")
    use_sdp: bool = setting(True, "stochastic instead of deterministic durations")
    gin_channels: int = setting(256, "width of the speaker table, if there is one")
    decoder: str = setting("hifigan", "hifigan, or istft: light, at frame rate")
    resblock: str = setting("1", "HiFi-GAN residual block, 1 or 2")
    resblock_kernel_sizes: tuple[int, ...] = setting((3, 7, 11), "HiFi-GAN")
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = setting(
        ((1, 3, 5),) * 3, "HiFi-GAN"
    )
    upsample_rates: tuple[int, ...] = setting((8, 8, 2, 2), "HiFi-GAN")
    upsample_initial_channel: int = setting(512, "HiFi-GAN")
    upsample_kernel_sizes: tuple[int, ...] = setting((16, 16, 4, 4), "HiFi-GAN")
    istft_channels: int = setting(256, "channels of the istft decoder")
    istft_layers: int = setting(6, "ConvNeXt blocks of the istft decoder")

    def __post_init__(self) -> None:
        check_limits(
            self,
            positive=POSITIVE,
            not_negative=NOT_NEGATIVE,
            below_one=("p_dropout", "ema_decay", "adam_betas"),
        )
        check_validation_share(self.validation_share)
        if len(self.adam_betas) != 2:
            raise SpeechError(f"`adam_betas` takes two numbers, not {self.adam_betas}")
        self.loop_settings()  # refuses what the loop cannot use, before hours of work

    def loop_settings(self) -> LoopSettings:
        """What the training loop needs of these settings."""
        return LoopSettings.among(self, BEST_METRIC)

    @property
    def starts_fresh(self) -> bool:
        """Whether training starts from random weights, without a base voice."""
        return self.base in NO_BASE

    @property
    def uses_discriminators(self) -> bool:
        """Whether discriminators are trained, in this part of the run or in a later
        one: a resumed run finds the networks that it was started with.
        """
        return self.discriminator_start >= 0
