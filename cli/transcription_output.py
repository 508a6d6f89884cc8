"""Where a transcription goes: files, JSON or plain text on standard output."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.recordings import Recording, output_names
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.writers import Transcription

_PANEL = "Output"


class Format(str, Enum):
    """Formats of files."""

    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"
    json = "json"
    lrc = "lrc"
    all = "all"


@dataclass(frozen=True)
class OutputFlags:
    """Where to put what was heard."""

    output_format: Annotated[
        list[Format] | None,
        typer.Option(
            "--output-format",
            "-f",
            help="File to write; may be given several times [default: txt with -o, "
            "else no file but text on standard output].",
            rich_help_panel=_PANEL,
        ),
    ] = None
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Folder to write to; folders inside of a folder are kept [default: "
            "the current one].",
            rich_help_panel=_PANEL,
        ),
    ] = None
    output_name: Annotated[
        str | None,
        typer.Option(
            help="Template of the files' names: {stem}, {name}, {suffix}, {parent}, "
            "{index}, {date} [default: the recording's name].",
            rich_help_panel=_PANEL,
        ),
    ] = None
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave recordings alone whose files are all there: a stopped run goes "
            "on.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object a recording, each on a line.",
            rich_help_panel=_PANEL,
        ),
    ] = False

    @property
    def writes_files(self) -> bool:
        """Whether files are asked for."""
        return any((self.output_format, self.output_dir, self.output_name))

    def check(self) -> None:
        """Say before the long computation what cannot be done.

        Raises:
            SpeechError: flags that need files without files, or a folder that cannot
                be written.
        """
        if self.skip_existing and not self.writes_files:
            raise SpeechError(
                "--skip-existing has no files to look for",
                "say which ones with -f, or their folder with -o",
            )
        if self.writes_files:
            require_writable(self.folder)

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return (self.output_dir or Path()).expanduser()

    @property
    def formats(self) -> list[str]:
        """Formats of the files, each once."""
        from mlx_speech.writers import expand_formats

        chosen = self.output_format or [Format.txt]
        return expand_formats([each.value for each in chosen])

    @property
    def shown(self) -> list[str]:
        """Formats that anybody will see: of files, and JSON on standard output."""
        files = self.formats if self.writes_files else []
        return [*files, *(["json"] if self.as_json else [])]

    def names(self, recordings: Sequence[Recording]) -> list[str]:
        """The name of every recording's files, without a suffix.

        Raises:
            SpeechError: as :func:`mlx_speech.cli.recordings.output_names`.
        """
        if not self.writes_files:
            return [""] * len(recordings)
        return output_names(recordings, self.output_name)

    def finished(self, name: str) -> bool:
        """Whether a recording may be skipped: all of its files are there."""
        return self.skip_existing and all(
            (self.folder / f"{name}.{format}").is_file() for format in self.formats
        )


def require_writable(folder: Path) -> None:
    """Say before a long computation that nothing can be written into a folder.

    Raises:
        SpeechError: it is a file or may not be written, or that holds for the folder
            in which it would have to be made.
    """
    place = folder.absolute()
    while not os.path.exists(place):  # False also for what may not be looked at
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        what = "is a file, not a folder" if place.is_file() else "cannot be written to"
        raise SpeechError(f"`{place}` {what}", "choose another output folder")


def json_line(recording: Recording, transcription: Transcription) -> str:
    """One recording as a line of JSON: openai-whisper's result, file and duration."""
    result = {"file": recording.source, **transcription.to_dict()}
    return json.dumps(result | {"duration": transcription.duration})


def json_failure(source: str, error: SpeechError) -> str:
    """What a script reads of a recording that failed."""
    return json.dumps({"file": source, "error": error.message})
