"""`mlx-speech check-data`: what it prints, where, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command: Run) -> Run:
    """Run the command: exit code, standard output, standard error."""
    return partial(command, "check-data")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two speakers, four recordings: 8 kHz, 96 kHz stereo, spaces, no ASCII."""
    folder = tmp_path / "my data"
    (folder / "wavs").mkdir(parents=True)
    lines = []
    for index, (name, rate, channels) in enumerate(
        [("a", 8000, 1), ("b [x]", 96000, 2), ("ç d", 22050, 1), ("e", 22050, 1)]
    ):
        tone = 0.4 * np.sin(np.arange(rate) * 1000 / rate)
        path = folder / "wavs" / f"{name}.wav"
        soundfile.write(path, np.tile(tone[:, None], channels), rate)
        lines.append(f"{name}|{'ann' if index % 2 else 'bob'}|some words {index}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_a_good_folder_can_train(run: Run, data: Path) -> None:
    code, out, err = run(data, "--vocabulary", "none")
    assert code == 0
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    assert rows["recordings"].split() == ["4"]
    assert rows["length"].split() == ["4.0", "s"]
    assert rows["2 speaker(s)"].strip() == "ann 2.0 s, bob 2.0 s"
    assert rows["sample rates"].strip() == "8000 Hz (1), 22050 Hz (2), 96000 Hz (1)"
    assert rows["can train"].strip() == "yes"
    assert "note: 1 recording(s) at 8000 Hz are resampled to 22050 Hz" in err
    assert "note: 1 recording(s) with 2 channels are mixed to one" in err
    assert "error" not in err


def test_json_is_one_object_and_nothing_else(run: Run, data: Path) -> None:
    soundfile.write(data / "wavs" / "spare.wav", np.full(800, 0.1), 8000)
    code, out, err = run(data, "--json", "--sample-rate", "96000")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["can_train"] is True
    assert report["problems"] == []
    assert report["unused_recordings"] == ["wavs/spare.wav"]
    assert any("8000 Hz are resampled to 96000 Hz" in note for note in report["notes"])


def test_recordings_without_transcript_are_named(run: Run, data: Path) -> None:
    soundfile.write(data / "wavs" / "spare.wav", np.full(800, 0.1), 8000)
    _, _, err = run(data)
    assert "note: 1 recording(s) have no transcript and are left out: wavs/spare" in err


def test_problems_are_error_lines_and_exit_1(run: Run, data: Path) -> None:
    (data / "wavs" / "b [x].wav").write_bytes(b"not audio at all")
    with (data / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("f|ann|\ng|bob|snow \N{SNOWMAN} man\n")
    tone = 0.4 * np.sin(np.arange(22050) / 20)
    for name in "fg":
        soundfile.write(data / "wavs" / f"{name}.wav", tone, 22050)
    code, out, err = run(data)
    assert code == 1
    assert out.splitlines()[-1].split() == ["can", "train", "no"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert "b [x] (is not readable audio" in errors[0]
    assert errors[1] == "error: 1 empty transcript(s): f"
    assert "'\N{SNOWMAN}' in 1" in errors[2]
    code, out, err = run(data, "--json")
    assert code == 1
    assert json.loads(out)["empty_transcripts"] == ["f"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no folder `nowhere`"),
        (["."], "no `metadata.csv`"),
        ([".", "--vocabulary", "runes"], "`runes` is not known"),
        ([".", "--layout", "runes"], "unknown layout `runes`"),
    ],
)
def test_what_cannot_be_read_is_one_error_line(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    first, *rest = err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert all(line.startswith("hint: ") for line in rest)


def test_a_longest_recording_may_be_set(run: Run, data: Path) -> None:
    code, _, err = run(data, "--vocabulary", "none", "--max-seconds", "0.9")
    assert code == 1
    assert "4 recording(s) over 0.9 s: a, b [x], ç d, e" in err
