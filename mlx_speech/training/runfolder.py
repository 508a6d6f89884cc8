"""The folder of a run: what lies where, and when it may be used again.

``runs/NAME/{config.yaml, metrics.jsonl, checkpoints/, samples/, plots/, model/}``
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.training.checkpoint import latest_checkpoint

# What mlx_speech.files and pruning call their temporary folders and files.
_LEFT_OVER = re.compile(
    r"\..+\.[0-9a-f]{8}\.(partial|retired)|\.(config|loss|metrics)\.[0-9a-f]{8}\.\w+"
)


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run's folder."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

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

    def contents(self) -> list[Path]:
        """Those of the paths above that exist."""
        paths = (
            self.config,
            self.metrics,
            self.checkpoints,
            self.samples,
            self.plots,
            self.model,
        )
        return [path for path in paths if path.exists()]


def prepare_run_folder(
    root: str | Path, *, resume: bool = False, overwrite: bool = False
) -> RunFolder:
    """Make a run's folder, or say why it may not be used.

    A folder that holds files may only be resumed, or overwritten if it is a run's
    folder; overwriting deletes what a run writes and nothing else.

    Raises:
        SpeechError: the folder is in use and neither was asked for; it is not a run's
            folder; both were asked for; nothing to resume from.
    """
    folder = RunFolder(Path(root))
    if resume and overwrite:
        raise SpeechError("a run is either resumed or overwritten, not both")
    if folder.root.exists() and not folder.root.is_dir():
        raise SpeechError(
            f"`{root}` is a file, not a folder", "choose another output folder"
        )
    if resume:
        require_checkpoint(folder)
        return folder
    if overwrite:
        remove_left_overs(folder)
    if folder.root.is_dir() and any(folder.root.iterdir()):
        found = folder.contents()
        if not overwrite or not found:
            raise SpeechError(
                f"the run folder `{root}` already exists",
                "give `--resume` to continue it, `--overwrite` to start again, "
                "or another `--output-dir`"
                if found
                else "it holds other files; choose another `--output-dir`",
            )
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpeechError(
            f"the run folder `{root}` cannot be made: {error.strerror}",
            "choose another `--output-dir`",
        ) from error
    return folder


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
