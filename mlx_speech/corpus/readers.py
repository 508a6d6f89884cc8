"""A folder of recordings becomes a list of utterances.

Two kinds of folder are read: one with a ``metadata.csv`` (LJSpeech, Piper, see
``metadata.py``), and a tree with a ``.lab`` or ``.txt`` transcript beside each
recording (as forced aligners and HTK keep them).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.corpus.metadata import LAYOUTS, Row, read_metadata, read_text
from mlx_speech.corpus.recordings import (
    AUDIO_SUFFIXES,
    RECORDING_FOLDERS,
    RecordingFinder,
    is_recording,
    leaves_folder,
    list_folder,
    without_audio_suffix,
)
from mlx_speech.errors import SpeechError

METADATA_NAME = "metadata.csv"
# A .lab was made for the purpose; a .txt beside it may be anything.
TRANSCRIPT_SUFFIXES = (".lab", ".txt")
NAMES_SHOWN = 10


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Attributes:
        identifier: unique in its corpus; the recording's name without audio suffix,
            as metadata spells it or relative to the folder of a tree.
        audio_path: the recording, an existing file.
        text: the transcript, stripped; empty when the source's is.
        speaker: a label, or None when the source names none.
    """

    identifier: str
    audio_path: Path
    text: str
    speaker: str | None = None


@dataclass(frozen=True)
class Leftovers:
    """Files of a corpus folder that no utterance uses, relative to the folder."""

    recordings: list[str]
    transcripts: list[str]


def read_corpus(folder: str | Path, layout: str = "auto") -> list[Utterance]:
    """Read the transcripts of a folder and find their recordings.

    Args:
        folder: a folder with ``metadata.csv``, a tree of recordings with transcripts
            beside them, or the path of a metadata file of another name.
        layout: "auto"; "single-speaker"; or "multi-speaker": the second of three or
            four columns, or the first folder level of a tree, is the speaker.

    Returns:
        The utterances, in the order of the metadata or sorted by path. Audio is not
        opened: ``check_corpus`` does that.

    Raises:
        SpeechError: no such folder, nothing to read in it, a list that is not UTF-8
            or not in columns, names outside the folder, absent recordings (the first
            ten and the count), or a recording that is listed twice.
    """
    folder = Path(folder)
    if layout not in LAYOUTS:
        raise SpeechError(
            f"unknown layout `{layout}`", f"choose one of {', '.join(LAYOUTS)}"
        )
    if not folder.exists():
        raise SpeechError(
            f"there is no folder `{folder}`", "check the path of the recordings"
        )
    if folder.is_file():
        return _from_metadata(folder, layout)
    metadata = folder / METADATA_NAME
    if metadata.exists():
        return _from_metadata(metadata, layout)
    return _from_tree(folder, layout)


def find_leftovers(folder: str | Path, utterances: Iterable[Utterance]) -> Leftovers:
    """Recordings without a transcript, and transcripts without a recording.

    Args:
        folder: what ``read_corpus`` was given.
        utterances: what it returned.
    """
    folder = Path(folder)
    if folder.is_file():
        folder = folder.parent
    used = {utterance.audio_path for utterance in utterances}
    stems = {path.with_suffix("") for path in used}
    recordings, transcripts = [], []
    for path in _walk(folder):
        if is_recording(path.name):
            if path not in used:
                recordings.append(path.relative_to(folder).as_posix())
        elif path.suffix.lower() == ".lab" and path.with_suffix("") not in stems:
            transcripts.append(path.relative_to(folder).as_posix())
    return Leftovers(recordings, transcripts)


def listed(names: Iterable[str]) -> str:
    """The first ten names and how many more there are, on one line."""
    names = list(names)
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _from_metadata(path: Path, layout: str) -> list[Utterance]:
    rows = read_metadata(path, layout)
    outside = [row.name for row in rows if leaves_folder(row.name)]
    if outside:
        raise SpeechError(
            f"`{path}` names {len(outside)} recording(s) outside its folder: "
            f"{listed(outside)}",
            "move the recordings into the folder and name them relative to it",
        )
    finder = RecordingFinder(path.parent)
    found = [(row, finder.find(row.name)) for row in rows]
    absent = [row.name for row, audio in found if audio is None]
    if absent:
        places = ", ".join(f"`{place or '.'}`" for place in RECORDING_FOLDERS)
        raise SpeechError(
            f"{len(absent)} of {len(rows)} recordings named in `{path}` do not exist: "
            f"{listed(absent)}",
            f"put them into one of {places} beside it, or remove the lines",
        )
    present = [(row, audio) for row, audio in found if audio is not None]
    _refuse_repeats(path, present)
    return [
        Utterance(without_audio_suffix(row.name), audio, row.text, row.speaker)
        for row, audio in present
    ]


def _refuse_repeats(path: Path, rows: list[tuple[Row, Path]]) -> None:
    first: dict[str | Path, int] = {}
    repeats = []
    for row, audio in rows:
        for key in (without_audio_suffix(row.name), audio):
            if first.setdefault(key, row.line) != row.line:
                repeats.append(f"{row.name} (lines {first[key]} and {row.line})")
                break
    if repeats:
        raise SpeechError(
            f"`{path}` lists {len(repeats)} recording(s) twice: {listed(repeats)}",
            "keep one line for each recording",
        )


def _from_tree(folder: Path, layout: str) -> list[Utterance]:
    recordings: dict[Path, Path] = {}
    transcripts: dict[Path, Path] = {}
    for path in _walk(folder):
        suffix = path.suffix.lower()
        kinds, chosen = (
            (AUDIO_SUFFIXES, recordings)
            if is_recording(path.name)
            else (TRANSCRIPT_SUFFIXES, transcripts)
        )
        if suffix not in kinds:
            continue
        stem = path.with_suffix("")
        rival = chosen.get(stem)
        if rival is None or kinds.index(suffix) < kinds.index(rival.suffix.lower()):
            chosen[stem] = path
    pairs = sorted(recordings.keys() & transcripts.keys())
    if not pairs:
        raise SpeechError(
            f"`{folder}` has no `{METADATA_NAME}` and no recording with a transcript "
            f"beside it ({len(recordings)} recordings found)",
            f"write `{METADATA_NAME}` with lines `id|what is said`, or put `NAME.txt` "
            "beside each `NAME.wav`",
        )
    utterances = []
    for stem in pairs:
        relative = stem.relative_to(folder)
        name = relative.as_posix()
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise SpeechError(
                f"the name of a recording in `{folder}` is not UTF-8: {name!a}",
                "rename it, for example with `convmv`",
            )
        speaker = None
        if layout == "multi-speaker":
            if len(relative.parts) < 2:
                raise SpeechError(
                    f"`{recordings[stem]}` lies in no speaker's folder",
                    "give every speaker a folder, or take the layout `single-speaker`",
                )
            speaker = relative.parts[0]
        text = " ".join(read_text(transcripts[stem]).split())
        utterances.append(Utterance(name, recordings[stem], text, speaker))
    return utterances


def _walk(folder: Path) -> list[Path]:
    """All files below a folder, sorted, without hidden ones; links are not followed."""
    files: list[Path] = []
    for name in list_folder(folder):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            files += _walk(path)
        elif path.is_file():
            files.append(path)
    return files
