"""``mlx-speech train-vits``: a folder of recordings becomes a voice."""

from __future__ import annotations

import shlex
from dataclasses import replace
from importlib.resources import files
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
    settings_in,
)
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.cli.training_screen import TrainingScreen
    from mlx_speech.training.runfolder import RunFolder
    from mlx_speech.vits.training_config import VitsTrainConfig

EXAMPLES = """
Examples:

    mlx-speech train-vits --demo

    mlx-speech train-vits recordings/ --base base/ --max-steps 2000

    mlx-speech train-vits --resume --output-dir runs/recordings

Every setting is also a flag: `--learning-rate 1e-4`; `--print-config` lists them.
Exit code: 0 trained, 1 not possible, 2 wrong usage, 130 stopped and saved.
"""
# The bundled demo: its settings name the corpus and the base voice beside them.
DEMO = "demo"


@grouped
def train_vits(
    context: typer.Context,
    *,
    demo: Annotated[
        bool, typer.Option("--demo", help="Train on the bundled demo corpus.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            help="Voice to start from: a run, a voice folder, a Hugging Face VitsModel "
            "folder or a G_*.pth; `none` for scratch."
        ),
    ] = None,
    wish: Wish,
) -> None:
    """Fine-tune a voice on a folder of recordings.

    The folder holds an LJSpeech or Piper `metadata.csv`, or a .txt beside each
    recording. The finished voice is RUN/model; `speak --voice RUN` uses it.
    """
    settings, folder = _settings(wish, context.args, base, demo)
    if wish.print_config:
        from mlx_speech.training.config import dump_config

        print(dump_config(settings), end="")
        return
    if not settings.data:
        raise SpeechError(
            "there is nothing to train on",
            "name a folder of recordings, or try `--demo`",
        )
    _train(settings, folder, wish)


def _settings(
    wish: Wish, rest: list[str], base: str | None, demo: bool
) -> tuple[VitsTrainConfig, Path]:
    from mlx_speech.vits.training_config import VitsTrainConfig

    given = settings_given(VitsTrainConfig, wish, rest, base)
    if not demo:
        return choose_settings(VitsTrainConfig, given, wish)
    if "data" in given:
        raise SpeechError(
            "`--demo` brings its own recordings", "leave out the folder or `--demo`"
        )
    bundled = Path(str(files("mlx_speech.weights")))
    start = settings_in(VitsTrainConfig, bundled / "demo.yaml") | {
        "data": str(bundled / "demo_corpus"),
        "base": str(bundled / "demo_base"),
    }
    return choose_settings(VitsTrainConfig, given, wish, (DEMO, start))


def _train(settings: VitsTrainConfig, folder: Path, wish: Wish) -> None:
    from mlx_speech.models import model_folder
    from mlx_speech.vits.setup import prepare_task
    from mlx_speech.vits.train import VitsTask

    base = None if settings.starts_fresh else model_folder(settings.base)

    def prepare(run: RunFolder, screen: TrainingScreen, progress: Progress) -> VitsTask:
        return prepare_task(
            settings,
            Path(settings.data),
            base,
            cache=run.features,
            on_note=screen.on_note,
            on_progress=progress,
        )

    def describe(task: VitsTask) -> str:
        parameters = sum(count for count in task.parameter_counts().values())
        start = "random weights" if base is None else f"`{settings.base}`"
        return (
            f"{len(task.training)} recordings to train on, {len(task.validation)} to "
            f"validate; {parameters / 1e6:.1f} M parameters, from {start}; "
            f"batch {task.buckets.batch_size}, {settings.max_steps} steps"
        )

    stored = _absolute(settings, base)
    result = run_task(stored, settings.loop_settings(), folder, wish, prepare, describe)
    if not wish.quiet:
        voice = shlex.quote(str(folder))
        print_note(f'try: mlx-speech speak "Hello" --voice {voice} -o hello.wav')
    print(result.model)


def _absolute(settings: VitsTrainConfig, base: Path | None) -> VitsTrainConfig:
    """The settings with whole paths, so that a run resumes from any folder."""
    return replace(
        settings,
        data=str(Path(settings.data).absolute()),
        fft=settings.fft and str(Path(settings.fft).absolute()),
        base=settings.base if base is None else str(base.absolute()),
    )
