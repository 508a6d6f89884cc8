"""`mlx-speech prepare`: recordings to a corpus, stopped, continued, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mlx_speech.writers import Segment, Transcription

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]
# The command, which is killed while the fourth piece is being heard.
DYING = """
import os, signal
from mlx_speech import models
from mlx_speech.cli.main import main

transcribe, count = models.transcribe, 0

def die(*given, **options):
    global count
    count += 1
    if count == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return transcribe(*given, **options)

models.transcribe = die
main()
"""
FLAGS = ("--min-seconds", "0.5", "--max-seconds", "2", "--min-confidence", "0")


@pytest.fixture
def talks(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    """A folder of two recordings."""
    speak_tones(tmp_path / "talks/one.wav", 3)
    speak_tones(tmp_path / "talks/two.flac", 2, hertz=440.0)
    return tmp_path / "talks"


def measure(samples: np.ndarray, model: object, **_: object) -> Transcription:
    """Stands for a model: says how many halves of a second it heard."""
    segment = Segment(0, 0, 0.0, 1.0, f" go {len(samples) // 8000}")
    return Transcription(segment.text, [segment], "de", 1.0)


@pytest.fixture
def really(
    command: Run,
    whisper_folder: Path,
    talks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run the command with the tiny model beside the recordings."""
    monkeypatch.chdir(tmp_path)
    return partial(command, "prepare", "-m", whisper_folder, *FLAGS)


