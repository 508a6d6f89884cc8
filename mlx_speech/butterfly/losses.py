"""What a student is held to: log-mel, spectrum and Welch's power spectral density."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.audio.stft import Transform, frame, real_fft, squared_magnitude
from mlx_speech.errors import SpeechError

# Keeps logarithms of silence finite, relative to the loudest value.
SMALLEST = 1e-10


def welch_density(
    x: mx.array,
    sample_rate: float,
    n_fft: int,
    *,
    remove_mean: bool = True,
    rfft: Transform = real_fft,
) -> mx.array:
    """Power spectral density by averaged periodograms; as ``scipy.signal.welch``.

    Welch, "The use of fast Fourier transform for the estimation of power spectra",
    1967. Periodic Hann window, segments that overlap by half, one-sided.

    Args:
        x: [..., samples] real.
        sample_rate: hertz.
        n_fft: samples of a segment, even, 4 or more.
        remove_mean: take each segment's mean away first (scipy: detrend="constant").
        rfft: the transform.

    Returns:
        float32 [..., n_fft / 2 + 1], units squared per hertz.

    Raises:
        SpeechError: n_fft is odd, below 4, or longer than the signal.
    """
    if n_fft < 4 or n_fft % 2:
        raise SpeechError(
            f"segments of {n_fft} samples are too short, or cannot overlap by half",
            "take an even number, 4 or more",
        )
    segments = frame(x.astype(mx.float32), n_fft, n_fft // 2)
    if remove_mean:
        segments = segments - mx.mean(segments, axis=-1, keepdims=True)
    turn = 2 * np.pi * np.arange(n_fft) / n_fft
    window = mx.array((0.5 - 0.5 * np.cos(turn)).astype(np.float32))
    power = squared_magnitude(rfft(segments * window))
    return mean_density(power, sample_rate, n_fft)


def mean_density(power: mx.array, sample_rate: float, n_fft: int) -> mx.array:
    """The density of Hann-windowed segments: [..., segments, bins] to [..., bins]."""
    # The sum of the window's squares, exact for 3 samples and more.
    energy = 3 * n_fft / 8
    sides = mx.array([1.0, *[2.0] * (n_fft // 2 - 1), 1.0])
    return mx.mean(power, axis=-2) * sides / (sample_rate * energy)


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts; those with the weight 0 are not computed.

    Attributes:
        mel: absolute difference of log10 mel power.
        spectrum: energy of the spectrum's error over that of the spectrum.
        welch: absolute difference of log10 densities.
    """

    mel: float = 2.0
    spectrum: float = 0.3
    welch: float = 0.1

    def __post_init__(self) -> None:
        if min(self.mel, self.spectrum, self.welch) < 0 or self.mel <= 0:
            raise SpeechError(
                f"the loss weights mel {self.mel}, spectrum {self.spectrum}, welch "
                f"{self.welch} are not possible",
                "no weight may be negative, and mel must be above 0",
            )


def mel_difference(mel: mx.array, target: mx.array, floor: mx.array) -> mx.array:
    """Mean absolute difference of log10, both raised to ``floor`` first.

    Args:
        mel, target: power, [segments, frames, bands].
        floor: [segments, 1, 1].
    """
    logs = mx.log10(mx.maximum(mel, floor)) - mx.log10(mx.maximum(target, floor))
    return mx.mean(mx.abs(logs))


def spectrum_difference(spectrum: mx.array, target: mx.array) -> mx.array:
    """Energy of the difference over that of the target, mean over segments.

    Args:
        spectrum, target: complex64 [segments, frames, bins].
    """
    wrong = mx.sum(squared_magnitude(spectrum - target), axis=(-2, -1))
    energy = mx.sum(squared_magnitude(target), axis=(-2, -1))
    return mx.mean(wrong / mx.maximum(energy, SMALLEST))


def welch_difference(
    spectrum: mx.array, target: mx.array, sample_rate: float, n_fft: int
) -> mx.array:
    """Mean absolute difference of the segments' log10 Welch densities.

    Args:
        spectrum, target: complex64 [segments, frames, bins]; the frames of a segment
            overlap by half.
        sample_rate: hertz.
        n_fft: samples of a frame, even.
    """
    own, exact = (
        mean_density(squared_magnitude(each), sample_rate, n_fft)
        for each in (spectrum, target)
    )
    floor = SMALLEST * mx.max(exact, axis=-1, keepdims=True) + 1e-30
    logs = mx.log10(mx.maximum(own, floor)) - mx.log10(mx.maximum(exact, floor))
    return mx.mean(mx.abs(logs))
