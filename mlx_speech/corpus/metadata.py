"""``metadata.csv``: lines of ``|``-separated columns, as LJSpeech and Piper write them.

There is no quoting: a quotation mark is a character like any other, since transcripts
are full of them. What the columns are follows from their number:

====  ====================================  ==========================================
  2   ``id|text``                           LJSpeech, Piper
  3   ``id|text|normalised text``           LJSpeech; the last column is spoken
  3   ``id|speaker|text``                   Piper with several speakers
  4   ``id|speaker|text|normalised text``   the last column is spoken
  4   ``id|speaker|text|phoneme ids``       the third is spoken: a last column of whole
                                            numbers is another program's symbol table
====  ====================================  ==========================================

Three columns mean two things. They hold speakers when the second column looks like
labels: its values repeat (at most half as many different ones as lines), none is longer
than 40 characters, and on most lines it differs from the third. In both readings the
last column is what is said, so a wrong guess can lose speakers but never the text;
``layout`` ("single-speaker" or "multi-speaker") decides instead of the rule. A first
line of known column names (``id|text``, ``file_name|speaker|text``...) decides too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.errors import SpeechError

LAYOUTS = ("auto", "single-speaker", "multi-speaker")
LONGEST_LABEL = 40

_NAMES = {
    "id": "id audio audio_file audio_path file file_name filename path utterance wav",
    "speaker": "speaker speaker_id speaker_name spk",
    "text": "sentence text transcript transcription",
    "normalised": "normalised normalised_text normalised_transcription normalized "
    "normalized_text normalized_transcription",
    "phonemes": "phoneme_ids phonemes",
}
_COLUMN_OF_NAME = {
    name: column for column, names in _NAMES.items() for name in names.split()
}
_INTEGERS = re.compile(r"\s*\d+([\s,]+\d+)*\s*")


@dataclass(frozen=True)
class Row:
    """One line: its number (from 1), the recording's name, what is said, by whom."""

    line: int
    name: str
    text: str
    speaker: str | None


def read_text(path: Path) -> str:
    """A text file as a string, without a byte-order mark.

    Raises:
        SpeechError: the file cannot be opened, or is not UTF-8; the message names
            the file, the byte and its position.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpeechError(f"`{path}` cannot be read: {error.strerror}") from error
    hint = "save it as UTF-8, for example with `iconv -f latin1 -t utf-8 OLD > NEW`"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpeechError(
            f"`{path}` is not UTF-8: byte 0x{data[error.start]:02x} at position "
            f"{error.start} (line {data.count(10, 0, error.start) + 1})",
            hint,
        ) from error
    if "\0" in text:
        position = data.index(0)
        raise SpeechError(
            f"`{path}` is not UTF-8 text: byte 0x00 at position {position} "
            f"(line {data.count(10, 0, position) + 1})",
            hint,
        )
    return text.removeprefix("\ufeff")


def read_metadata(path: Path, layout: str = "auto") -> list[Row]:
    """The lines of a metadata file; empty lines are skipped, empty texts are kept.

    Args:
        path: the file, UTF-8.
        layout: one of ``LAYOUTS``.

    Raises:
        SpeechError: not UTF-8, no line, a number of columns outside 2 to 4 or not
            the same on every line, or an empty name; the message has the line.
    """
    lines = [
        (number, [cell.strip() for cell in line.split("|")])
        for number, line in enumerate(read_text(path).split("\n"), start=1)
        if line.strip()
    ]
    if not lines:
        raise SpeechError(
            f"`{path}` is empty", "write one line per recording: `id|what is said`"
        )
    _check_columns(path, lines)
    header = _header(lines[0][1])
    if header is not None:
        lines = lines[1:]
        if not lines:
            raise SpeechError(f"`{path}` has column names but no line below them")
    cells = [columns for _, columns in lines]
    columns = _columns(path, cells, layout, header)
    return [_row(path, number, line, columns) for number, line in lines]


def _check_columns(path: Path, lines: list[tuple[int, list[str]]]) -> None:
    first_number, first = lines[0]
    if not 2 <= len(first) <= 4:
        raise SpeechError(
            f"line {first_number} of `{path}` has {len(first)} column(s), "
            "expected 2, 3 or 4",
            "separate the columns by `|`: `id|text`, `id|text|normalised text` or "
            "`id|speaker|text`",
        )
    for number, columns in lines:
        if len(columns) != len(first):
            raise SpeechError(
                f"line {number} of `{path}` has {len(columns)} column(s), "
                f"line {first_number} has {len(first)}",
                "give every line the same columns; a text must not contain `|`",
            )


def _header(cells: list[str]) -> list[str] | None:
    """The columns' meanings when the first line names them, else None."""
    columns = [_COLUMN_OF_NAME.get(cell.lower()) for cell in cells]
    known = [column for column in columns if column is not None]
    whole = len(known) == len(cells) == len(set(known))
    spoken = {"text", "normalised"} & set(known)
    return known if whole and known[0] == "id" and spoken else None


def _columns(
    path: Path, cells: list[list[str]], layout: str, header: list[str] | None
) -> list[str]:
    if layout not in LAYOUTS:
        raise SpeechError(
            f"unknown layout `{layout}`", f"choose one of {', '.join(LAYOUTS)}"
        )
    count = len(cells[0])
    if layout == "auto" and header is not None:
        return header
    if layout == "auto":
        speakers = count == 4 or (count == 3 and _second_is_a_label(cells))
    else:
        speakers = layout == "multi-speaker"
    if speakers and count == 2:
        raise SpeechError(
            f"`{path}` has 2 columns, so no speakers",
            "write `id|speaker|text`, or take the layout `single-speaker`",
        )
    columns = ["id", "speaker", "text"] if speakers else ["id", "text"]
    rest = count - len(columns)
    if not rest:
        return columns
    last = [line[-1] for line in cells if line[-1]]
    ids = bool(last) and all(_INTEGERS.fullmatch(cell) for cell in last)
    return columns + ["normalised"] * (rest - 1) + ["phonemes" if ids else "normalised"]


def _second_is_a_label(cells: list[list[str]]) -> bool:
    labels = {line[1] for line in cells}
    repeats = len(labels) <= len(cells) / 2
    short = all(0 < len(label) <= LONGEST_LABEL for label in labels)
    differs = sum(line[1].lower() != line[2].lower() for line in cells)
    return repeats and short and differs > len(cells) / 2


def _row(path: Path, number: int, line: list[str], columns: list[str]) -> Row:
    cell = dict(zip(columns, line, strict=True))
    if not cell["id"]:
        raise SpeechError(f"line {number} of `{path}` names no recording")
    # LJSpeech leaves the normalised column empty where the raw text needs no change.
    text = cell.get("normalised") or cell.get("text", "")
    return Row(number, cell["id"], text, cell.get("speaker") or None)