@pytest.fixture
def run(really: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same, but what is said is how long it is."""
    monkeypatch.setattr("mlx_speech.models.transcribe", measure)
    return really


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_recordings_become_a_corpus(really: Run, command: Run) -> None:
    code, out, err = really("talks", "--out", "data", "--language", "en")
    assert (code, err) == (0, "try: mlx-speech train-vits data\n")
    assert "recordings" in out
    lines = Path("data/metadata.csv").read_text().splitlines()
    assert len(lines) == 5
    identifiers = [line.split("|")[0] for line in lines]
    assert identifiers == [
        *(f"one_000{n}" for n in (1, 2, 3)),
        *(f"two_000{n}" for n in (1, 2)),
    ]
    for name in identifiers:
        samples, rate = soundfile.read(f"data/wavs/{name}.wav")
        assert rate == 22050
        assert 0.5 <= len(samples) / rate <= 2.0
        # Half a pause, or the margin, is left at both ends: it is silent.
        assert np.abs(samples[: rate // 20]).max() < 0.05
    code, out, err = command("check-data", "data", "--vocabulary", "none", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["utterances"] == 5
    assert report["can_train"]
    assert report["unused_recordings"] == []


def test_the_report_is_json_when_asked(run: Run) -> None:
    code, out, _ = run("talks", "--out", "data", "--json", "-q")
    report = json.loads(out)
    assert code == 0
    assert report["recordings"] == 2
    assert report["pieces"] == 5
    assert report == json.loads(Path("data/report.json").read_text())
    assert report["seconds"] + report["silent_seconds"] == pytest.approx(
        report["recorded_seconds"]
    )


def test_going_on_takes_what_came_since(
    run: Run, talks: Path, speak_tones: Callable[..., Path]
) -> None:
    assert run("talks", "--out", "data", "-q")[0] == 0
    before = contents(Path("data"))
    assert run("talks", "--out", "data", "-q")[0] == 0
    assert contents(Path("data")) == before
    speak_tones(talks / "three.wav", 1)
    assert run("talks", "--out", "data", "-q")[0] == 0
    after = contents(Path("data"))
    assert "wavs/three_0001.wav" in after
    assert len(after["metadata.csv"].splitlines()) == 6


def test_a_killed_run_goes_on_to_the_same_files(
    really: Run, whisper_folder: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", DYING, "prepare", "-m", str(whisper_folder)]
    words += [*FLAGS, "talks", "--out", "data"]
    process = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(list(Path("data/wavs").iterdir())) == 3
    assert not Path("data/metadata.csv").exists()
    assert really("talks", "--out", "data", "-q")[0] == 0
    assert really("talks", "--out", "whole", "-q")[0] == 0
    assert contents(Path("data")) == contents(Path("whole"))


def test_ctrl_c_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def stop(*given: Any, **options: Any) -> Transcription:
        nonlocal count
        count += 1
        if count > 4:
            raise KeyboardInterrupt
        return measure(*given, **options)

    monkeypatch.setattr("mlx_speech.models.transcribe", stop)
    code, out, err = run("talks", "--out", "data")
    assert (code, out) == (130, "")
    assert err == (
        "error: stopped; 1 of 2 recordings are done\n"
        "hint: what is written is whole; the same command goes on\n"
    )
    # What is finished can be used already.
    assert len(Path("data/metadata.csv").read_text().splitlines()) == 3
    monkeypatch.setattr("mlx_speech.models.transcribe", measure)
    assert run("talks", "--out", "data", "-q")[0] == 0
    assert run("talks", "--out", "whole", "-q")[0] == 0
    assert contents(Path("data")) == contents(Path("whole"))


def test_one_failure_does_not_stop_the_rest(run: Run, talks: Path) -> None:
    (talks / "bad.wav").write_text("no sound")
    soundfile.write(talks / "silence.wav", np.zeros(16000), 16000)
    code, _, err = run("talks", "gone.wav", "--out", "data")
    assert code == 1
    assert "error: 2 of 5 failed: `talks/bad.wav`, `gone.wav`" in err
    assert len(Path("data/metadata.csv").read_text().splitlines()) == 5
    assert json.loads(Path("data/report.json").read_text())["recordings"] == 3


def test_nothing_fit_for_training_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mumble(samples: np.ndarray, model: object, **_: object) -> Transcription:
        segment = Segment(0, 0, 0.0, 1.0, " mumble", avg_logprob=-2.0)
        return Transcription(segment.text, [segment], "de", 1.0)

    monkeypatch.setattr("mlx_speech.models.transcribe", mumble)
    code, out, err = run("talks", "--out", "data", "--min-confidence", "0.5")
    assert code == 1
    assert "dropped: low confidence" in out
    assert "no piece of 2 recordings is fit for training" in err
    assert not Path("data/metadata.csv").exists()


def test_settings_of_another_run_are_refused(run: Run, refusal: Refusal) -> None:
    assert run("talks", "--out", "data", "-q")[0] == 0
    given = ("talks", "--out", "data", "--sample-rate", "16000")
    error, hint = refusal(run(*given))
    assert "sample rate 22050, now 16000" in error
    assert "--overwrite" in hint
    assert run(*given, "--overwrite", "-q")[0] == 0
    assert soundfile.info("data/wavs/one_0001.wav").samplerate == 16000


def test_a_missing_model_leaves_nothing_behind(run: Run, refusal: Refusal) -> None:
    given = ("talks", "--out", "data", "-m", "turbo", "--offline", "--model-dir", "x")
    error, hint = refusal(run(*given))
    assert "not on this machine" in error
    assert "-m bundled" in hint
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-", "--out", "data"], "standard input has no name"),
        (["empty", "--out", "data"], "no recording in the folder"),
        (["talks", "--out", "talks"], "did not make it"),
        (["talks", "--out", "talks/one.wav"], "is a file"),
        (["talks", "--out", "data", "--min-seconds", "3"], "cannot be cut"),
        (["talks", "--out", "data", "--min-seconds", "0"], "cannot be cut"),
        (["talks", "--out", "data", "--language", "germn"], "'germn' is not known"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, refusal: Refusal, arguments: list[str], said: str
) -> None:
    os.mkdir("empty")
    assert said in refusal(run(*arguments))[0]


def test_no_folder_to_write_to_is_wrong_usage(run: Run) -> None:
    code, out, err = run("talks")
    assert (code, out) == (2, "")
    assert "--out" in err


def test_a_voice_trains_on_the_result(
    run: Run, command: Run, tiny_settings: Path
) -> None:
    assert run("talks", "--out", "data", "-q")[0] == 0
    given = ("--config", tiny_settings, "--output-dir", "run", "-q")
    code, out, err = command("train-vits", "data", *given)
    assert (code, out) == (0, "run/model\n"), err
    spoken = command("speak", "go on", "--voice", "run", "-o", "out.wav", "-q")
    assert spoken[0] == 0
    assert soundfile.info("out.wav").duration > 0
