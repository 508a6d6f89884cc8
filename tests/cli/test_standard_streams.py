"""`mlx-speech` without standard streams, on a full one, and with odd names on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@pytest.fixture
def run(
    whisper_folder: Path, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a shell, which redirects the streams."""

    def transcribe(words: str) -> subprocess.CompletedProcess[str]:
        flags = f"-m {whisper_folder} --temperature-increment-on-fallback None"
        return subprocess.run(
            f"{sys.executable} -m mlx_speech transcribe {flags} {words}",
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return transcribe


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talk.wav", 1)


Run = Callable[[str], subprocess.CompletedProcess[str]]


def test_closed_streams_do_not_stop_it(run: Run, talk: Path) -> None:
    heard = run("talk.wav").stdout
    assert heard
    without_input = run("talk.wav <&-")
    assert (without_input.returncode, without_input.stdout) == (0, heard)
    for closed in (">&-", "2>&-", ">&- 2>&- <&-"):
        done = run(f"talk.wav {closed} -f txt")
        assert (done.returncode, done.stderr) == (0, ""), closed
        assert Path(talk.parent / "talk.txt").read_text() == heard
    assert run("talk.wav >&-").stderr == ""


def test_closed_standard_input_has_no_recording(run: Run) -> None:
    done = run("- <&-")
    assert done.returncode == 1
    assert done.stderr.startswith("error: `standard input` is empty")


@needs_full
@pytest.mark.parametrize("flags", ["", "--json", "-f txt", "-v"])
def test_a_full_standard_output_ends_the_run_in_one_line(
    run: Run, talk: Path, flags: str
) -> None:
    os.link(talk, talk.with_name("other.wav"))
    done = run(f"talk.wav other.wav {flags} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: standard output cannot be written: No space left on device",
        "hint: see where it leads to",
    ]


@needs_full
@pytest.mark.parametrize("command", ["doctor", "doctor --json", "transcribe --help"])
def test_a_full_standard_output_is_one_line_of_every_command(command: str) -> None:
    done = subprocess.run(
        f"{sys.executable} -m mlx_speech {command} > /dev/full",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: No space left on device"]


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_name_that_is_not_utf8(run: Run, talk: Path) -> None:
    (talk.parent / "talks").mkdir()
    os.link(os.fsencode(talk), os.fsencode(talk.parent) + b"/talks/caf\xe9.wav")
    done = run("talks -o texts")
    assert done.returncode == 0, done.stderr
    assert os.listdir(os.fsencode(talk.parent / "texts")) == [b"caf\xe9.txt"]
    failed = run("talks -f txt -o texts/caf*.txt")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


def test_a_name_that_would_break_the_line_of_an_error(run: Run, talk: Path) -> None:
    (talk.parent / "two\nlines\x1b[31m.wav").write_text("no sound")
    done = run("two*.wav")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        r"error: `two\nlines\x1b[31m.wav` is not readable audio: Format not recognised",
        "hint: check that it plays, or convert it to wav",
    ]


def test_a_long_name_is_written(run: Run, talk: Path) -> None:
    """As long as names may be, with no room for the letters of a temporary one."""
    name = "ü" * 125
    os.link(talk, talk.with_name(f"{name}.wav"))
    done = run(f"{name}.wav -f txt")
    assert done.returncode == 0, done.stderr
    assert talk.with_name(f"{name}.txt").read_text()
