"""Recordings that broke off, or came through a pipe: what each command says of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

Run = Callable[..., tuple[int, str, str]]
MISSING = "breaks off: the last 1.0 s that its header announces are missing"


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    """A wav whose last second is missing."""
    path = speak_tones(tmp_path / "talk.wav", 3)
    path.write_bytes(path.read_bytes()[: -2 * 16000])
    return path


@pytest.fixture
def piped(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    """A FLAC that does not count its samples."""
    wav = speak_tones(tmp_path / "whole.wav", 3)
    path = tmp_path / "piped.flac"
    soundfile.write(path, *soundfile.read(wav))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("flags", [(), ("-q",), ("--json", "-q")])
def test_a_recording_that_broke_off_is_transcribed_with_one_warning(
    run: Run, talk: Path, flags: tuple[str, ...]
) -> None:
    code, out, err = run("talk.wav", *flags)
    assert code == 0, err
    assert out
    assert err.splitlines() == [f"note: `talk.wav` {MISSING}"]


def test_standard_input_that_broke_off_is_told_too(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = SimpleNamespace(buffer=io.BytesIO(talk.read_bytes()))
    monkeypatch.setattr("sys.stdin", stream)
    code, _, err = run("-", "-q")
    assert (code, err) == (0, f"note: `standard input` {MISSING}\n")


def test_a_corpus_is_prepared_from_what_is_there(
    command: Run, whisper_folder: Path, talk: Path, tmp_path: Path
) -> None:
    flags = ("--min-confidence", "0", "--min-seconds", "0.5", "-m", whisper_folder)
    given = ("prepare", talk, "--out", tmp_path / "made", *flags, "-q")
    for warnings in ([f"note: `{talk}` {MISSING}"], []):
        code, _, err = command(*given)
        assert (code, err.splitlines()) == (0, warnings)


def test_a_recording_listened_to_is_told_at_its_end(
    command: Run, whisper_folder: Path, talk: Path
) -> None:
    code, _, err = command("listen", "--input", talk, "-m", whisper_folder, "-q")
    assert (code, err) == (0, f"note: `{talk}` {MISSING}\n")


def test_a_flac_from_a_pipe_is_heard_as_the_whole_one(
    run: Run, command: Run, whisper_folder: Path, piped: Path, tmp_path: Path
) -> None:
    code, whole, _ = run("whole.wav")
    assert run("piped.flac") == (code, whole, "") == (0, whole, "")
    flags = ("--min-confidence", "0", "--min-seconds", "0.5", "-m", whisper_folder)
    code, _, err = command("prepare", piped, "--out", tmp_path / "made", *flags, "-q")
    assert (code, err) == (0, "")
    assert (tmp_path / "made/metadata.csv").is_file()


def test_a_whisper_learns_from_a_flac_from_a_pipe(
    command: Run, piped: Path, tmp_path: Path
) -> None:
    from mlx_speech.whisper.training_setup import sample_count

    soundfile.write(tmp_path / "whole.flac", np.zeros(44100), 22050)
    assert sample_count(tmp_path / "whole.flac") == 32000
    assert sample_count(piped) == round((4 * 0.6 + 3 * 0.7) * 16000)
