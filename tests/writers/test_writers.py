"""Files equal openai-whisper's byte for byte; lyrics follow their format."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_speech import writers
from mlx_speech.errors import SpeechError
from mlx_speech.writers import (
    Segment,
    Transcription,
    Word,
    WriterOptions,
    render,
    write_transcription,
)

GOLDENS = Path(__file__).parents[1] / "goldens" / "writers.json.xz"
WORDS = (Word(" Hello", 0.5, 0.9, 0.9), Word(" world.", 1.0, 1.496, 0.8))
SPOKEN = Segment(0, 0, 0.5, 1.5, " Hello world.", words=WORDS)


def transcription(*segments: Segment) -> Transcription:
    return Transcription("".join(s.text for s in segments), segments, "en", 30.0)


def from_golden(result: dict[str, Any]) -> Transcription:
    segments = []
    for fields in result["segments"]:
        words = fields.get("words")
        timed = None if words is None else tuple(Word(**word) for word in words)
        segments.append(Segment(**{**fields, "words": timed}))
    return Transcription(result["text"], segments, result["language"], 0.0)


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return json.loads(lzma.decompress(GOLDENS.read_bytes()))


def test_files_equal_those_of_openai_whisper(cases: list[dict[str, Any]]) -> None:
    compared = 0
    for case in cases:
        heard = from_golden(case["result"])
        for options, files in case["files"]:
            for format, content in files.items():
                found = render(heard, format, WriterOptions(**options))
                assert found == content, (format, options)
                compared += 1
    assert compared > 400


def test_the_goldens_cover_what_is_easily_missed(cases: list[dict[str, Any]]) -> None:
    everything = "".join(
        content
        for case in cases
        for _, files in case["files"]
        for content in files.values()
    )
    for piece in ("-->", "東京", "🎧", "<u>", "10:00:", "WEBVTT\n\n00:0", "\n\n\n"):
        assert piece in everything
    assert any(not case["result"]["segments"] for case in cases)
    assert any(
        segment.get("words") == []
        for case in cases
        for segment in case["result"]["segments"]
    )


def test_lyrics_have_minutes_and_hundredths() -> None:
    late = Segment(1, 0, 3725.999, 3730.0, " two\nlines ")
    heard = transcription(SPOKEN, late)
    assert render(heard, "lrc") == "[00:00.50]Hello world.\n[62:06.00]two lines\n"


def test_highlighted_lyrics_time_every_word() -> None:
    options = WriterOptions(highlight_words=True)
    assert render(transcription(SPOKEN), "lrc", options) == (
        "[00:00.50]<00:00.50> Hello<00:01.00> world.\n"
    )


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("txt", ""),
        ("vtt", "WEBVTT\n\n"),
        ("srt", ""),
        ("tsv", "start\tend\ttext\n"),
        ("json", '{"text": "", "segments": [], "language": "en"}'),
        ("lrc", ""),
    ],
)
def test_silence_gives_a_valid_file_without_text(format: str, content: str) -> None:
    cut = WriterOptions(max_line_width=20)
    assert render(transcription(), format, cut) == content


def test_words_are_not_lost_where_only_some_segments_have_them() -> None:
    mixed = transcription(SPOKEN, Segment(1, 0, 2.0, 3.0, " Untimed."))
    assert "Hello world." in render(mixed, "srt")
    assert "Untimed." in render(mixed, "srt")


def test_all_formats_are_written_under_the_whole_stem(tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "there"
    paths = write_transcription(folder, "talk.v2", ["all"], transcription(SPOKEN))
    assert sorted(path.name for path in paths) == [
        f"talk.v2.{format}" for format in sorted(writers.FORMATS)
    ]
    assert sorted(folder.iterdir()) == sorted(paths)
    for path in paths:
        content = render(transcription(SPOKEN), path.suffix[1:])
        assert path.read_bytes() == content.encode("utf-8")


def test_a_format_named_twice_is_written_once(tmp_path: Path) -> None:
    paths = write_transcription(tmp_path, "a", ["srt", "srt"], transcription(SPOKEN))
    assert paths == [tmp_path / "a.srt"]


def test_a_stem_may_name_a_subfolder(tmp_path: Path) -> None:
    (path,) = write_transcription(tmp_path, "en/talk", ["txt"], transcription(SPOKEN))
    assert path.read_text() == "Hello world.\n"
    assert path == tmp_path / "en" / "talk.txt"


@pytest.mark.parametrize("stem", ["../talk", "/talk", "a/../../talk", ""])
def test_a_stem_may_not_leave_its_folder(stem: str, tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="no name for a file"):
        write_transcription(tmp_path / "out", stem, ["txt"], transcription(SPOKEN))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_when_one_format_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="unknown output format 'docx'") as caught:
        write_transcription(tmp_path, "a", ["txt", "docx"], transcription(SPOKEN))
    assert "srt" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("older")
    write_bytes: Callable[[Path, bytes], int] = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> int:
        write_bytes(path, content[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_transcription(tmp_path, "a", ["txt"], transcription(SPOKEN))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "older"


def test_a_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(SpeechError, match="cannot be written"):
        write_transcription(tmp_path / "out", "a", ["txt"], transcription(SPOKEN))


@pytest.mark.parametrize("format", ["srt", "vtt", "lrc"])
def test_line_options_without_word_times_are_refused(format: str) -> None:
    untimed = transcription(Segment(0, 0, 0.0, 1.0, " Hello."))
    with pytest.raises(SpeechError, match="times of the words"):
        render(untimed, format, WriterOptions(highlight_words=True))


@pytest.mark.parametrize(
    "limit", ["max_line_width", "max_line_count", "max_words_per_line"]
)
def test_limits_below_one_are_refused(limit: str) -> None:
    with pytest.raises(SpeechError, match=f"{limit} is 0"):
        WriterOptions(**{limit: 0})
