"""Stands for sounddevice where there is no sound: a test plays what is heard."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

DEVICES: list[dict[str, Any]] = [
    {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Built-in [mic]", "max_input_channels": 1, "default_samplerate": 48000.0},
    {"name": "USB", "max_input_channels": 8, "default_samplerate": 16000.0},
]
default = SimpleNamespace(device=[1, 0])


class PortAudioError(Exception):
    """As sounddevice's: a text, and PortAudio's number of the error."""

    def __str__(self) -> str:
        text, *number = self.args
        return f"{text} [PaErrorCode {number[0]}]" if number else text


class CallbackFlags:
    """As sounddevice's: true when something is set, and then in words."""

    def __init__(self, words: str = "") -> None:
        self.words = words

    def __bool__(self) -> bool:
        return bool(self.words)

    def __str__(self) -> str:
        return self.words


class InputStream:
    """A stream that hears what a test plays to it.

    A test sets the attributes of the class.

    Attributes:
        opened: the streams so far.
        refused_rates: that no device has.
        on_start: called with the stream when it starts.
        on_poll: called with the stream when it is asked whether it is active, and
            answers that.
        on_stop: called with the stream when it stops.
    """

    opened: list[InputStream]
    refused_rates: set[int]
    on_start: Callable[[InputStream], None]
    on_poll: Callable[[InputStream], bool]
    on_stop: Callable[[InputStream], None]

    @classmethod
    def reset(cls) -> None:
        """Forget what a test has set."""
        cls.opened = []
        cls.refused_rates = set()
        cls.on_start = lambda stream: None
        cls.on_poll = lambda stream: True
        cls.on_stop = lambda stream: None

    def __init__(self, **options: Any) -> None:
        if options["samplerate"] in self.refused_rates:
            raise PortAudioError(
                "Error opening InputStream: Invalid sample rate", -9997
            )
        self.options = options
        self.closed = False
        self.opened.append(self)

    @property
    def active(self) -> bool:
        """Whether sound still comes."""
        return type(self).on_poll(self)

    def start(self) -> None:
        """Begin to hear."""
        type(self).on_start(self)

    def play(self, samples: np.ndarray, status: str = "") -> None:
        """Let [samples] be heard on every channel, in blocks."""
        size = self.options["blocksize"]
        # One array for all blocks, as a device does it.
        block = np.empty((size, self.options["channels"]), np.float32)
        for start in range(0, len(samples) - size + 1, size):
            block[:] = samples[start : start + size, None]
            self.options["callback"](block, size, None, CallbackFlags(status))

    def stop(self) -> None:
        """End."""
        type(self).on_stop(self)

    def close(self) -> None:
        """Give the device back."""
        self.closed = True


InputStream.reset()


def query_devices(device: Any = None, kind: str | None = None) -> Any:
    """All devices, or the input of a number, or of a part of a name."""
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
