"""How much every 10 ms of a recording sounds like more than its background noise.

The likelihood ratio of Sohn, Kim & Sung 1999 ("A statistical model-based voice activity
detection") over a few frequency bands. The noise in a band is a low quantile of the
band's power over the seconds around (as in minimum statistics, Martin 2001): in any one
band even fluent speech leaves gaps. Works on blocks; memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from mlx_speech.errors import SpeechError

HOP_SECONDS = 0.01
WINDOW_SECONDS = 0.064
# Of the bands, in hertz. Below lies hum, above little that tells speech from noise.
BAND_EDGES = (100, 300, 500, 800, 1200, 1800, 2600, 3600, 5000, 8000)
# Noise is estimated for this much at a time, from as much before and after as well.
CHUNK_SECONDS = 5.0
# Of a live recording, this much is heard before anything is said about it.
FIRST_SECONDS = 1.0
NOISE_QUANTILE = 0.1
NOISE_NORMAL_SCORE = -1.2816  # that quantile of the normal distribution
# Quieter than this is silence, whatever it is: -70 dB of full scale, in all bands.
SILENCE_POWER = 1e-7
# Speech may be this many times louder than the noise before it counts no further.
LARGEST_RATIO = 1e4
# Neighbouring bins of a Hann window share their noise: as many bins as 2/3 of them.
HANN_INDEPENDENCE = 2 / 3


def speech_scores(
    blocks: Iterable[np.ndarray], sample_rate: int
) -> Iterator[np.ndarray]:
    """Log likelihood ratio of speech to noise, averaged over the bands.

    Args:
        blocks: float [samples] each, of any lengths, in -1..1.
        sample_rate: hertz.

    Yields:
        float32 [frames]; frame i of all is centred at i * ``HOP_SECONDS``. About 0 in
        steady noise, 0.5 where one band stands 9 dB out of it, hundreds in clear
        speech.

    Raises:
        SpeechError: a rate with no band below its half, or a sample that is no finite
            number.
    """
    bands = _Bands(sample_rate)
    before = np.empty((0, bands.count), np.float32)
    current = before
    for after in _chunks(bands.powers(blocks), round(CHUNK_SECONDS / HOP_SECONDS)):
        if len(current):
            yield bands.scores(current, np.concatenate([before, current, after]))
        before, current = current, after
    if len(current):
        yield bands.scores(current, np.concatenate([before, current]))


def live_speech_scores(
    blocks: Iterable[np.ndarray], sample_rate: int
) -> Iterator[np.ndarray]:
    """As :func:`speech_scores`, at once: noise is that of the last seconds alone.

    The first scores come after ``FIRST_SECONDS``, since noise must have been heard.
    """
    bands = _Bands(sample_rate)
    most = round(2 * CHUNK_SECONDS / HOP_SECONDS)
    first = round(FIRST_SECONDS / HOP_SECONDS)
    context = np.empty((0, bands.count), np.float32)
    waiting = context
    for powers in bands.powers(blocks):
        waiting = np.concatenate([waiting, powers])
        context = np.concatenate([context, powers])[-most:]
        if len(context) >= first:
            yield bands.scores(waiting, context)
            waiting = waiting[:0]
    if len(waiting):
        yield bands.scores(waiting, context)


class _Bands:
    """The power of a signal in the bands, and what it says."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.size = max(1, round(WINDOW_SECONDS * sample_rate))
        self.window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        bins = np.fft.rfftfreq(self.size, 1 / sample_rate)
        edges = [edge for edge in BAND_EDGES if edge <= sample_rate / 2]
        if len(edges) < 2:
            raise SpeechError(
                f"speech cannot be found at {sample_rate} Hz",
                f"take recordings of {2 * BAND_EDGES[1]} Hz or more",
            )
        members = np.stack(
            [(bins >= low) & (bins < high) for low, high in pairwise(edges)], axis=1
        )
        self.count = members.shape[1]
        # Power of a band in units of full scale squared, one side standing for both.
        scale = 2 / (self.size * np.sum(self.window**2))
        self.members = (scale * members).astype(np.float32)
        widths = members.sum(0)
        self.silence = (SILENCE_POWER * widths / widths.sum()).astype(np.float32)
        self.noise_gain = 1 / _quantile_share(HANN_INDEPENDENCE * widths)

    def powers(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """float32 [frames, bands] for as many frames as each block completes."""
        half = self.size // 2
        pending = np.zeros(half, np.float32)
        begin, seen, frame = -half, 0, 0
        largest = round(CHUNK_SECONDS * self.sample_rate)
        for block in _with_end(blocks, largest, self.size - half):
            if not np.isfinite(block).all():
                bad = seen + int(np.argmin(np.isfinite(block)))
                raise SpeechError(
                    f"the sample at {bad / self.sample_rate:.3f} s is no finite number",
                    "record or convert the audio again",
                )
            seen += len(block)
            pending = np.concatenate([pending, block])
            starts = []
            while (start := self._start(frame) - begin) + self.size <= len(pending):
                starts.append(start)
                frame += 1
            if starts:
                frames = pending[np.array(starts)[:, None] + np.arange(self.size)]
                spectrum = np.fft.rfft(frames * self.window)
                power = spectrum.real**2 + spectrum.imag**2
                yield power.astype(np.float32) @ self.members
                keep = self._start(frame) - begin
                pending, begin = pending[keep:], begin + keep

    def _start(self, frame: int) -> int:
        return round(frame * HOP_SECONDS * self.sample_rate) - self.size // 2

    def scores(self, powers: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Scores of ``powers`` [frames, bands] among all of ``context``."""
        noise = self.silence.copy()
        # Digital silence beside a noisy recording says nothing about its noise.
        heard = context[context.sum(1) > self.silence.sum()]
        if len(heard):
            noise = np.maximum(
                noise, np.quantile(heard, NOISE_QUANTILE, axis=0) * self.noise_gain
            )
        ratio = np.clip(powers / noise, 1.0, LARGEST_RATIO)
        evidence = ratio - 1 - np.log(ratio)
        return evidence.mean(axis=1).astype(np.float32)


def _quantile_share(freedom: np.ndarray) -> np.ndarray:
    """The noise quantile over the mean, for noise power averaged over ``freedom`` bins.

    Wilson & Hilferty's cube of a normal variable stands for the gamma distribution.
    """
    return (1 - 1 / (9 * freedom) + NOISE_NORMAL_SCORE / (3 * np.sqrt(freedom))) ** 3


def _with_end(
    blocks: Iterable[np.ndarray], largest: int, padding: int
) -> Iterator[np.ndarray]:
    """The samples in blocks of at most ``largest``, and zeros after the last one."""
    for block in blocks:
        for start in range(0, len(block), largest):
            yield np.asarray(block[start : start + largest], np.float32)
    yield np.zeros(padding, np.float32)


def _chunks(pieces: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """The rows of ``pieces`` in arrays of ``length`` rows; the last one is shorter."""
    pending: list[np.ndarray] = []
    for piece in pieces:
        pending.append(piece)
        while sum(map(len, pending)) >= length:
            rows = np.concatenate(pending)
            yield rows[:length]
            pending = [rows[length:]]
    if sum(map(len, pending)):
        yield np.concatenate(pending)
