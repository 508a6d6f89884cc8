"""The microphone by way of sounddevice, for which a module of ours stands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from mlx_speech.cli.microphone import list_devices, open_microphone
from mlx_speech.errors import SpeechError

Run = Callable[..., tuple[int, str, str]]
DEVICES = [
    {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Built-in [mic]", "max_input_channels": 1, "default_samplerate": 48000.0},
    {"name": "USB", "max_input_channels": 2, "default_samplerate": 16000.0},
]


class PortAudioError(Exception):
    """As sounddevice's."""


class InputStream:
    """Gives a tone of 500 Hz, on every channel of the device, when it is entered."""

    opened: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        InputStream.opened.append(options)
        self.options = options
        self.closed = False

    def __enter__(self) -> InputStream:
        rate, size = self.options["samplerate"], self.options["blocksize"]
        block = np.empty((size, 2), np.float32)
        for number in range(10):
            time = (np.arange(size) + number * size) / rate
            # One array for all blocks, as a device does it.
            block[:] = (0.5 * np.sin(2 * np.pi * 500 * time))[:, None]
            self.options["callback"](block, size, None, None)
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def query_devices(device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return DEVICES
        inputs = [each for each in DEVICES if each["max_input_channels"]]
        if device is None:
            return inputs[0]
        if isinstance(device, int):
            if device >= len(DEVICES) or DEVICES[device] not in inputs:
                raise PortAudioError(f"Error querying device {device}")
            return DEVICES[device]
        found = [each for each in inputs if device.lower() in each["name"].lower()]
        if not found:
            raise ValueError(f"No input device matching '{device}'")
        return found[0]

    module = ModuleType("sounddevice")
    module.__dict__.update(
        PortAudioError=PortAudioError,
        InputStream=InputStream,
        query_devices=query_devices,
        default=SimpleNamespace(device=[1, 0]),
    )
    InputStream.opened.clear()
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


@pytest.mark.parametrize(
    ("device", "rate"), [(None, 48000), ("1", 48000), ("usb", 16000), ("2", 16000)]
)
def test_blocks_are_mono_at_the_wanted_rate(
    sounddevice: ModuleType, device: str | None, rate: int
) -> None:
    with open_microphone(device, 16000) as blocks:
        # The last block waits for more, as a microphone does.
        heard = np.concatenate(list(islice(blocks, 10)))
    (options,) = InputStream.opened
    assert options["samplerate"] == rate
    assert options["device"] == (int(device) if device in ("1", "2") else device)
    assert heard.dtype == np.float32
    time = np.arange(len(heard)) / 16000
    assert len(heard) > 0.9 * 16000
    expected = 0.5 * np.sin(2 * np.pi * 500 * time)
    np.testing.assert_allclose(heard[800:-800], expected[800:-800], atol=0.01)


def test_the_list_names_inputs_only(sounddevice: ModuleType, command: Run) -> None:
    assert list_devices() == [
        *((1, "Built-in [mic]", 48000, True), (2, "USB", 16000, False))
    ]
    code, out, err = command("listen", "--list-devices")
    assert (code, err) == (0, "")
    assert "Built-in [mic]" in out
    assert "the usual one" in out
    assert "Speaker" not in out


@pytest.mark.parametrize("device", ["9", "0", "nothing"])
def test_a_microphone_that_is_not_there(sounddevice: ModuleType, device: str) -> None:
    with (
        pytest.raises(SpeechError, match=f"`{device}` cannot be opened") as caught,
        open_microphone(device, 16000),
    ):
        pass
    assert "--list-devices" in caught.value.hint


def test_no_microphone_at_all(
    sounddevice: ModuleType, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise PortAudioError("Error querying device -1")

    monkeypatch.setattr(sounddevice, "query_devices", refuse)
    with (
        pytest.raises(SpeechError, match="no microphone can be opened"),
        open_microphone(None, 16000),
    ):
        pass
    monkeypatch.setattr(sounddevice, "query_devices", lambda: [])
    code, out, err = command("listen", "--list-devices")
    assert (code, out) == (1, "")
    assert "there is no microphone" in err


def test_a_missing_library_is_one_line(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = command("listen", "--list-devices")
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


def test_help_needs_no_library(tmp_path: Iterator[Any]) -> None:
    code = (
        "import sys; sys.modules['sounddevice'] = None\n"
        "from mlx_speech.cli import listen, microphone, main\n"
        "assert 'mlx.core' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), check=True)
