"""``mlx-speech train-vits``: a folder of recordings becomes a voice."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.console import print_note
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
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
# Flags of their own names may follow; they are matched against the settings.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


@dataclass(frozen=True)
class _Wish:
    """What the command line asks for, besides single settings."""

    demo: bool
    config: Path | None
    output_dir: Path | None
    resume: bool
    overwrite: bool


def train_vits(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(help="Folder of recordings with transcripts."),
    ] = None,
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
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags outweigh it.")
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
    # What the parser takes for DATA may be the first unknown flag: all in their order.
    words = [*([] if data is None else [data]), *context.args]
    wish = _Wish(demo, config, output_dir, resume, overwrite)
    given = _given(words, base, demo)
    settings, folder = _settings(given, wish)
    if print_config:
        from mlx_speech.training.config import dump_config

        print(dump_config(settings), end="")
        return
    if not settings.data:
        raise SpeechError(
            "there is nothing to train on",
            "name a folder of recordings, or try `--demo`",
        )
    _train(settings, folder, wish, quiet)


def _given(words: list[str], base: str | None, demo: bool) -> dict[str, Any]:
    """The settings that are on the command line."""
    from mlx_speech.training.config import parse_flags
    from mlx_speech.vits.training_config import VitsTrainConfig

    values, folders = parse_flags(VitsTrainConfig, words)
    if len(folders) > 1:
        raise SpeechError(
            f"unexpected argument `{folders[1]}`",
            "name one folder of recordings; settings are `--key value`",
        )
    if folders and "data" in values:
        raise SpeechError(
            f"the recordings are given twice: `{folders[0]}` and `{values['data']}`",
            "leave out one of them",
        )
    values |= {"data": folders[0]} if folders else {}
    values |= {"base": base} if base is not None else {}
    if demo and "data" in values:
        raise SpeechError(
            "`--demo` brings its own recordings", "leave out the folder or `--demo`"
        )
    return values


def _settings(given: dict[str, Any], wish: _Wish) -> tuple[VitsTrainConfig, Path]:
    """Defaults, then the resumed run's or the demo's, then the file's, then flags.

    Returns:
        The settings, and the run's folder.
    """
    from mlx_speech.training.config import build_config
    from mlx_speech.training.runfolder import check_run_folder
    from mlx_speech.vits.training_config import VitsTrainConfig

    chosen = (_values(wish.config) if wish.config else {}) | given
    folder = wish.output_dir or _default_folder(chosen.get("data"), wish)
    start: dict[str, Any] = {}
    if wish.resume:
        run = check_run_folder(folder, resume=True, overwrite=wish.overwrite)
        start = _values(run.config)
    elif wish.demo:
        bundled = Path(str(files("mlx_speech.weights")))
        start = _values(bundled / "demo.yaml")
        start["data"] = str(bundled / "demo_corpus")
        start["base"] = str(bundled / "demo_base")
    return build_config(VitsTrainConfig, start | chosen), folder


def _values(file: Path) -> dict[str, Any]:
    from mlx_speech.training.config import config_values, read_yaml
    from mlx_speech.vits.training_config import VitsTrainConfig

    return config_values(VitsTrainConfig, read_yaml(file), f"`{file}`")


def _default_folder(data: str | None, wish: _Wish) -> Path:
    if wish.demo:
        return Path("runs") / DEMO
    if not data:
        if wish.resume:
            raise SpeechError(
                "which run shall be resumed?", "name its folder with `--output-dir`"
            )
        return Path("runs")
    path = Path(data).resolve()
    # A list of another name than metadata.csv may be given instead of its folder.
    return Path("runs") / (path.parent if path.is_file() else path).name


def _train(settings: VitsTrainConfig, folder: Path, wish: _Wish, quiet: bool) -> None:
    from mlx_speech import backend
    from mlx_speech.cli.training_screen import TrainingScreen
    from mlx_speech.models import model_folder
    from mlx_speech.training.loop import run_training
    from mlx_speech.training.runfolder import check_run_folder, prepare_run_folder
    from mlx_speech.vits.setup import prepare_task

    use = {"resume": wish.resume, "overwrite": wish.overwrite}
    run = check_run_folder(folder, **use)
    base = None if settings.starts_fresh else model_folder(settings.base)
    stored = _absolute(settings, base)
    screen = TrainingScreen(quiet, on_begin=lambda: _store(stored, run))
    if note := backend.prepare().note:
        screen.on_note(note)
    with screen.features() as progress:
        task = prepare_task(
            settings,
            Path(settings.data),
            base,
            cache=run.features,
            on_note=screen.on_note,
            on_progress=progress,
        )
    # Only now, since what an overwritten run holds is gone after this.
    prepare_run_folder(folder, **use)
    screen.describe(settings, task, backend.device_name())
    try:
        result = run_training(
            task,
            settings.loop_settings(),
            run.root,
            observer=screen,
            resume=wish.resume,
            record=task.record(),
        )
    finally:
        screen.close()
    if not quiet:
        voice = shlex.quote(str(folder))
        print_note(f'try: mlx-speech speak "Hello" --voice {voice} -o hello.wav')
    print(result.model)


def _absolute(settings: VitsTrainConfig, base: Path | None) -> VitsTrainConfig:
    """The settings with whole paths, so that a run resumes from any folder."""
    return replace(
        settings,
        data=str(Path(settings.data).absolute()),
        base=settings.base if base is None else str(base.absolute()),
    )


def _store(settings: VitsTrainConfig, run: RunFolder) -> None:
    """Keep the settings beside the run; not before its checkpoint took them."""
    from mlx_speech.files import replacing_file
    from mlx_speech.training.config import dump_config

    with replacing_file(run.config) as temporary:
        temporary.write_text(dump_config(settings), encoding="utf-8")
