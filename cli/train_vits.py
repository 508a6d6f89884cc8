"""``mlx-speech train-vits``: a folder of recordings becomes a voice."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.console import print_note
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.vits.training_config import VitsTrainConfig

EXAMPLES = """
Examples:

    mlx-speech train-vits --demo

    mlx-speech train-vits recordings/ --base base/ --max-steps 2000

    mlx-speech train-vits --resume --output-dir runs/recordings

Every setting is also a flag: `--learning-rate 1e-4`; `--print-config` lists them.
"""
# The bundled demo: its settings name the corpus and the base voice beside them.
DEMO = "demo"
# Flags of their own names may follow; they are matched against the settings.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def train_vits(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of recordings with transcripts."),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Train on the bundled demo corpus.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="Voice to start from: a folder, or `none` for scratch."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags go before it.")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Run folder [default: runs/NAME]."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False,
) -> None:
    """Fine-tune a voice on a folder of recordings.

    The folder holds an LJSpeech or Piper `metadata.csv`, or a .txt beside each
    recording. The finished voice is RUN/model; `speak --voice RUN` uses it.
    """
    if demo and data is not None:
        raise SpeechError(
            "`--demo` brings its own recordings", "leave out the folder or `--demo`"
        )
    given = {"data": str(data) if data else None, "base": base}
    stored = output_dir / "config.yaml" if resume and output_dir else None
    if resume and output_dir is None:
        raise SpeechError(
            "which run shall be resumed?", "name its folder with `--output-dir`"
        )
    settings = _settings(given, stored or config, demo, context.args)
    if print_config:
        from mlx_speech.training.config import dump_config

        print(dump_config(settings), end="")
        return
    if not settings.data:
        raise SpeechError(
            "there is nothing to train on",
            "name a folder of recordings, or try `--demo`",
        )
    name = DEMO if demo else Path(settings.data).resolve().name
    _train(settings, output_dir or Path("runs") / name, resume, overwrite, quiet)


def _settings(
    given: dict[str, str | None], file: Path | None, demo: bool, flags: list[str]
) -> VitsTrainConfig:
    """Defaults, then the file (or the demo's), then flags."""
    from mlx_speech.training.config import flag_overrides, load_config
    from mlx_speech.vits.training_config import VitsTrainConfig

    overrides: dict[str, Any] = {key: value for key, value in given.items() if value}
    overrides |= flag_overrides(VitsTrainConfig, flags)
    if demo and file is None:
        folder = Path(str(files("mlx_speech.weights")))
        file = folder / "demo.yaml"
        overrides = {
            "data": str(folder / "demo_corpus"),
            "base": str(folder / "demo_base"),
            **overrides,
        }
    return load_config(VitsTrainConfig, file, overrides)


def _train(
    settings: VitsTrainConfig, folder: Path, resume: bool, overwrite: bool, quiet: bool
) -> None:
    from mlx_speech import backend
    from mlx_speech.cli.training_screen import TrainingScreen
    from mlx_speech.files import replacing_file
    from mlx_speech.training.config import dump_config
    from mlx_speech.training.loop import run_training
    from mlx_speech.training.runfolder import prepare_run_folder
    from mlx_speech.vits.setup import prepare_task

    run = prepare_run_folder(folder, resume=resume, overwrite=overwrite)
    screen = TrainingScreen(quiet=quiet)
    if note := backend.prepare().note:
        screen.on_note(note)
    base = Path(settings.base) if settings.base not in ("", "none") else None
    with screen.features() as progress:
        task = prepare_task(
            settings,
            Path(settings.data),
            base,
            cache=run.root / "features",
            on_note=screen.on_note,
            on_progress=progress,
        )
    with replacing_file(run.config) as temporary:
        temporary.write_text(dump_config(settings), encoding="utf-8")
    screen.describe(settings, task, backend.device_name())
    try:
        result = run_training(
            task,
            settings.loop_settings(),
            run.root,
            observer=screen,
            resume=resume,
            record=task.record(),
        )
    finally:
        screen.close()
    if not quiet:
        print_note(f'try: mlx-speech speak "Hello" --voice {folder} -o hello.wav')
    print(result.model)
