"""A corpus in the making: pieces, what is known of them, and the list made of that.

`wavs/` holds the pieces, `metadata.csv` what is said in them, `progress/` one JSON file
a recording, `settings.json` what all of them were made with, `report.json` the count.
Each file appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_speech.corpus.pieces import PieceReport, Progress
from mlx_speech.corpus.readers import METADATA_NAME
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file
from mlx_speech.hub.load import read_json

SETTINGS_NAME = "settings.json"
PROGRESS_NAME = "progress"
REPORT_NAME = "report.json"
WAVS_NAME = "wavs"
OWN_FILES = (SETTINGS_NAME, METADATA_NAME, REPORT_NAME)
OWN_FOLDERS = (PROGRESS_NAME, WAVS_NAME)


class PreparedFolder:
    """The folder of such a corpus, new or continued; ``begin`` makes it.

    Args:
        folder: need not be there.
        settings: plain values that all of its pieces share.
        overwrite: start anew, whatever an earlier run has left.

    Raises:
        SpeechError: it holds something else, or pieces of other settings.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], overwrite: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.wavs = self.folder / WAVS_NAME
        self._records = self.folder / PROGRESS_NAME
        if self.folder.exists() and not self.folder.is_dir():
            raise SpeechError(f"`{folder}` is a file", "name a folder to write to")
        self.settings = dict(settings)
        self.overwrite = overwrite
        known = self.folder / SETTINGS_NAME
        if known.is_file():
            if not overwrite:
                self._compare(read_json(known))
        elif self.folder.is_dir() and any(
            not path.name.startswith(".") for path in self.folder.iterdir()
        ):
            raise SpeechError(
                f"`{folder}` exists, and `prepare` did not make it",
                "name another folder to write to",
            )

    def begin(self) -> None:
        """Make the folder; or, to start anew, remove what an earlier run has left.

        Raises:
            SpeechError: it cannot be written.
        """
        if self.overwrite:
            for name in OWN_FOLDERS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
            for name in OWN_FILES:
                (self.folder / name).unlink(missing_ok=True)
        if not (self.folder / SETTINGS_NAME).is_file():
            _write_json(self.folder / SETTINGS_NAME, self.settings)

    def progress(self, name: str, source: Path) -> Progress:
        """How far a recording is; one that has changed since is begun anew.

        Raises:
            SpeechError: another recording has this name here, or ``source`` cannot be
                read.
        """
        try:
            fresh = Progress.of_file(source)
        except OSError as error:
            raise SpeechError(
                f"`{source}` cannot be read: {error.strerror}", "check the path"
            ) from error
        path = self._progress_file(name)
        if not path.is_file():
            return fresh
        known = _parse(path)
        if known.source != fresh.source:
            raise SpeechError(
                f"`{self.folder}` holds pieces of another `{name}`: `{known.source}`",
                "name another folder to write to, or rename the recording",
            )
        if known.is_of(fresh):
            return known
        for piece in known.pieces:
            (self.wavs / f"{piece.identifier}.wav").unlink(missing_ok=True)
        path.unlink()
        return fresh

    def names(self, names: Sequence[str], sources: Sequence[Path]) -> list[str]:
        """What recordings are called here: as before, if they were here before.

        Args:
            names: what they would be called; ``x.wav`` and ``x`` may be one recording
                with and without a namesake beside it.
            sources: their paths.
        """
        if self.overwrite:
            return list(names)
        known = {
            _parse(path).source: path.relative_to(self._records).as_posix()[:-5]
            for path in self._records.rglob("*.json")
        }
        return [
            known.get(str(source.absolute()), name)
            for name, source in zip(names, sources, strict=True)
        ]

    def keep(self, name: str, progress: Progress) -> None:
        """Remember how far a recording is."""
        _write_json(self._progress_file(name), progress.to_dict())

    def write_list(self) -> PieceReport:
        """Write `metadata.csv` and the report, of all recordings that are finished.

        There is no list where no piece was kept.

        Raises:
            SpeechError: a file cannot be written.
        """
        files = sorted(self._records.rglob("*.json"))
        finished = [each for each in map(_parse, files) if each.finished]
        lines = [
            f"{piece.identifier}|{piece.text}\n"
            for each in finished
            for piece in each.pieces
            if not piece.dropped
        ]
        if lines:
            with replacing_file(self.folder / METADATA_NAME) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        else:
            (self.folder / METADATA_NAME).unlink(missing_ok=True)
        report = PieceReport.of(finished)
        _write_json(self.folder / REPORT_NAME, report.to_dict())
        return report

    def _progress_file(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _compare(self, known: Any) -> None:
        known = known if isinstance(known, dict) else {}
        other = [
            f"{name.replace('_', ' ')} {_plain(known.get(name))}, now {_plain(value)}"
            for name, value in self.settings.items()
            if known.get(name) != value
        ]
        if other:
            raise SpeechError(
                f"`{self.folder}` was made with other settings: {'; '.join(other)}",
                "take the same ones, name another folder, or start anew with "
                "--overwrite",
            )


def _plain(value: Any) -> str:
    return "not given" if value is None else str(value)


def _parse(path: Path) -> Progress:
    try:
        return Progress.from_dict(read_json(path))
    except (KeyError, TypeError) as error:
        raise SpeechError(
            f"`{path}` is no record of `prepare`", "remove it: its recording is redone"
        ) from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing_file(path) as temporary:
        # In ASCII: the name of a file need not be UTF-8.
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
