"""What may be asked of the decoding of a window, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.tokenizer import TASKS

# The task that stops once the language is known.
LANGUAGE_TASK = "lang_id"


@dataclass(frozen=True)
class DecodingOptions:
    """What to decode and how; the names are openai-whisper's.

    Args:
        task: "transcribe", "translate" (into English), or "lang_id": only detect.
        language: code or English name; None detects it.
        temperature: 0 takes the likeliest tokens, more draws them.
        sample_len: most tokens to sample; None: half of what the model can hold.
        best_of: independent samples to choose from, when tokens are drawn.
        beam_size: beams of a beam search; None for none.
        patience: of the beam search, a multiple of the beams to wait for.
        length_penalty: exponent alpha of ((5 + length) / 6) that scores are divided
            by, 0 to 1; None divides by the length.
        prompt: text or ids of what was said before.
        prefix: text or ids that the transcript begins with.
        suppress_tokens: ids that never come, as a list or separated by commas; -1
            stands for annotations. None or nothing at all: no suppression.
        suppress_blank: whether a transcript may not begin with a space or its end.
        without_timestamps: leave times out.
        max_initial_timestamp: latest time in seconds that a transcript may begin
            with; None or 0: any.

    Raises:
        SpeechError: options that contradict each other, or a value out of its range.
    """

    task: str = "transcribe"
    language: str | None = None
    temperature: float = 0.0
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prompt: str | Sequence[int] | None = None
    prefix: str | Sequence[int] | None = None
    suppress_tokens: str | Sequence[int] | None = "-1"
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0

    def __post_init__(self) -> None:
        for wrong, why, hint in (
            (
                self.task not in (*TASKS, LANGUAGE_TASK),
                f"the task {self.task!r} is not known",
                f"choose one of: {', '.join((*TASKS, LANGUAGE_TASK))}",
            ),
            (
                not 0 <= self.temperature < math.inf,
                f"the temperature {self.temperature} is no finite number from 0 on",
                "give 0 for the likeliest tokens, or up to about 1 to draw them",
            ),
            (
                self.beam_size is not None and self.best_of is not None,
                "beam_size and best_of cannot be given together",
                "leave out best_of at temperature 0, and beam_size above it",
            ),
            (
                self.temperature == 0 and self.best_of is not None,
                "best_of needs a temperature above 0: all samples would be equal",
                "leave it out, or give a temperature such as 0.2",
            ),
            (
                self.patience is not None and self.beam_size is None,
                "patience needs beam_size",
                "leave it out, or give a beam_size such as 5",
            ),
            (
                self.length_penalty is not None and not 0 <= self.length_penalty <= 1,
                f"length_penalty is {self.length_penalty}, not between 0 and 1",
                "give a number from 0 to 1, or None to divide by the length",
            ),
            *(
                (
                    value is not None and value < 1,
                    f"{name} is {value}, less than 1",
                    f"give 1 or more, or None for {otherwise}",
                )
                for name, value, otherwise in (
                    ("sample_len", self.sample_len, "the model's own limit"),
                    ("best_of", self.best_of, "a single sample"),
                    ("beam_size", self.beam_size, "no beam search"),
                )
            ),
            (
                self.beam_size is not None
                and not 0.5 < self.beam_size * (self.patience or 1.0) < math.inf,
                f"patience {self.patience} gives no number of candidates to wait for",
                "give 1, or a few times as many for a longer search",
            ),
        ):
            if wrong:
                raise SpeechError(why, hint)


@dataclass(frozen=True)
class DecodingResult:
    """The transcript of one window.

    Args:
        audio_features: [positions, channels] of the encoder.
        language: code.
        language_probs: of every language, when it was detected; else None.
        tokens: ids, times included.
        text: without times, stripped.
        avg_logprob: natural log-probability per token, the end counted.
        no_speech_prob: that nothing is said in the window.
        temperature: that the tokens were decoded at.
        compression_ratio: of the text; high for one that repeats itself.
        drafted, accepted: tokens that a draft guessed, and how many of them were right.
    """

    audio_features: mx.array
    language: str
    language_probs: dict[str, float] | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    avg_logprob: float = float("nan")
    no_speech_prob: float = float("nan")
    temperature: float = float("nan")
    compression_ratio: float = float("nan")
    drafted: int = 0
    accepted: int = 0
