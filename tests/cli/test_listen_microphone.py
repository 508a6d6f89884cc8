"""`mlx-speech listen` before a microphone, for which a module of ours stands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mlx_speech.cli import live_sound
from mlx_speech.writers import Segment, Transcription

Run = Callable[..., tuple[int, str, str]]
RATE = 48000
FAKES = Path(__file__).parent / "fakes"
# A process of its own, in which PortAudio waits forever for the device.
HANGING = """
import atexit, sys, time
import numpy as np
import sounddevice
from mlx_speech.cli import main, microphone

class Forever:
    def __call__(self, *_):
        while True:
            time.sleep(60)

microphone.CLOSING_SECONDS = 0.1
atexit.register(Forever())
sounddevice.InputStream.on_start = lambda stream: stream.play(np.zeros(9600))
sounddevice.InputStream.on_poll = lambda stream: False
sounddevice.InputStream.on_stop = Forever()
sys.argv = ["mlx-speech", "listen", "-m", "bundled", "-o", "talk.txt"]
main.main()
"""


def talk(tones: int) -> np.ndarray:
    """Sounds of 0.7 s, each after a pause of 1.2 s, and 0.1 s of pause at the end."""
    clock = np.arange(round(0.7 * RATE)) / RATE
    tone = 0.4 * np.sin(2 * np.pi * 330 * clock) * np.hanning(len(clock)) ** 0.25
    pause = np.zeros(round(1.2 * RATE))
    samples = np.concatenate([pause, tone] * tones + [pause[: RATE // 10]])
    samples += 0.001 * np.random.default_rng(0).standard_normal(len(samples))
    return samples.astype(np.float32)


class Model:
    """Stands for a model: counts utterances, and lets a test do what it wants then."""

    def __init__(self) -> None:
        self.count = 0
        self.meanwhile: Callable[[int], None] = lambda count: None

    def __call__(
        self, sound: tuple[np.ndarray, int], model: object, **_: object
    ) -> Transcription:
        self.count += 1
        self.meanwhile(self.count)
        seconds = len(sound[0]) / sound[1]
        segment = Segment(0, 0, 0.0, seconds, f" said {self.count}")
        return Transcription(segment.text, [segment], "de", seconds)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    stands = Model()
    monkeypatch.setattr("mlx_speech.models.transcribe", stands)
    monkeypatch.setattr(live_sound, "POLL_SECONDS", 0.01)
    return stands


@pytest.fixture
def run(
    command: Run,
    sounddevice: ModuleType,
    whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.chdir(tmp_path)
    return partial(command, "listen", "-m", whisper_folder)


def press_ctrl_c(model: Model, count: int) -> Callable[[Any], bool]:
    """What presses Ctrl-C, once, when so many utterances were heard."""
    pressed: list[int] = []

    def poll(stream: Any) -> bool:
        if model.count >= count and not pressed:
            pressed.append(count)
            os.kill(os.getpid(), signal.SIGINT)
        return True

    return poll


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("inactive", "the microphone `Built-in [mic]` has stopped"),
        ("raises", "the microphone `Built-in [mic]` has stopped: Invalid stream"),
        ("quiet", "the microphone `Built-in [mic]` is gone: nothing has come"),
    ],
)
def test_a_microphone_that_is_unplugged_is_one_line_and_nothing_is_lost(
    run: Run, model: Model, sounddevice: ModuleType, how: str, said: str
) -> None:
    def poll(stream: Any) -> bool:
        if how == "raises":
            raise sounddevice.PortAudioError("Invalid stream pointer", -9988)
        return how == "quiet"

    # The last one is still open when the device is gone.
    sounddevice.InputStream.on_start = lambda stream: stream.play(talk(3))
    sounddevice.InputStream.on_poll = poll
    began = time.monotonic()
    code, out, err = run("-o", "talk.srt")
    assert time.monotonic() - began < 10
    assert code == 1
    assert out.splitlines() == ["said 1", "said 2", "said 3"]
    content = Path("talk.srt").read_text()
    assert content.count("-->") == 3 and "said 3" in content
    *_, count, wrote, error, hint = err.splitlines()
    assert count.startswith("3 utterances, ")
    assert wrote == "wrote talk.srt"
    assert error.startswith(f"error: {said}")
    assert hint.startswith("hint: plug it in again")
    assert sounddevice.InputStream.opened[0].closed


def test_a_microphone_that_never_gives_anything_keeps_an_older_file(
    run: Run, model: Model
) -> None:
    Path("talk.txt").write_text("of yesterday\n")
    code, out, err = run("-o", "talk.txt", "-q")
    assert (code, out) == (1, "")
    assert err.startswith("error: nothing comes from the microphone")
    assert Path("talk.txt").read_text() == "of yesterday\n"


def test_closing_a_device_that_hangs_does_not_hold_the_command(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", HANGING],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(FAKES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    lines = result.stderr.splitlines()
    assert lines[-2] == "error: the microphone `Built-in [mic]` has stopped"
    assert not (tmp_path / "talk.txt").exists()


def test_ctrl_c_ends_and_what_waits_is_still_written_down(
    run: Run, model: Model, sounddevice: ModuleType
) -> None:
    streams = sounddevice.InputStream.opened

    def play_and_interrupt(count: int) -> None:
        if count == 1:
            streams[0].play(talk(2))
            os.kill(os.getpid(), signal.SIGINT)
            # Not heard any more.
            streams[0].play(talk(3))

    sounddevice.InputStream.on_start = lambda stream: stream.play(talk(2))
    model.meanwhile = play_and_interrupt
    code, out, err = run("-o", "talk.txt")
    assert code == 0
    assert len(out.splitlines()) == 4
    assert Path("talk.txt").read_text() == out
    assert "still written down (5 s of sound wait); Ctrl-C again stops at once" in err
    assert err.splitlines()[-1] == "wrote talk.txt"


def test_a_model_slower_than_speech_is_told_and_its_loss_counted(
    run: Run, model: Model, sounddevice: ModuleType
) -> None:
    streams = sounddevice.InputStream.opened
    speech = talk(8)
    seconds = len(speech) / RATE

    def be_slow(count: int) -> None:
        if count <= 3:
            streams[0].play(speech)

    sounddevice.InputStream.on_start = lambda stream: stream.play(talk(2))
    sounddevice.InputStream.on_poll = press_ctrl_c(model, 4)
    model.meanwhile = be_slow
    code, _, err = run("-o", "talk.json", "--max-behind", 20)
    assert code == 0
    lines = err.splitlines()
    left_out = [line for line in lines if "s of sound are left out" in line]
    assert len(left_out) >= 2
    assert all("more than 20 s behind (--max-behind)" in line for line in left_out)
    lost = sum(float(line.split()[1]) for line in left_out)
    assert f"note: {lost:.1f} s of sound in {len(left_out)} places were" in lines[-1]
    assert any(line.startswith("note: ") and "s behind" in line for line in lines)
    # What was heard last stands where it was said.
    starts = [
        each["start"] for each in json.loads(Path("talk.json").read_text())["segments"]
    ]
    total = 3.9 + 3 * seconds
    assert starts == sorted(starts) and total - 4 < starts[-1] < total


def test_catching_up_is_told_too(
    run: Run, model: Model, sounddevice: ModuleType
) -> None:
    streams = sounddevice.InputStream.opened
    sounddevice.InputStream.on_start = lambda stream: stream.play(talk(2))
    sounddevice.InputStream.on_poll = press_ctrl_c(model, 7)
    model.meanwhile = lambda count: streams[0].play(talk(6)) if count == 1 else None
    code, _, err = run()
    assert code == 0
    told = [line for line in err.splitlines() if line.startswith("note: ")]
    assert told[0] == "note: 13 s behind"
    assert told[-1] == "note: caught up"
    assert "left out" not in err


@pytest.mark.parametrize("quiet", [["-q"], []])
def test_what_the_device_lost_is_reported_at_the_end(
    run: Run, model: Model, sounddevice: ModuleType, quiet: list[str]
) -> None:
    sounddevice.InputStream.on_start = lambda stream: stream.play(
        talk(2), "input overflow"
    )
    sounddevice.InputStream.on_poll = press_ctrl_c(model, 1)
    code, out, err = run(*quiet)
    assert code == 0
    assert out.splitlines() == ["said 1", "said 2"]
    assert "note: the microphone reports input overflow: the machine" in err
    blocks = len(talk(2)) // 4800
    assert err.splitlines()[-1] == (
        f"note: the microphone reported input overflow {blocks} times: sound is missing"
    )
