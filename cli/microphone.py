"""Microphones by way of sounddevice (extra ``mic``): finding and opening one."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mlx_speech.cli.live_sound import MicrophoneSound
from mlx_speech.errors import SpeechError

BLOCK_SECONDS = 0.1
# Of an interface with many inputs; the mean with silent ones would be quieter.
MOST_CHANNELS = 2
# Hertz to try when a device refuses the rate that it calls its own.
COMMON_RATES = (48000, 44100, 16000)
# What PortAudio calls a rate that a device does not have.
INVALID_SAMPLE_RATE = -9997
CLOSING_SECONDS = 2.0


@dataclass(frozen=True)
class Microphone:
    """An input device.

    Attributes:
        asked: number, or part of a name, as the user gave it; None: the usual one.
        name: what it calls itself.
        rate: its own sampling rate in hertz.
        channels: of which the mean is heard.
    """

    asked: int | str | None
    name: str
    rate: int
    channels: int


def list_devices() -> list[tuple[int, str, int, bool]]:
    """Number, name, sampling rate in hertz of every input, and whether it is the usual.

    Raises:
        SpeechError: sounddevice or PortAudio is missing.
    """
    sounddevice = _sounddevice()
    usual = sounddevice.default.device[0]
    return [
        (number, device["name"], round(device["default_samplerate"]), number == usual)
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]


def find_microphone(device: str | None) -> Microphone:
    """Look for a microphone, without opening it.

    Args:
        device: number, name or part of a name; None for the usual one.

    Raises:
        SpeechError: sounddevice or PortAudio is missing, or no such input.
    """
    sounddevice = _sounddevice()
    asked = int(device) if device is not None and device.isdecimal() else device
    try:
        found = sounddevice.query_devices(asked, "input")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _refused(asked, error) from error
    channels = min(found["max_input_channels"], MOST_CHANNELS)
    return Microphone(
        asked, found["name"], round(found["default_samplerate"]), channels
    )


@contextmanager
def open_microphone(
    microphone: Microphone,
    wanted_rate: int,
    longest: float,
    warn: Callable[[str], None],
) -> Iterator[MicrophoneSound]:
    """Yield what a microphone hears from now on.

    Args:
        microphone: which.
        wanted_rate: hertz of the blocks; the microphone keeps its own.
        longest: seconds that may wait for the model.
        warn: is told in words what is not as it should be, while listening.

    Raises:
        SpeechError: it cannot be opened.
    """
    sounddevice = _sounddevice()
    rates = dict.fromkeys([microphone.rate, *COMMON_RATES])
    for number, rate in enumerate(rates, start=1):
        sound = MicrophoneSound(microphone.name, rate, wanted_rate, longest, warn)
        try:
            stream = sounddevice.InputStream(
                device=microphone.asked,
                samplerate=rate,
                channels=microphone.channels,
                blocksize=round(BLOCK_SECONDS * rate),
                dtype="float32",
                callback=sound.hear,
            )
            break
        except (sounddevice.PortAudioError, ValueError) as error:
            wrong_rate = INVALID_SAMPLE_RATE in error.args
            if not wrong_rate or number == len(rates):
                raise _refused(microphone.asked, error) from error

    def is_active() -> bool:
        try:
            return bool(stream.active)
        except sounddevice.PortAudioError as error:
            raise OSError(_first_line(error)) from error

    sound.is_active = is_active
    try:
        try:
            stream.start()
        except sounddevice.PortAudioError as error:
            raise _refused(microphone.asked, error) from error
        yield sound
    finally:
        _close(stream, sounddevice.PortAudioError)


def _close(stream: Any, failure: type[Exception]) -> None:
    """Close a stream; PortAudio may wait forever for a device that was unplugged."""

    def close() -> None:
        with suppress(failure):
            # Not abort: it kills PortAudio's thread, which may be in our callback.
            stream.stop()
        with suppress(failure):
            stream.close()

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(CLOSING_SECONDS)
    if closing.is_alive():
        # What sounddevice does at the exit would then wait forever as well.
        atexit.register(_leave_at_once)


def _leave_at_once() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _refused(asked: int | str | None, error: Exception) -> SpeechError:
    what = (
        "no microphone can be opened"
        if asked is None
        else f"the microphone `{asked}` cannot be opened"
    )
    return SpeechError(
        f"{what}: {_first_line(error)}",
        "choose one of `mlx-speech listen --list-devices`; a Mac asks once whether "
        "the terminal may use the microphone (Privacy & Security)",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(":") if lines else "unknown error"


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise SpeechError(
            "`listen` needs sounddevice, which is not installed",
            "install it: pip install '.[mic]' in the checkout, or pip install "
            "sounddevice",
        ) from error
    except OSError as error:
        raise SpeechError(
            f"sounddevice finds no PortAudio library: {error}",
            "install it: `apt install libportaudio2`, or `brew install portaudio`",
        ) from error
    return sounddevice
