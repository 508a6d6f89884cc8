"""Folders as people have them: LJSpeech, Piper, trees; and what is wrong with some."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_speech.corpus import Utterance, find_leftovers, read_corpus
from mlx_speech.errors import SpeechError


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Metadata text (or bytes), and empty files for the recordings it names."""

    def make(metadata: str | bytes, *recordings: str) -> Path:
        data = metadata.encode() if isinstance(metadata, str) else metadata
        (tmp_path / "metadata.csv").write_bytes(data)
        for name in recordings:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def texts(utterances: list[Utterance]) -> list[str]:
    return [each.text for each in utterances]


def speakers(utterances: list[Utterance]) -> list[str | None]:
    return [each.speaker for each in utterances]


def refusal(folder: Path, layout: str = "auto") -> str:
    with pytest.raises(SpeechError) as caught:
        read_corpus(folder, layout)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_two_columns_are_name_and_text(corpus: Callable[..., Path]) -> None:
    folder = corpus("a|Hello there.\nb|Good-bye.\n", "wavs/a.wav", "wavs/b.wav")
    assert read_corpus(folder) == [
        Utterance("a", folder / "wavs/a.wav", "Hello there.", None),
        Utterance("b", folder / "wavs/b.wav", "Good-bye.", None),
    ]


def test_three_columns_of_ljspeech_speak_the_last(corpus: Callable[..., Path]) -> None:
    folder = corpus(
        "a|In 1900.|In nineteen hundred.\nb|Yes.|Yes.\nc|Dr. No|\n",
        *(f"wavs/{name}.wav" for name in "abc"),
    )
    found = read_corpus(folder)
    assert texts(found) == ["In nineteen hundred.", "Yes.", "Dr. No"]
    assert speakers(found) == [None] * 3


def test_three_columns_of_piper_name_speakers(corpus: Callable[..., Path]) -> None:
    lines = [f"{i}|{'ann' if i % 2 else 'bob'}|sentence {i}" for i in range(4)]
    folder = corpus("\n".join(lines), *(f"wav/{i}.wav" for i in range(4)))
    found = read_corpus(folder)
    assert speakers(found) == ["bob", "ann", "bob", "ann"]
    assert texts(found)[3] == "sentence 3"


def test_the_layout_decides_where_the_rule_would_not(
    corpus: Callable[..., Path],
) -> None:
    folder = corpus("a|ann|one\nb|bob|two\n", "a.wav", "b.wav")
    assert speakers(read_corpus(folder)) == [None, None]
    found = read_corpus(folder, layout="multi-speaker")
    assert speakers(found) == ["ann", "bob"]
    assert texts(found) == texts(read_corpus(folder)) == ["one", "two"]


def test_repeated_short_texts_are_not_speakers(corpus: Callable[..., Path]) -> None:
    folder = corpus(
        "a|Yes.|yes.\nb|Yes.|yes.\nc|No.|no.\nd|No.|no.\n",
        *(f"{name}.wav" for name in "abcd"),
    )
    assert speakers(read_corpus(folder)) == [None] * 4


@pytest.mark.parametrize(
    ("last", "text"), [("in full", "in full"), ("12 0 7 0 9", "raw"), ("", "raw")]
)
def test_four_columns_have_a_speaker_and_maybe_phoneme_ids(
    corpus: Callable[..., Path], last: str, text: str
) -> None:
    folder = corpus(f"a|ann|raw|{last}\n", "a.wav")
    assert read_corpus(folder) == [Utterance("a", folder / "a.wav", text, "ann")]


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("id|text|normalized_text", "a|1|one"),
        ("file_name|speaker|text", "a.wav|ann|one"),
        ("File|Text|Speaker", "a|one|ann"),
    ],
)
def test_a_header_names_the_columns(
    corpus: Callable[..., Path], header: str, line: str
) -> None:
    folder = corpus(f"{header}\n{line}\n", "a.wav")
    (found,) = read_corpus(folder)
    assert (found.identifier, found.text) == ("a", "one")
    assert found.speaker == ("ann" if "ann" in line else None)


def test_quotes_are_characters_and_line_ends_do_not_matter(
    corpus: Callable[..., Path],
) -> None:
    folder = corpus(
        b'\xef\xbb\xbfa|"Who, me?" he said.\r\n\r\nb|An "open quote.\r\n',
        "a.wav",
        "b.wav",
    )
    assert texts(read_corpus(folder)) == ['"Who, me?" he said.', 'An "open quote.']


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a", "wavs/a.wav"),
        ("a", "wav/a.FLAC"),
        ("a.ogg", "a.ogg"),
        ("wavs/a.wav", "wavs/a.wav"),
        ("deep/er/a", "wavs/deep/er/a.mp3"),
        ("a.b.c", "wavs/a.b.c.aiff"),
        ("mein täglich Brot", "wavs/mein täglich Brot.wav"),
        ("./x/../a", "wavs/a.wav"),
        ("全角\u3000空白", "wavs/全角\u3000空白.wav"),
    ],
)
def test_recordings_are_found_by_name(
    corpus: Callable[..., Path], name: str, file: str
) -> None:
    folder = corpus(f"{name}|words\n", file)
    assert read_corpus(folder)[0].audio_path.resolve() == (folder / file).resolve()


def test_accents_match_in_either_unicode_form(corpus: Callable[..., Path]) -> None:
    stored = unicodedata.normalize("NFD", "wavs/é.wav")
    folder = corpus(unicodedata.normalize("NFC", "é|words\n"), stored)
    assert read_corpus(folder)[0].audio_path == folder / stored


