"""What the commands that train have in common: settings from flags and files, a run.

Defaults come first, then those of a resumed run or of a demo, then those of a file,
then flags; the settings are kept beside the run so that it resumes without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.cli.training_screen import TrainingScreen
    from mlx_speech.training.runfolder import RunFolder
    from mlx_speech.training.settings import LoopSettings
    from mlx_speech.training.task import TrainingResult, TrainingTask

# Flags of their own names may follow; they are matched against the settings.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}
Settings = TypeVar("Settings")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, besides single settings."""

    data: Annotated[
        str | None, typer.Argument(help="Folder of recordings with transcripts.")
    ] = None
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags outweigh it.")
    ] = None
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Run folder [default: runs/NAME]."),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run stopped.")
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run.")
    ] = False
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings and stop.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False


def settings_given(
    config: type[Settings], wish: Wish, rest: list[str], base: str | None
) -> dict[str, Any]:
    """The settings that are on the command line.

    Args:
        config: the dataclass of the settings; it has a field ``data``.
        wish: what else was asked for.
        rest: what the parser left, in its order: unknown flags with their values.
        base: what ``--base`` said.

    Raises:
        SpeechError: a flag that is no setting, several folders, or one given twice.
    """
    from mlx_speech.training.config import parse_flags

    # What the parser takes for DATA may be the first unknown flag: all in their order.
    words = [*([] if wish.data is None else [wish.data]), *rest]
    values, folders = parse_flags(config, words)
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
    return values | ({"base": base} if base is not None else {})


def choose_settings(
    config: type[Settings],
    given: Mapping[str, Any],
    wish: Wish,
    demo: tuple[str, Mapping[str, Any]] | None = None,
) -> tuple[Settings, Path]:
    """Put the settings together.

    Args:
        config: their dataclass.
        given: from the command line.
        wish: what else was asked for.
        demo: name and settings of a bundled demo that was asked for.

    Returns:
        The settings, and the run's folder.

    Raises:
        SpeechError: settings that do not exist or make no sense, or no run to resume.
    """
    from mlx_speech.training.config import build_config
    from mlx_speech.training.runfolder import check_run_folder

    chosen = (settings_in(config, wish.config) if wish.config else {}) | dict(given)
    name = demo[0] if demo else None
    folder = wish.output_dir or _default_folder(chosen.get("data"), name, wish.resume)
    start: dict[str, Any] = {}
    if wish.resume:
        run = check_run_folder(folder, resume=True, overwrite=wish.overwrite)
        start = settings_in(config, run.config)
    elif demo:
        start = dict(demo[1])
    return build_config(config, start | chosen), folder


def settings_in(config: type[Settings], file: Path) -> dict[str, Any]:
    """The settings that a YAML file holds (SpeechError: unreadable or unknown)."""
    from mlx_speech.training.config import config_values, read_yaml

    return config_values(config, read_yaml(file), f"`{file}`")


def run_task(
    settings: Any,
    loop: LoopSettings,
    folder: Path,
    wish: Wish,
    prepare: Callable[[RunFolder, TrainingScreen, Progress], TrainingTask],
    describe: Callable[[Any], str],
) -> TrainingResult:
    """Train in a run folder, shown on the screen.

    Args:
        settings: kept beside the run, paths made whole.
        loop: what the training loop needs of them.
        folder: of the run.
        wish: what else was asked for.
        prepare: makes the task; told the run folder, and where notes and progress go.
        describe: one line about the task.

    Raises:
        SpeechError: see ``run_training``.
    """
    from mlx_speech import backend
    from mlx_speech.cli.training_screen import TrainingScreen
    from mlx_speech.training.loop import run_training
    from mlx_speech.training.runfolder import check_run_folder, prepare_run_folder

    use = {"resume": wish.resume, "overwrite": wish.overwrite}
    run = check_run_folder(folder, **use)
    screen = TrainingScreen(wish.quiet, on_begin=lambda: _store(settings, run))
    if note := backend.prepare().note:
        screen.on_note(note)
    with screen.features() as progress:
        task = prepare(run, screen, progress)
    # Only now, since what an overwritten run holds is gone after this.
    prepare_run_folder(folder, **use)
    screen.describe(f"{describe(task)}, on {backend.device_name()}")
    record = getattr(task, "record", dict)
    try:
        return run_training(
            task, loop, run.root, observer=screen, resume=wish.resume, record=record()
        )
    finally:
        screen.close()


def _default_folder(data: str | None, demo: str | None, resume: bool) -> Path:
    if demo:
        return Path("runs") / demo
    if not data:
        if resume:
            raise SpeechError(
                "which run shall be resumed?", "name its folder with `--output-dir`"
            )
        return Path("runs")
    path = Path(data).resolve()
    # A list of another name than metadata.csv may be given instead of its folder.
    return Path("runs") / (path.parent if path.is_file() else path).name


def _store(settings: Any, run: RunFolder) -> None:
    """Keep the settings beside the run; not before its checkpoint took them."""
    from mlx_speech.files import replacing_file
    from mlx_speech.training.config import dump_config

    with replacing_file(run.config) as temporary:
        temporary.write_text(dump_config(settings), encoding="utf-8")
