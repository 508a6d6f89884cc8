"""Flags of the commands that write down speech; the names are openai-whisper's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from mlx_speech.cli.grouped_options import (
    at_least,
    number_or_none,
    size_in_bytes,
    whole_or_none,
)
from mlx_speech.errors import SpeechError

_MODEL = "Model"
_DECODING = "Decoding"
# Of the temperature: a hundred tries are more than anybody waits for.
LEAST_INCREMENT = 0.01


class Task(Enum):
    """What to write down."""

    transcribe = "transcribe"
    translate = "translate"


class SpeechDetector(Enum):
    """How speech is told from everything else."""

    energy = "energy"
    silero = "silero"


def _number(help: str, without: str = "no limit") -> Any:
    return typer.Option(
        help=f"{help}; `None` for {without}.",
        parser=number_or_none,
        metavar="NUMBER",
        rich_help_panel=_DECODING,
    )


@dataclass(frozen=True)
class ModelFlags:
    """Which model listens, and on what."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="MLX_SPEECH_MODEL",
            help="A name such as tiny, small, large-v3, turbo, distil-large-v3; a "
            "Hugging Face repository; a folder or a .pt; or `bundled`, a small one of "
            "few English words that is always there.",
            rich_help_panel=_MODEL,
        ),
    ] = "turbo"
    model_dir: Annotated[
        Path | None,
        typer.Option(
            help="Cache of downloaded models [default: Hugging Face's].",
            rich_help_panel=_MODEL,
        ),
    ] = None
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Never use the network.",
            rich_help_panel=_MODEL,
        ),
    ] = False
    fp16: Annotated[
        bool | None,
        typer.Option(
            "--fp16/--no-fp16",
            help="Compute in half precision, or in single [default: on a GPU as the "
            "file is, on a CPU single].",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None
    memory_limit: Annotated[
        int | None,
        typer.Option(
            parser=size_in_bytes,
            metavar="SIZE",
            help="Keep MLX's memory near this, 800MB or 6GB, by decoding fewer windows "
            "at once [default: MLX's own].",
            rich_help_panel=_MODEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            parser=at_least(0, whole_or_none),
            metavar="NUMBER",
            help="Of matrix products on a CPU under Linux [default: "
            "OPENBLAS_NUM_THREADS, or 1].",
            rich_help_panel=_MODEL,
        ),
    ] = None
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            "-l",
            help="Code or English name, de or german [default: detected].",
            rich_help_panel=_MODEL,
        ),
    ] = None

    @property
    def code(self) -> str | None:
        """The language as a code; None when it is to be detected.

        Raises:
            SpeechError: an unknown one; such as are like it are suggested.
        """
        if self.language is None or self.language.lower() in ("auto", "none"):
            return None
        from mlx_speech.whisper.languages import language_code

        return language_code(self.language)


