"""Which recordings files, folders and ``-`` mean, and what to call their outputs.

No two recordings get one name, whatever their folders and suffixes are.
"""

from __future__ import annotations

import os
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from mlx_speech.errors import SpeechError

STANDARD_INPUT = "-"
TEMPLATE_FIELDS = ("stem", "name", "suffix", "parent", "index", "date")


@dataclass(frozen=True)
class Recording:
    """One recording.

    Attributes:
        source: path, or ``-`` for standard input.
        inside: its path below the folder that was named; its name alone when the file
            itself was.
    """

    source: str
    inside: Path

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return "standard input" if self.source == STANDARD_INPUT else self.source


@dataclass
class Gathered:
    """What was found, and what was given but could not be looked into, and why."""

    recordings: list[Recording] = field(default_factory=list)
    problems: list[tuple[str, SpeechError]] = field(default_factory=list)


def gather(inputs: Iterable[str], recursive: bool) -> Gathered:
    """Find the recordings of files, folders and ``-``; each is taken once.

    Args:
        inputs: as the user gave them. Files are taken whatever they are called.
        recursive: whether folders inside of folders count.

    Returns:
        The recordings, those of a folder sorted by path. A file that is not there is
        among them: reading it will say so.
    """
    found = Gathered()
    known: set[str] = set()
    for given in inputs:
        try:
            new = list(_below(given, recursive))
        except SpeechError as error:
            found.problems.append((given, error))
            continue
        for recording in new:
            identity = recording.source
            if identity != STANDARD_INPUT:
                identity = os.path.realpath(Path(identity).expanduser())
            if identity not in known:
                known.add(identity)
                found.recordings.append(recording)
    return found


def _below(given: str, recursive: bool) -> Iterator[Recording]:
    if given == STANDARD_INPUT:
        yield Recording(given, Path("stdin"))
        return
    path = Path(given).expanduser()
    if not path.is_dir():
        yield Recording(str(path), Path(path.name))
        return
    from mlx_speech.corpus.recordings import is_recording

    names = [name for name in _walk(path, recursive) if is_recording(name.name)]
    if not names:
        deeper = not recursive and any(
            is_recording(name.name) for name in _walk(path, recursive=True)
        )
        raise SpeechError(
            f"there is no recording in the folder `{path}`",
            "add --recursive: there are some in its folders"
            if deeper
            else "name a folder of wav, flac, mp3, ogg, m4a ... files",
        )
    for name in sorted(names):
        yield Recording(str(path / name), name)


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Files below ``folder``, relative to it; what is hidden is left alone."""

    def refuse(error: OSError) -> None:
        raise SpeechError(
            f"the folder `{error.filename}` cannot be read: {error.strerror}",
            "check its permissions",
        ) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and name[0] != "."]
        for name in names:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(folder)


def output_names(recordings: Sequence[Recording], template: str | None) -> list[str]:
    """The path of each recording's outputs below the output folder, without a suffix.

    Without a template it is the recording's own path without its suffix; with the
    suffix where two would be the same; with the folders that tell them apart where
    that is not enough.

    Args:
        recordings: all of a run.
        template: with ``{stem}``, ``{name}`` (stem and suffix), ``{suffix}``,
            ``{parent}`` (the folders below the one that was named), ``{index}`` (from
            1) and ``{date}`` in it.

    Raises:
        SpeechError: a template with other fields, or one that gives a name twice.
    """
    if template is not None:
        names = [
            _fill(template, recording, index)
            for index, recording in enumerate(recordings, start=1)
        ]
        for group in _same(names):
            first, second = (recordings[index].title for index in group[:2])
            raise SpeechError(
                f"the template {template!r} gives `{first}` and `{second}` the same "
                f"name, {names[group[0]]!r}",
                "put {index}, or {parent}/{name}, into it",
            )
        return names
    if not recordings:
        return []
    names = [recording.inside.with_suffix("").as_posix() for recording in recordings]
    full = [recording.inside.as_posix() for recording in recordings]
    whole = _apart(recordings)
    for others in (full, whole):
        for group in _same(names):
            for index in group:
                names[index] = others[index]
    # A file may be called like another one with its suffix: then all are whole paths.
    return whole if _same(names) else names


def _same(names: Sequence[str]) -> list[list[int]]:
    """Places of names that a file system may take for one: case and accents aside."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        key = unicodedata.normalize("NFC", os.path.normpath(name)).casefold()
        places.setdefault(key, []).append(index)
    return [group for group in places.values() if len(group) > 1]


def _apart(recordings: Sequence[Recording]) -> list[str]:
    """Paths from the deepest folder that all recordings share; all are different."""
    paths = [
        os.path.abspath(recording.source)
        if recording.source != STANDARD_INPUT
        else os.path.abspath(recording.inside)
        for recording in recordings
    ]
    top = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(os.path.relpath(path, top)).as_posix() for path in paths]


def _fill(template: str, recording: Recording, index: int) -> str:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise _bad_template(template, str(error)) from error
    for _, name, _, _ in parts:
        if name is not None and name not in TEMPLATE_FIELDS:
            raise _bad_template(template, f"there is no {{{name}}}")
    inside = recording.inside
    try:
        filled = template.format(
            stem=inside.stem,
            name=inside.name,
            suffix=inside.suffix.removeprefix("."),
            parent=inside.parent.as_posix(),
            index=index,
            date=date.today().isoformat(),
        )
    except (ValueError, IndexError, KeyError) as error:
        raise _bad_template(template, str(error)) from error
    filled = os.path.normpath(filled)
    if os.path.isabs(filled) or ".." in Path(filled).parts or filled == ".":
        raise _bad_template(template, f"{filled!r} is no name inside a folder")
    return filled


def _bad_template(template: str, reason: str) -> SpeechError:
    fields = ", ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
    return SpeechError(
        f"the template {template!r} cannot be filled in: {reason}",
        f"known are {fields}",
    )
