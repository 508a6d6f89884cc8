"""`mlx-speech prepare` on a folder that has changed since, and on odd names in it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlx_speech.writers import Segment, Transcription

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]


@pytest.fixture
def run(
    command: Run,
    whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run the command in an empty folder; what is said is how long it is."""

    def measure(samples: np.ndarray, model: object, **_: object) -> Transcription:
        segment = Segment(0, 0, 0.0, 1.0, f" go {len(samples) // 8000}")
        return Transcription(segment.text, [segment], "de", 1.0)

    monkeypatch.setattr("mlx_speech.models.transcribe", measure)
    monkeypatch.chdir(tmp_path)
    flags = ("--min-seconds", "0.5", "--max-seconds", "2", "-q")
    return partial(command, "prepare", "-m", whisper_folder, *flags)


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talks/one.wav", 1)


def listed() -> list[str]:
    lines = Path("data/metadata.csv").read_text(encoding="utf-8").splitlines()
    return [line.split("|")[0] for line in lines]


def test_a_namesake_that_came_since_doubles_nothing(run: Run, talk: Path) -> None:
    assert run("talks", "--out", "data")[0] == 0
    assert listed() == ["one_0001"]
    shutil.copyfile(talk, talk.with_suffix(".flac"))
    assert run("talks", "--out", "data")[0] == 0
    assert sorted(listed()) == ["one.flac_0001", "one_0001"]
    # Now there are both, and nothing is left to do.
    before = [path.stat().st_mtime_ns for path in Path("data/wavs").iterdir()]
    assert run("talks", "--out", "data")[0] == 0
    assert [p.stat().st_mtime_ns for p in Path("data/wavs").iterdir()] == before


def test_its_own_pieces_are_no_recordings(run: Run, talk: Path) -> None:
    for _ in range(2):
        assert run("talks", "--recursive", "--out", "talks/data")[0] == 0
        assert len(os.listdir("talks/data/wavs")) == 1
    error = run("talks/data/wavs", "--out", "talks/data")
    assert error[0] == 1
    assert "are what `prepare` itself has written" in error[2]


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_name_that_is_not_utf8(run: Run, talk: Path) -> None:
    os.rename(talk, os.fsencode(talk.parent) + b"/caf\xe9\x1b.wav")
    for _ in range(2):
        code, _, err = run("talks", "--out", "data")
        assert code == 0, err
        assert listed() == ["caf__0001"]


@pytest.mark.parametrize(
    ("flags", "said", "hinted"),
    [
        (["--max-seconds", "0.6"], "pieces of 0.5 to 0.6 s", "--max-seconds"),
        (["-m", "bundled", "-l", "de"], "hears English only", "--language"),
    ],
)
def test_what_cannot_be_is_told_in_flags(
    run: Run, talk: Path, refusal: Refusal, flags: list[str], said: str, hinted: str
) -> None:
    error, hint = refusal(run("talks", "--out", "data", *flags))
    assert said in error
    assert hinted in hint
    assert not Path("data").exists()


def test_a_language_that_was_not_given_is_called_so(
    run: Run, talk: Path, refusal: Refusal
) -> None:
    assert run("talks", "--out", "data")[0] == 0
    error, _ = refusal(run("talks", "--out", "data", "-l", "de"))
    assert "language not given, now de" in error


def test_a_rate_that_no_pieces_have_is_wrong_usage(run: Run, talk: Path) -> None:
    code, out, err = run("talks", "--out", "data", "--sample-rate", "1000000000")
    assert (code, out) == (2, "")
    assert "--sample-rate" in err
