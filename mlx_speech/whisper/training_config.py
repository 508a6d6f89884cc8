"""Settings of a Whisper training: one flat list, the same in YAML and as flags.

The defaults fine-tune a released model. The bundled recogniser's settings, from
scratch, lie in ``weights/recogniser.yaml``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlx_speech.corpus import check_validation_share
from mlx_speech.errors import SpeechError
from mlx_speech.training.config import setting
from mlx_speech.training.limits import check_limits
from mlx_speech.training.settings import LoopSettings
from mlx_speech.whisper.ctc_labels import CTC_LABELS
from mlx_speech.whisper.languages import language_code
from mlx_speech.whisper.own_vocabulary import BYTES
from mlx_speech.whisper.tokenizer import TASKS

# Validation score whose lowest value marks the best checkpoint.
BEST_METRIC = "wer"
# What `base` says when there is none.
NO_BASE = ("", "none")
PRECISIONS = ("float32", "bfloat16")
# Of one position of the encoder: no window is shorter.
POSITION_SECONDS = 0.02
# Half of them are for the text of a window, with a time on either side.
LEAST_TEXT_POSITIONS = 32
# A band needs a frequency of its own, of a transform of 400 points.
MOST_MELS = 201

POSITIVE = (
    "max_steps",
    "batch_size",
    "validation_limit",
    "learning_rate",
    "gradient_clip",
    "vocabulary_size",
    "window_positions",
    "n_mels",
    "channels",
    "heads",
    "encoder_layers",
    "decoder_layers",
    "text_positions",
    "lora_alpha",
)
NOT_NEGATIVE = (
    "seed",
    "warmup_steps",
    "weight_decay",
    "ctc_weight",
    "window_seconds",
    "lora_rank",
    "frequency_masks",
    "time_masks",
    "longest_pause",
    "longest_loss",
)
SHARES = (
    "timestamps_share",
    "prompt_share",
    "silence_share",
    "noise_share",
    "cut_share",
    "long_pause_share",
    "late_share",
)


@dataclass(frozen=True)
class WhisperTrainConfig:
    """Everything that a Whisper training may be told; see each field's ``help``."""

    data: str = setting("", "folder of recordings with transcripts")
    base: str = setting("turbo", "model to start from, by name or path; none: scratch")
    language: str = setting("en", "what is spoken: a code or an English name")
    task: str = setting("transcribe", "transcribe, or translate (into English)")

    # Data.
    validation: str = setting("", "folder to validate on; empty: a share of the data")
    validation_share: float = setting(0.05, "share of the data kept for validation")
    validation_limit: int = setting(100, "at most so many validation recordings")
    window_seconds: float = setting(0.0, "of a training window; 0: the model's")
    pack: bool = setting(True, "put several recordings into a window, with pauses")
    crop: bool = setting(
        False, "leave out the empty ends of a batch's windows: quick, for a beginning"
    )
    longest_pause: float = setting(1.0, "seconds of silence before a recording")
    long_pause_share: float = setting(0.1, "pauses of up to four times as long")
    cut_share: float = setting(0.15, "windows whose last recording is cut off")
    late_share: float = setting(
        0.0, "windows with nothing but the beginning of a recording, at their end"
    )
    longest_loss: float = setting(
        0.0, "seconds that a recording may lack where a window begins"
    )
    timestamps_share: float = setting(0.5, "windows transcribed with timestamps")
    prompt_share: float = setting(0.3, "windows prompted with earlier text")
    silence_share: float = setting(0.02, "windows in which nobody speaks")
    noise_share: float = setting(0.3, "windows with noise added")
    noise_snr: tuple[float, ...] = setting((5.0, 40.0), "range of its level in dB")
    frequency_masks: int = setting(2, "SpecAugment: masks of at most 15 mel bands")
    time_masks: int = setting(2, "SpecAugment: masks of at most 0.25 s")

    # Schedule.
    max_steps: int = setting(2000, "total steps, resumed ones included")
    max_epochs: int | None = setting(None, "stop after so many passes over the data")
    batch_size: int = setting(8, "windows per step")
    seed: int = setting(0, "of initial weights, data order and augmentation")
    validate_every: int = setting(200, "steps between validations; 0 for none")
    sample_every: int = setting(0, "steps between two sets of samples; 0 for none")
    checkpoint_every: int = setting(200, "steps between checkpoints")
    checkpoint_minutes: float = setting(10.0, "most minutes between checkpoints")
    keep: int = setting(2, "checkpoints that stay, besides the best one")
    log_every: int = setting(1, "steps between two lines of metrics.jsonl")
    export: str = setting("best", "which weights the model gets: last or best")

    # Optimiser: AdamW, warm-up, then linear decay to zero at `max_steps`.
    learning_rate: float = setting(1e-5, "at its highest")
    warmup_steps: int = setting(50, "steps of linear growth")
    adam_betas: tuple[float, ...] = setting((0.9, 0.98), "AdamW")
    weight_decay: float = setting(0.01, "AdamW")
    gradient_clip: float = setting(1.0, "largest norm of the gradient")
    ema_decay: float = setting(0.0, "of the averaged weights that are exported")
    precision: str = setting("float32", "of forward and backward pass, or bfloat16")
    freeze_encoder: bool = setting(False, "train the decoder only")
    lora_rank: int = setting(0, "rank of low-rank updates; 0 trains all weights")
    lora_alpha: float = setting(16.0, "their scale, divided by the rank")
    ctc_weight: float = setting(0.0, "of a CTC loss on the encoder, for scratch")
    ctc_labels: str = setting("characters", "of that loss: characters or phonemes")

    # Shapes, from scratch only.
    vocabulary_size: int = setting(1000, "pieces of the model's own vocabulary")
    window_positions: int = setting(1500, "encoder positions, 20 ms each")
    text_positions: int = setting(448, "most tokens, prompt included")
    n_mels: int = setting(80, "mel bands")
    channels: int = setting(384, "of encoder and decoder")
    heads: int = setting(6, "of attention")
    encoder_layers: int = setting(4, "layers")
    decoder_layers: int = setting(4, "layers")

    def __post_init__(self) -> None:
        check_limits(
            self,
            positive=POSITIVE,
            not_negative=NOT_NEGATIVE,
            shares=SHARES,
            below_one=("ema_decay", "adam_betas"),
        )
        check_validation_share(self.validation_share)
        if len(self.adam_betas) != 2:
            raise SpeechError(f"`adam_betas` takes two numbers, not {self.adam_betas}")
        low_high = self.noise_snr
        finite = all(map(math.isfinite, low_high))
        if len(low_high) != 2 or not finite or low_high[0] > low_high[1]:
            raise SpeechError(
                f"`noise_snr` takes two ascending numbers, not {low_high}"
            )
        if 0 < self.window_seconds < POSITION_SECONDS:
            raise SpeechError(
                f"`window_seconds` must be 0 or at least {POSITION_SECONDS}, not "
                f"{self.window_seconds}"
            )
        self._check_shapes()
        # A frozen dataclass is completed through its base class.
        object.__setattr__(self, "language", language_code(self.language))
        for name, known in (
            ("task", TASKS),
            ("precision", PRECISIONS),
            ("ctc_labels", CTC_LABELS),
        ):
            if getattr(self, name) not in known:
                raise SpeechError(
                    f"`{name}` is `{getattr(self, name)}`",
                    f"choose one of {', '.join(known)}",
                )
        if self.starts_fresh and (self.lora_rank or self.freeze_encoder):
            raise SpeechError(
                "random weights cannot stay as they are",
                "leave out `lora_rank` and `freeze_encoder`, or name a base",
            )
        self.loop_settings()  # refuses what the loop cannot use, before hours of work

    def _check_shapes(self) -> None:
        """Refuse shapes that no model can have, from scratch or not."""
        # The table of the encoder's positions holds sines and as many cosines.
        if self.channels % 2 or self.channels < 4:
            raise SpeechError(
                f"`channels` must be even and at least 4, not {self.channels}"
            )
        if self.channels % self.heads:
            raise SpeechError(
                f"`channels` must be a multiple of `heads`, not {self.channels} of "
                f"{self.heads}"
            )
        if self.n_mels > MOST_MELS:
            raise SpeechError(
                f"`n_mels` must be at most {MOST_MELS}, not {self.n_mels}"
            )
        for name, least, why in (
            ("vocabulary_size", BYTES, "one piece for each byte"),
            ("text_positions", LEAST_TEXT_POSITIONS, "half of them hold a sentence"),
        ):
            if getattr(self, name) < least:
                raise SpeechError(
                    f"`{name}` must be at least {least}, not {getattr(self, name)}",
                    why,
                )

    @property
    def starts_fresh(self) -> bool:
        """Whether training starts from random weights."""
        return self.base in NO_BASE

    def loop_settings(self) -> LoopSettings:
        """What the training loop needs of these settings."""
        return LoopSettings.among(self, BEST_METRIC)

    def rate_factor(self, step: int) -> float:
        """Share of the learning rate that step ``step`` (from 1) takes."""
        if step <= self.warmup_steps:
            return step / self.warmup_steps
        rest = max(self.max_steps - self.warmup_steps, 1)
        return max(self.max_steps - step + 1, 0) / rest