@dataclass(frozen=True)
class DecodingFlags:
    """How a window of speech is decoded, and when it is tried again."""

    task: Annotated[
        Task,
        typer.Option(
            help="translate: into English, whatever is spoken.",
            rich_help_panel=_DECODING,
        ),
    ] = Task.transcribe
    temperature: Annotated[
        float,
        typer.Option(
            help="0 takes the likeliest words, more draws them.",
            min=0.0,
            rich_help_panel=_DECODING,
        ),
    ] = 0.0
    temperature_increment_on_fallback: Annotated[
        float | None,
        _number("Added to the temperature when a window fails, up to 1", "one try"),
    ] = 0.2
    best_of: Annotated[
        float | None, _number("Draws to choose from at temperatures above 0", "one")
    ] = 5
    beam_size: Annotated[
        int | None,
        typer.Option(
            parser=whole_or_none,
            metavar="NUMBER",
            help="Beams at temperature 0 [default: none; openai-whisper takes 5].",
            rich_help_panel=_DECODING,
        ),
    ] = None
    patience: Annotated[
        float | None,
        typer.Option(
            parser=number_or_none,
            metavar="NUMBER",
            help="Of the beam search: so many times its beams are waited for "
            "[default: 1].",
            rich_help_panel=_DECODING,
        ),
    ] = None
    length_penalty: Annotated[
        float | None,
        typer.Option(
            parser=number_or_none,
            metavar="NUMBER",
            help="Exponent alpha of Google's length penalty, 0 to 1 [default: divide "
            "by the length].",
            rich_help_panel=_DECODING,
        ),
    ] = None
    suppress_tokens: Annotated[
        str,
        typer.Option(
            help="Ids that never come, with commas; -1: marks that nobody speaks.",
            rich_help_panel=_DECODING,
        ),
    ] = "-1"
    initial_prompt: Annotated[
        str | None,
        typer.Option(
            help="Text as if said before the recording: names, spelling, style.",
            rich_help_panel=_DECODING,
        ),
    ] = None
    carry_initial_prompt: Annotated[
        bool,
        typer.Option(
            "--carry-initial-prompt",
            help="With --exact, before every window; without, it always is.",
            rich_help_panel=_DECODING,
        ),
    ] = False
    condition_on_previous_text: Annotated[
        bool,
        typer.Option(
            "--condition-on-previous-text/--no-condition-on-previous-text",
            help="With --exact, prompt each window with the text before it [default]; "
            "without, one slip of the model does not lead to the next.",
            show_default=False,
            rich_help_panel=_DECODING,
        ),
    ] = True
    compression_ratio_threshold: Annotated[
        float | None, _number("A window whose text repeats itself more failed")
    ] = 2.4
    logprob_threshold: Annotated[
        float | None, _number("A window of less likely words failed")
    ] = -1.0
    no_speech_threshold: Annotated[
        float | None,
        _number("A failed window whose silence is more probable is left out"),
    ] = 0.6
    clip_timestamps: Annotated[
        str,
        typer.Option(
            help="Only these parts: starts and ends in seconds, such as 0,9.5,60,75.",
            rich_help_panel=_DECODING,
        ),
    ] = "0"
    hotwords: Annotated[
        str | None,
        typer.Option(
            help="Words that are likely to come, such as names.",
            rich_help_panel=_DECODING,
        ),
    ] = None
    multilingual: Annotated[
        bool,
        typer.Option(
            "--multilingual",
            help="Detect the language of every window, not of the whole.",
            rich_help_panel=_DECODING,
        ),
    ] = False
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="OpenAI's algorithm: one window after the other, each prompted by the "
            "one before, silence included.",
            rich_help_panel=_DECODING,
        ),
    ] = False
    vad: Annotated[
        bool,
        typer.Option(
            "--vad/--no-vad",
            help="Decode only where somebody speaks.",
            rich_help_panel=_DECODING,
        ),
    ] = True
    vad_method: Annotated[
        SpeechDetector,
        typer.Option(
            help="How that is found: by the energy of bands, or by Silero's network "
            "(the extra `vad`).",
            rich_help_panel=_DECODING,
        ),
    ] = SpeechDetector.energy
    draft: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A smaller model that guesses ahead, such as distil-large-v3 for "
            "large-v3: the same text, sooner.",
            rich_help_panel=_DECODING,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Windows decoded at once [default: 8, or as many as fit in half of "
            "the memory or in --memory-limit].",
            rich_help_panel=_DECODING,
        ),
    ] = None

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, one after the other."""
        step = self.temperature_increment_on_fallback
        if step is None:
            return (self.temperature,)
        if step < LEAST_INCREMENT:
            raise SpeechError(
                f"a temperature increment of {step} never comes to an end",
                f"give {LEAST_INCREMENT} or more, or `None` for a single try",
            )
        if self.temperature >= 1:
            return (self.temperature,)
        import numpy as np

        # openai-whisper's formula, so that the temperatures are the same to the bit.
        steps = np.arange(self.temperature, 1.0 + 1e-6, step)
        return tuple(map(float, steps)) or (self.temperature,)

    def options(self) -> dict[str, Any]:
        """The options of ``mlx_speech.transcribe``.

        Raises:
            SpeechError: flags that contradict each other.
        """
        if self.best_of is not None and self.best_of != int(self.best_of):
            raise SpeechError(f"--best-of is {self.best_of}", "give a whole number")
        if self.patience is not None and self.beam_size is None:
            raise SpeechError("--patience is of the beam search", "add --beam-size 5")
        whispers = {
            "task": self.task.value,
            "temperature": self.temperatures,
            "best_of": None if self.best_of is None else int(self.best_of),
            "beam_size": self.beam_size,
            "patience": self.patience,
            "length_penalty": self.length_penalty,
            "suppress_tokens": self.suppress_tokens,
            "initial_prompt": self.initial_prompt,
            "carry_initial_prompt": self.carry_initial_prompt,
            "condition_on_previous_text": self.condition_on_previous_text,
            "compression_ratio_threshold": self.compression_ratio_threshold,
            "logprob_threshold": self.logprob_threshold,
            "no_speech_threshold": self.no_speech_threshold,
            "clip_timestamps": self.clip_timestamps,
            "hotwords": self.hotwords,
            "multilingual": self.multilingual,
        }
        _check(whispers)
        return {
            **whispers,
            "exact": self.exact,
            "batch_size": self.batch_size,
            **self._detection(),
        }

    def notes(self, language: str | None) -> list[str]:
        """Flags that have no effect, in words.

        Args:
            language: that was asked for.
        """
        usual = DecodingFlags()
        beams = self.beam_size is not None
        idle = {
            "--no-vad has no effect with --exact": self.exact and not self.vad,
            "--batch-size has no effect with --exact": self.exact
            and self.batch_size != usual.batch_size,
            "--draft has no effect with --beam-size": beams and self.draft is not None,
            "--beam-size has no effect with a --temperature above 0": beams
            and self.temperature > 0,
            "--language has no effect with --multilingual": self.multilingual
            and language is not None,
            "--carry-initial-prompt has no effect without --initial-prompt": (
                self.carry_initial_prompt and not self.initial_prompt
            ),
        }
        return [note for note, holds in idle.items() if holds]

    def _detection(self) -> dict[str, Any]:
        """The option ``find_speech``, unless it is the usual one."""
        if not self.vad:
            return {"find_speech": None}
        if self.vad_method is SpeechDetector.energy:
            return {}
        if self.exact:
            raise SpeechError(
                "--exact hears everything, and needs no way to find speech",
                "leave out --vad-method or --exact",
            )
        from mlx_speech.audio.silero import find_speech_by_silero

        return {"find_speech": find_speech_by_silero}


def _check(whispers: dict[str, Any]) -> None:
    """Say before a model is loaded what no window could be decoded with."""
    from mlx_speech.whisper.transcription_options import TranscriptionOptions

    options = TranscriptionOptions(**whispers)
    for temperature in options.temperatures:
        options.decoding(temperature, None, ())
    options.clips(frames=0, frames_per_second=100)
