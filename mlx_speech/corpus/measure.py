"""What one recording holds, read block by block: a file of hours costs no memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlx_speech.errors import SpeechError

BLOCK_FRAMES = 1 << 16
LEVEL_SECONDS = 0.01
CLIPPED_LEVEL = 0.999
# A lone sample at full scale is a normalised file; a clipped wave stays there.
CLIPPED_RUN = 3
SILENT_PEAK = 1e-4  # -80 dB of full scale: nothing but the noise of a converter
# A recording that lacks more of its length does not hold what its transcript says.
CUT_SHARE = 0.01


class UnreadableError(Exception):
    """A recording that cannot be used at all; the text says why, without its name."""


@dataclass(frozen=True)
class Measurement:
    """Facts about one recording.

    Attributes:
        seconds: its length.
        sample_rate: in Hz.
        channels: how many.
        peak: the largest magnitude, 1 is full scale.
        clipped: samples in runs of at least three at full scale, of any channel.
        leading: seconds of silence before the first sound.
        trailing: seconds of silence after the last one.
        silence: seconds of silence in all, leading and trailing included.
    """

    seconds: float
    sample_rate: int
    channels: int
    peak: float
    clipped: int
    leading: float
    trailing: float
    silence: float


def measure(path: Path, silence_db: float = 40.0) -> Measurement:
    """Read a recording once and measure it.

    Args:
        path: the recording.
        silence_db: 10 ms whose RMS lies this far below the loudest 10 ms is silence.

    Raises:
        UnreadableError: absent, corrupt, empty, cut short, silent throughout, or
            with a sample that is no finite number.
    """
    import soundfile

    from mlx_speech.audio.io import open_sound
    from mlx_speech.audio.lengths import announced_frames

    try:
        with open_sound(path) as file:
            if file.frames == 0:
                raise UnreadableError("holds no samples")
            meter = _Meter(file.samplerate, file.channels)
            while len(block := file.read(BLOCK_FRAMES, "float32", always_2d=True)):
                meter.add(block)
            announced = announced_frames(file) or 0
            if meter.frames < announced * (1 - CUT_SHARE):
                there, all_ = (n / file.samplerate for n in (meter.frames, announced))
                raise UnreadableError(f"breaks off after {there:.1f} of {all_:.1f} s")
    except SpeechError as error:
        reason = error.message.replace(f"`{path}` ", "")
        raise UnreadableError(reason) from error
    except soundfile.SoundFileError as error:
        raise UnreadableError(f"is damaged: {str(error).rstrip('.')}") from error
    return meter.result(silence_db)


class _Meter:
    """Takes blocks ``[frames, channels]`` and keeps one level per 10 ms."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.frames = 0
        self._hop = max(round(sample_rate * LEVEL_SECONDS), 1)
        self._rest = np.zeros(0, np.float32)
        self._powers: list[np.ndarray] = []
        self._peak = 0.0
        self._clipped = 0
        self._run = 0

    def add(self, block: np.ndarray) -> None:
        if not np.isfinite(block).all():
            bad = int(np.argmin(np.isfinite(block).all(axis=1)))
            at = (self.frames + bad) / self.sample_rate
            raise UnreadableError(f"has a sample that is not a number at {at:.2f} s")
        self.frames += len(block)
        loudest = np.abs(block).max(axis=1)
        self._peak = max(self._peak, float(loudest.max()))
        self._count_clipped(loudest >= CLIPPED_LEVEL)
        power = np.concatenate([self._rest, np.square(block).mean(axis=1)])
        whole = len(power) // self._hop * self._hop
        self._powers.append(power[:whole].reshape(-1, self._hop).mean(axis=1))
        self._rest = power[whole:]

    def _count_clipped(self, full: np.ndarray) -> None:
        """Runs may cross blocks: the open run at a block's end is carried over."""
        edges = np.diff(np.concatenate([[False], full, [False]]).astype(np.int8))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if start > 0:
                self._close_run()
            self._run += end - start
        if not full[-1]:
            self._close_run()

    def _close_run(self) -> None:
        if self._run >= CLIPPED_RUN:
            self._clipped += self._run
        self._run = 0

    def result(self, silence_db: float) -> Measurement:
        self._close_run()
        if not self.frames:
            raise UnreadableError("holds no samples")
        if self._peak < SILENT_PEAK:
            raise UnreadableError("is silent throughout")
        last = [self._rest.mean()] if len(self._rest) else []
        power = np.concatenate([*self._powers, last])
        sounding = power > power.max() * 10 ** (-silence_db / 10)
        heard = np.flatnonzero(sounding)
        step = self._hop / self.sample_rate
        seconds = self.frames / self.sample_rate
        return Measurement(
            seconds=seconds,
            sample_rate=self.sample_rate,
            channels=self.channels,
            peak=self._peak,
            clipped=self._clipped,
            leading=float(heard[0]) * step,
            trailing=max(seconds - (float(heard[-1]) + 1) * step, 0.0),
            silence=float((~sounding).sum()) * step,
        )
