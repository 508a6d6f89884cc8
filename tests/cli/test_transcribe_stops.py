"""`mlx-speech transcribe` interrupted, cut off by a pipe, and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COUNT = 6
# The command, which presses Ctrl-C itself amid the third recording.
STOPPING = """
import os, signal
from mlx_speech import models
from mlx_speech.cli.main import main

transcribe, count = models.transcribe, 0

def stop(*given, **options):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return transcribe(*given, **options)

models.transcribe = stop
main()
"""


@pytest.fixture
def talks(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    """A folder of a few recordings."""
    first = speak_tones(tmp_path / "talks/00.wav", 2)
    for number in range(1, COUNT):
        os.link(first, tmp_path / f"talks/{number:02}.wav")
    return tmp_path / "talks"


@pytest.fixture
def words(whisper_folder: Path) -> list[str]:
    """The command, with one try a window."""
    return [
        *(sys.executable, "-m", "mlx_speech", "transcribe", "-m", str(whisper_folder)),
        *("--temperature-increment-on-fallback", "None"),
    ]


def finish(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_ctrl_c_leaves_whole_outputs_and_the_same_command_goes_on(
    words: list[str], talks: Path, tmp_path: Path
) -> None:
    given = ["talks", "-f", "all", "-o"]
    stopped = finish([*words[:1], "-c", STOPPING, *words[3:], *given, "out"], tmp_path)
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines() == [
        f"error: stopped; 2 of {COUNT} recordings are done",
        "hint: what is written is whole; the same command with --skip-existing goes on",
    ]
    given = [*words, *given]
    assert finish([*given, "whole"], tmp_path).returncode == 0
    whole, part = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert len(whole) == 6 * COUNT
    assert len(part) == 6 * 2
    assert part.items() <= whole.items()
    finished = finish([*given, "out", "--skip-existing"], tmp_path)
    assert finished.returncode == 0
    assert f"2 of {COUNT} recordings are done already" in finished.stderr
    assert contents(tmp_path / "out") == whole


def test_a_terminated_command_leaves_no_half_written_file(
    words: list[str], talks: Path, tmp_path: Path
) -> None:
    ending = """
import os, signal
from mlx_speech import files
from mlx_speech.cli.main import main

def end(path):
    os.kill(os.getpid(), signal.SIGTERM)

files._flush = end
main()
"""
    given = ["talks", "-f", "srt", "-o", "out"]
    ended = finish([*words[:1], "-c", ending, *words[3:], *given], tmp_path)
    assert (ended.returncode, ended.stderr) == (143, "")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_pipe_that_closes_is_no_traceback(
    words: list[str], talks: Path, tmp_path: Path
) -> None:
    for flags in ([], ["--json"], ["-f", "txt"]):
        with subprocess.Popen(
            [*words, "talks", *flags],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read()
        assert process.returncode == 1
        assert "Traceback" not in err
        assert "Exception" not in err


def test_a_bar_on_the_terminal_leaves_the_text_to_standard_output(
    words: list[str], talks: Path, tmp_path: Path
) -> None:
    alone = finish([*words, "talks/00.wav"], tmp_path)
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [*words, "talks/00.wav"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        text=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while part := read(terminal):
            shown += part
        out, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0
    assert out == alone.stdout
    assert b"00.wav" in shown
    assert b"x real time" in shown


def test_letters_that_the_terminal_lacks_do_not_stop_it(
    words: list[str], talks: Path, tmp_path: Path
) -> None:
    os.rename(talks / "00.wav", talks / "ü.wav")
    done = subprocess.run(
        [*words, "talks/ü.wav", "talks/01.wav"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("==> talks/?.wav <==\n")


def read(terminal: int) -> bytes:
    """What is there to read; nothing when the other side is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
