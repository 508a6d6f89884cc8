"""The microphone as a stream of samples, by way of sounddevice (extra ``mic``)."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

BLOCK_SECONDS = 0.1


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


@contextmanager
def open_microphone(
    device: str | None, sample_rate: int
) -> Iterator[Iterable[np.ndarray]]:
    """Yield the blocks of a microphone, float32 [samples], as they come.

    Nothing is lost between two blocks, however long one takes to be heard.

    Args:
        device: number, name or part of a name; None for the usual one.
        sample_rate: hertz of the blocks; the microphone keeps its own.

    Raises:
        SpeechError: sounddevice or PortAudio is missing, or no such input.
    """
    sounddevice = _sounddevice()
    blocks: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def hear(samples: np.ndarray, frames: int, time: Any, status: Any) -> None:
        # The array is the device's own and is written to again.
        blocks.put(samples.mean(axis=1))

    number = int(device) if device is not None and device.isdigit() else device
    try:
        rate = round(sounddevice.query_devices(number, "input")["default_samplerate"])
        stream = sounddevice.InputStream(
            device=number,
            samplerate=rate,
            blocksize=round(BLOCK_SECONDS * rate),
            dtype="float32",
            callback=hear,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        what = "no microphone" if device is None else f"the microphone `{device}`"
        reason = str(error).splitlines()[0] if str(error) else "unknown error"
        raise SpeechError(
            f"{what} can be opened: {reason}"
            if device is None
            else f"{what} cannot be opened: {reason}",
            "choose one of `mlx-speech listen --list-devices`; a Mac asks once whether "
            "the terminal may use the microphone (Privacy & Security)",
        ) from error
    with stream:
        yield _resampled(_endless(blocks), rate, sample_rate)


def _endless(blocks: queue.SimpleQueue[np.ndarray]) -> Iterator[np.ndarray]:
    while True:
        yield blocks.get()


def _resampled(
    blocks: Iterable[np.ndarray], rate_from: int, rate_to: int
) -> Iterator[np.ndarray]:
    if rate_from == rate_to:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate_from, rate_to, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)


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
