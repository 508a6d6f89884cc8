"""Microphones by way of sounddevice, for which a module of ours stands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mlx_speech.cli.live_sound import MicrophoneSound
from mlx_speech.cli.microphone import find_microphone, list_devices, open_microphone
from mlx_speech.errors import SpeechError

Run = Callable[..., tuple[int, str, str]]


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 500 * time)).astype(np.float32)


def play_a_tone(stream: Any) -> None:
    stream.play(tone(stream.options["samplerate"]))


def heard(sound: MicrophoneSound, blocks: int) -> np.ndarray:
    """What the first blocks of a sound hold."""
    stretch = next(sound.stretches())
    assert stretch.start == 0
    return np.concatenate(list(islice(stretch.blocks, blocks)))


@pytest.mark.parametrize(
    ("device", "rate", "channels"),
    [(None, 48000, 1), ("1", 48000, 1), ("usb", 16000, 2), ("2", 16000, 2)],
)
def test_blocks_are_mono_at_the_wanted_rate(
    sounddevice: ModuleType, device: str | None, rate: int, channels: int
) -> None:
    sounddevice.InputStream.on_start = play_a_tone
    with open_microphone(find_microphone(device), 16000, 60, print) as sound:
        samples = heard(sound, 10)
    (stream,) = sounddevice.InputStream.opened
    assert stream.closed
    options = stream.options
    assert (options["samplerate"], options["channels"]) == (rate, channels)
    assert options["device"] == (int(device) if device in ("1", "2") else device)
    assert samples.dtype == np.float32
    assert len(samples) > 0.9 * 16000
    expected = tone(16000)[: len(samples)]
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=0.01)


def test_a_device_that_refuses_its_own_rate_is_asked_for_another(
    sounddevice: ModuleType,
) -> None:
    sounddevice.InputStream.refused_rates = {48000}
    sounddevice.InputStream.on_start = play_a_tone
    with open_microphone(find_microphone(None), 16000, 60, print) as sound:
        samples = heard(sound, 10)
    (stream,) = sounddevice.InputStream.opened
    assert stream.options["samplerate"] == 44100
    assert stream.options["blocksize"] == 4410
    expected = tone(16000)[: len(samples)]
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=0.01)


def test_a_device_without_any_rate_is_one_line(
    sounddevice: ModuleType, command: Run
) -> None:
    sounddevice.InputStream.refused_rates = {48000, 44100, 16000}
    code, out, err = command("listen", "-m", "bundled", "-q")
    assert (code, out) == (1, "")
    assert "no microphone can be opened" in err and "Invalid sample rate" in err
    assert len(err.splitlines()) == 2


def test_a_device_that_does_not_start_is_one_line_and_given_back(
    sounddevice: ModuleType, command: Run
) -> None:
    def refuse(stream: Any) -> None:
        raise sounddevice.PortAudioError("Error starting stream: busy")

    sounddevice.InputStream.on_start = refuse
    code, out, err = command("listen", "-m", "bundled", "-q", "--device", "USB")
    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert "`USB` cannot be opened: Error starting stream: busy" in first
    assert second.startswith("hint: ")
    assert sounddevice.InputStream.opened[0].closed


def test_the_list_names_inputs_only(sounddevice: ModuleType, command: Run) -> None:
    assert list_devices() == [
        *((1, "Built-in [mic]", 48000, True), (2, "USB", 16000, False))
    ]
    code, out, err = command("listen", "--list-devices")
    assert (code, err) == (0, "")
    assert "Built-in [mic]" in out
    assert "the usual one" in out
    assert "Speaker" not in out


@pytest.mark.parametrize("device", ["9", "0", "nothing", "²", "-1"])
def test_a_microphone_that_is_not_there(sounddevice: ModuleType, device: str) -> None:
    with pytest.raises(SpeechError, match=f"`{device}` cannot be opened") as caught:
        find_microphone(device)
    assert "--list-devices" in caught.value.hint


def test_a_name_of_several_microphones_is_one_line(
    sounddevice: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise ValueError("Multiple input devices found for 'mic':\n[1] mic\n[2] mic 2")

    monkeypatch.setattr(sounddevice, "query_devices", refuse)
    with pytest.raises(SpeechError) as caught:
        find_microphone("mic")
    assert caught.value.message == (
        "the microphone `mic` cannot be opened: Multiple input devices found for 'mic'"
    )


def test_a_microphone_is_looked_for_before_a_model_is(
    sounddevice: ModuleType, command: Run, tmp_path: Path
) -> None:
    code, _, err = command("listen", "-m", tmp_path / "no-model", "--device", "none")
    assert code == 1
    assert "the microphone `none` cannot be opened" in err


def test_no_microphone_at_all(
    sounddevice: ModuleType, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise sounddevice.PortAudioError("Error querying device -1")

    monkeypatch.setattr(sounddevice, "query_devices", refuse)
    with pytest.raises(SpeechError, match="no microphone can be opened"):
        find_microphone(None)
    monkeypatch.setattr(sounddevice, "query_devices", lambda: [])
    code, out, err = command("listen", "--list-devices")
    assert (code, out) == (1, "")
    assert "there is no microphone" in err


@pytest.mark.parametrize("arguments", [["--list-devices"], ["-m", "nowhere/model"]])
def test_a_missing_library_is_one_line(
    command: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = command("listen", *arguments)
    assert (code, out) == (1, "")
    assert "needs sounddevice, which is not installed" in err
    assert "pip install '.[mic]'" in err


def test_a_missing_portaudio_is_one_line(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    code, out, err = command("listen", "--list-devices")
    assert (code, out) == (1, "")
    assert "PortAudio library not found" in err
    assert "libportaudio2" in err


def test_help_needs_no_library(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sounddevice'] = None\n"
        "from mlx_speech.cli import listen, live_sound, microphone, main\n"
        "assert 'mlx.core' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