def test_a_list_of_another_name_is_given_as_a_path(
    corpus: Callable[..., Path],
) -> None:
    folder = corpus("a|one\n", "a.wav", "b.wav")
    (folder / "train.txt").write_text("b|two\n")
    assert texts(read_corpus(folder / "train.txt")) == ["two"]


def test_a_tree_pairs_recordings_with_transcripts(tmp_path: Path) -> None:
    for name in ("ann/1.wav", "ann/2.flac", "bob/1.wav", "bob/alone.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "ann/1.txt").write_text(" one\nline \n")
    (tmp_path / "ann/2.txt").write_text("not this")
    (tmp_path / "ann/2.lab").write_text("two")
    (tmp_path / "bob/1.lab").write_text("\ufeffthree", encoding="utf-8")
    (tmp_path / "bob/gone.lab").write_text("four")
    (tmp_path / "README.txt").write_text("about")
    found = read_corpus(tmp_path)
    assert [each.identifier for each in found] == ["ann/1", "ann/2", "bob/1"]
    assert texts(found) == ["one line", "two", "three"]
    assert speakers(found) == [None] * 3
    by_folder = read_corpus(tmp_path, layout="multi-speaker")
    assert speakers(by_folder) == ["ann", "ann", "bob"]
    leftovers = find_leftovers(tmp_path, found)
    assert leftovers.recordings == ["bob/alone.wav"]
    assert leftovers.transcripts == ["bob/gone.lab"]


def test_lossless_is_preferred_when_two_formats_share_a_name(tmp_path: Path) -> None:
    for name in ("a.mp3", "a.wav", "a.ogg"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("words")
    (found,) = read_corpus(tmp_path)
    assert found.audio_path.name == "a.wav"
    assert find_leftovers(tmp_path, [found]).recordings == ["a.mp3", "a.ogg"]


def test_missing_folder(tmp_path: Path) -> None:
    assert "no folder" in refusal(tmp_path / "nowhere")


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    message = refusal(tmp_path)
    assert "no `metadata.csv`" in message
    assert "1 recordings found" in message


def test_absent_recordings_are_the_first_ten_and_the_count(
    corpus: Callable[..., Path],
) -> None:
    lines = "".join(f"clip{i:02}|words\n" for i in range(13))
    message = refusal(corpus(lines, "wavs/clip00.wav"))
    assert "12 of 13 recordings" in message
    assert "clip01, clip02" in message
    assert "clip10 and 2 more" in message
    assert "clip11" not in message


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "x/../../secret.wav"])
def test_names_stay_in_the_folder(corpus: Callable[..., Path], name: str) -> None:
    folder = corpus(f"{name}|words\n")
    (folder.parent / "secret.wav").touch()
    assert "outside its folder" in refusal(folder)


def test_text_that_is_not_utf8_is_located(corpus: Callable[..., Path]) -> None:
    folder = corpus("a|fine\nb|na\xefve\n".encode("latin-1"), "a.wav", "b.wav")
    message = refusal(folder)
    assert "metadata.csv" in message
    assert "byte 0xef at position 11 (line 2)" in message


def test_utf16_is_recognised(corpus: Callable[..., Path]) -> None:
    assert "position 1 " in refusal(corpus("a|b\n".encode("utf-16-le"), "a.wav"))


def test_a_transcript_that_is_not_utf8_is_located(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    message = refusal(tmp_path)
    assert "a.txt" in message
    assert "position 3" in message


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("", "is empty"),
        ("a,words\n", "line 1"),
        ("a|b|c|d|e\n", "5 column(s)"),
        ("a|one\nb|two|three\n", "line 2"),
        ("|words\n", "line 1"),
        ("id|text\n", "no line below"),
        ("a|one\na|two\n", "a (lines 1 and 2)"),
        ("a|one\nb|two\na.wav|three\n", "a.wav (lines 1 and 3)"),
        ("a|one\nwavs/a|two\n", "wavs/a (lines 1 and 2)"),
    ],
)
def test_broken_metadata_is_explained(
    corpus: Callable[..., Path], metadata: str, said: str
) -> None:
    assert said in refusal(corpus(metadata, "wavs/a.wav", "b.wav"))


def test_layouts_that_do_not_fit_are_refused(corpus: Callable[..., Path]) -> None:
    folder = corpus("a|one\n", "a.wav")
    assert "no speakers" in refusal(folder, "multi-speaker")
    assert "unknown layout `piper`" in refusal(folder, "piper")


def test_an_empty_transcript_is_kept_for_the_check(corpus: Callable[..., Path]) -> None:
    assert texts(read_corpus(corpus("a|\nb|words\n", "a.wav", "b.wav"))) == [
        "",
        "words",
    ]


def test_a_name_that_no_file_can_have_is_absent(corpus: Callable[..., Path]) -> None:
    message = refusal(corpus(f"a|one\n{'long ' * 99}/x|two\n", "a.wav"))
    assert "1 of 2 recordings" in message


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / f"{name}.wav").touch()
    except OSError:
        pytest.skip("this file system stores UTF-8 names only")
    (tmp_path / f"{name}.txt").write_text("words")
    assert r"'caf\udce9'" in refusal(tmp_path)


def test_hidden_files_and_linked_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.wav", "._a.wav", ".trash/b.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.with_suffix(".txt").write_text("words")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [each.identifier for each in read_corpus(tmp_path)] == ["a"]


def test_a_linked_wavs_folder_is_followed(
    corpus: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("disk")
    (elsewhere / "a.wav").touch()
    folder = corpus("a|one\n")
    (folder / "wavs").symlink_to(elsewhere, target_is_directory=True)
    assert read_corpus(folder)[0].audio_path == folder / "wavs" / "a.wav"
