"""The folder of a run: what lies where, and when it may be used again.

``runs/NAME/{config.yaml, kernels.json, metrics.jsonl, checkpoints/, samples/, plots/,
model/}``, and ``features/`` where the caller keeps what it computed from the data.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.training.checkpoint import latest_checkpoint
from mlx_speech.training.lock import LOCK_NAME, locked, require_unlocked

# What mlx_speech.files and pruning call their temporary folders and files.
_LEFT_OVER = re.compile(
    r"\..+\.[0-9a-f]{8}\.(partial|retired)|\.(config|kernels|loss|metrics)\.[0-9a-f]{8}\.\w+"
)


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run's folder."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def kernels(self) -> Path:
        """Which Metal kernels the run uses, so that it does after a resume."""
        return self.root / "kernels.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def features(self) -> Path:
        """A cache: it makes no run, and a run that starts again may use it."""
        return self.root / "features"

    def contents(self) -> list[Path]:
        """What a run has written, without the features."""
        paths = (
            self.config,
            self.kernels,
            self.metrics,
            self.checkpoints,
            self.samples,
            self.plots,
            self.model,
        )
        return [path for path in paths if path.exists()]


def check_run_folder(
    root: str | Path, *, resume: bool = False, overwrite: bool = False
) -> RunFolder:
    """Say whether a run's folder may be used, and change nothing.

    A folder that holds files may only be resumed, or overwritten if it is a run's
    folder.

    Raises:
        SpeechError: the folder is in use and neither was asked for; it is not a run's
            folder; both were asked for; nothing to resume from; it cannot be written;
            another training is using it.
    """
    folder = RunFolder(Path(root))
    if resume and overwrite:
        raise SpeechError("a run is either resumed or overwritten, not both")
    if folder.root.exists() and not folder.root.is_dir():
        raise SpeechError(
            f"`{root}` is a file, not a folder", "choose another output folder"
        )
    require_unlocked(folder.root)
    if resume:
        if not folder.root.exists():
            raise SpeechError(
                f"there is no run `{root}` to resume", "check the folder's name"
            )
        require_checkpoint(folder)
    else:
        _refuse_files(folder, overwrite)
    _require_writable(folder.root)
    return folder


def prepare_run_folder(
    root: str | Path, *, resume: bool = False, overwrite: bool = False
) -> RunFolder:
    """Make a run's folder, or say why it may not be used.

    Overwriting deletes what a run writes and nothing else.

    Raises:
        SpeechError: as ``check_run_folder``.
    """
    folder = check_run_folder(root, resume=resume, overwrite=overwrite)
    if resume:
        return folder
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_made(folder.root, error.strerror or str(error)) from error
    with locked(folder.root):
        if overwrite:
            remove_left_overs(folder)
        for path in folder.contents():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return folder


def _refuse_files(folder: RunFolder, overwrite: bool) -> None:
    if not folder.root.is_dir():
        return
    found = folder.contents()
    others = [
        path
        for path in folder.root.iterdir()
        if path != folder.features
        and path.name != LOCK_NAME
        and not _LEFT_OVER.fullmatch(path.name)
    ]
    if not others or (found and overwrite):
        return
    raise SpeechError(
        f"the run folder `{folder.root}` already exists",
        "give `--resume` to continue it, `--overwrite` to start again, "
        "or another `--output-dir`"
        if found
        else "it holds other files; choose another `--output-dir`",
    )


def _require_writable(root: Path) -> None:
    """Hours later is too late to learn that nothing can be saved."""
    place = root.absolute()
    while not os.path.exists(place):  # False also for what may not be looked at
        place = place.parent
    if not place.is_dir():
        raise _cannot_be_made(root, f"`{place}` is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _cannot_be_made(root, f"`{place}` cannot be written")


def _cannot_be_made(root: Path, why: str) -> SpeechError:
    return SpeechError(
        f"the run folder `{root}` cannot be made: {why}",
        "choose another `--output-dir`",
    )


def require_checkpoint(folder: RunFolder) -> Path:
    """The newest complete checkpoint of a run.

    Raises:
        SpeechError: there is none.
    """
    newest = latest_checkpoint(folder.checkpoints)
    if newest is None:
        raise SpeechError(
            f"`{folder.root}` has no complete checkpoint to resume from",
            "start it again with `--overwrite`, or check the folder's name",
        )
    return newest


def remove_left_overs(folder: RunFolder) -> None:
    """Remove the temporary files and folders that a killed run left."""
    for parent in (folder.root, folder.checkpoints, folder.samples, folder.plots):
        if not parent.is_dir():
            continue
        for path in parent.iterdir():
            if not _LEFT_OVER.fullmatch(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
