"""``mlx-speech train-whisper``: a recogniser learns the voices and words of data."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.console import print_note
from mlx_speech.cli.grouped_options import grouped
from mlx_speech.cli.training_command import (
    Progress,
    Wish,
    choose_settings,
    run_task,
    settings_given,
)
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.cli.training_screen import TrainingScreen
    from mlx_speech.training.runfolder import RunFolder
    from mlx_speech.whisper.train import WhisperTask
    from mlx_speech.whisper.training_config import WhisperTrainConfig

EXAMPLES = """
Examples:

    mlx-speech train-whisper recordings/ --base small --max-steps 1000

    mlx-speech train-whisper recordings/ --lora-rank 16 --learning-rate 1e-4

    mlx-speech train-whisper --resume --output-dir runs/recordings

Every setting is also a flag: `--learning-rate 1e-5`; `--print-config` lists them.
The finished model is RUN/model, in the layout of Hugging Face's transformers.
Exit code: 0 trained, 1 not possible, 2 wrong usage, 130 stopped and saved.
"""


@grouped
def train_whisper(
    context: typer.Context,
    *,
    base: Annotated[
        str | None,
        typer.Option(
            help="Model to start from: a short name, a Hugging Face repository, a "
            "folder or a .pt; `none` for scratch [default: turbo]."
        ),
    ] = None,
    wish: Wish,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never ask the network.")
    ] = False,
) -> None:
    """Fine-tune Whisper on a folder of recordings, wholly or by low-rank updates.

    The folder holds an LJSpeech or Piper `metadata.csv`, or a .txt beside each
    recording. `transcribe -m RUN` uses the finished model.
    """
    from mlx_speech.whisper.training_config import WhisperTrainConfig

    given = settings_given(WhisperTrainConfig, wish, context.args, base)
    settings, folder = choose_settings(WhisperTrainConfig, given, wish)
    if wish.print_config:
        from mlx_speech.training.config import dump_config

        print(dump_config(settings), end="")
        return
    if not settings.data:
        raise SpeechError("there is nothing to train on", "name a folder of recordings")
    _train(settings, folder, wish, offline)


def _train(
    settings: WhisperTrainConfig, folder: Path, wish: Wish, offline: bool
) -> None:
    from mlx_speech.cli.listeners import find_folder
    from mlx_speech.cli.listening_flags import ModelFlags
    from mlx_speech.models import model_family
    from mlx_speech.whisper.training_setup import prepare_task

    base = None
    if not settings.starts_fresh:
        base = find_folder(ModelFlags(model=settings.base, offline=offline), wish.quiet)
        if (family := model_family(base)) != "whisper":
            raise SpeechError(
                f"`{settings.base}` is a model of the family `{family}`, not Whisper",
                "start from a Whisper, such as `turbo` or `small`",
            )

    def prepare(
        run: RunFolder, screen: TrainingScreen, progress: Progress
    ) -> WhisperTask:
        return prepare_task(
            settings, Path(settings.data), base, screen.on_note, progress
        )

    def describe(task: WhisperTask) -> str:
        counts = task.parameter_counts()
        start = "random weights" if base is None else f"`{settings.base}`"
        return (
            f"{len(task.maker.utterances)} recordings to train on, "
            f"{len(task.validation)} to validate; {counts['trained'] / 1e6:.1f} of "
            f"{counts['model'] / 1e6:.1f} M parameters, from {start}; batch "
            f"{settings.batch_size}, {settings.max_steps} steps"
        )

    stored = replace(
        settings,
        data=str(Path(settings.data).absolute()),
        validation=str(Path(settings.validation).absolute())
        if settings.validation
        else "",
        base=settings.base if base is None else str(base.absolute()),
    )
    result = run_task(stored, settings.loop_settings(), folder, wish, prepare, describe)
    if not wish.quiet:
        model = shlex.quote(str(folder))
        print_note(f"try: mlx-speech transcribe recording.wav -m {model}")
    print(result.model)
