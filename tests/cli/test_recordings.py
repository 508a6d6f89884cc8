"""Which recordings are found, and that no two of them get one output."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from mlx_speech.cli.recordings import Recording, gather, output_names
from mlx_speech.errors import SpeechError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        *("in/b.wav", "in/a.MP3", "in/note.txt", "in/.x.wav"),
        *("in/deep/a.wav", "in/deep/er/c.flac", "in/.git/d.wav"),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def names(*given: str, recursive: bool = True, template: str | None = None) -> list:
    found = gather(given, recursive)
    assert not found.problems
    return output_names(found.recordings, template)


def test_the_recordings_of_a_folder_come_sorted(tree: Path) -> None:
    found = gather(["in"], recursive=False)
    assert [r.source for r in found.recordings] == ["in/a.MP3", "in/b.wav"]
    found = gather(["in"], recursive=True)
    assert [r.source for r in found.recordings] == [
        *("in/a.MP3", "in/b.wav", "in/deep/a.wav", "in/deep/er/c.flac")
    ]


def test_films_and_browsers_recordings_are_recordings(tmp_path: Path) -> None:
    """What ffmpeg reads for us of a file that is named is found in a folder too."""
    kinds = ("m4b", "webm", "wma", "mov", "mkv", "avi", "amr", "3gp", "mp4", "opus")
    for kind in kinds:
        (tmp_path / f"talk.{kind}").touch()
    (tmp_path / "talk.ts").touch()  # as often a program as a film
    assert len(gather([str(tmp_path)], recursive=False).recordings) == len(kinds)


def test_each_recording_is_taken_once(tree: Path) -> None:
    os.symlink(tree / "in/b.wav", tree / "in/link.wav")
    found = gather(["in/b.wav", "in", "./in/../in/b.wav", "-", "-"], recursive=False)
    assert [r.source for r in found.recordings] == ["in/b.wav", "in/a.MP3", "-"]


def test_a_folder_that_links_to_itself_ends(tree: Path) -> None:
    os.symlink(tree / "in", tree / "in/deep/round")
    assert len(gather(["in"], recursive=True).recordings) == 4


def test_problems_are_kept_beside_what_was_found(tree: Path) -> None:
    (tree / "none").mkdir()
    found = gather(["none", "in", "gone.wav"], recursive=False)
    ((given, error),) = found.problems
    assert given == "none"
    assert error.message == "there is no recording in the folder `none`"
    assert [r.source for r in found.recordings][-1] == "gone.wav"


def test_outputs_keep_the_folders_below_the_named_one(tree: Path) -> None:
    assert names("in") == ["a", "b", "deep/a", "deep/er/c"]
    assert names("in/deep") == ["a", "er/c"]
    assert names("in/deep/er/c.flac", "-") == ["c", "stdin"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.wav", "a.mp3"], ["a.wav", "a.mp3"]),
        (["a.wav", "A.mp3"], ["a.wav", "A.mp3"]),
        (["a.wav", "b.wav", "a.mp3"], ["a.wav", "b", "a.mp3"]),
        (["x/a.wav", "y/a.wav"], ["x/a.wav", "y/a.wav"]),
        (["x/a.wav", "y/a.wav", "b.wav"], ["x/a.wav", "y/a.wav", "b"]),
        (["a.wav", "x/a.wav"], ["a.wav", "x/a.wav"]),
        # The first two become what the third is called without its suffix.
        (["a.wav", "a.mp3", "a.wav.ogg"], ["a.wav", "a.mp3", "a.wav.ogg"]),
        (["-", "stdin.wav"], ["stdin", "stdin.wav"]),
    ],
)
def test_no_two_recordings_get_one_name(
    files: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names(*files) == expected
    assert names(*reversed(files)) == expected[::-1]


def test_accents_written_in_two_ways_are_one_name() -> None:
    forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    recordings = [
        Recording(f"{form}{suffix}", Path(f"{form}{suffix}"))
        for form, suffix in zip(forms, (".wav", ".mp3"), strict=True)
    ]
    found = output_names(recordings, None)
    assert [Path(name).suffix for name in found] == [".wav", ".mp3"]


def test_templates(tree: Path) -> None:
    found = names("in", template="{parent}/{stem}.{suffix}-{index:03}")
    assert found[:3] == ["a.MP3-001", "b.wav-002", "deep/a.wav-003"]
    (dated,) = names("in/b.wav", template="{date}_{name}")
    year, month, rest = dated.split("-")
    assert rest[2:] == "_b.wav"
    assert 1 <= int(month) <= 12 <= int(year)


@pytest.mark.parametrize(
    "template",
    ["{stem.__class__}", "{0}", "{}", "{stem", "/{stem}", "{parent}", "a/.."],
)
def test_templates_that_make_no_name(tree: Path, template: str) -> None:
    with pytest.raises(SpeechError, match="cannot be filled in"):
        names("in/b.wav", template=template)


def test_a_template_that_gives_one_name_twice(tree: Path) -> None:
    with pytest.raises(SpeechError, match=r"`in/a\.MP3` and `in/deep/a\.wav` the same"):
        names("in", template="{stem}")
