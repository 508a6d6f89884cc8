"""Multi-resolution STFT loss of Parallel WaveGAN (Yamamoto et al. 2020).

arXiv 1910.11480, section 2.2: at several resolutions, spectral convergence (the
relative error of the magnitudes, which the loud bins decide) plus the mean absolute
difference of the log magnitudes (which the quiet ones decide).
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from mlx_speech.audio.stft import squared_magnitude, stft
from mlx_speech.errors import SpeechError

# (n_fft, hop_length, win_length), the paper's table 1 with powers of two for n_fft.
RESOLUTIONS: tuple[tuple[int, int, int], ...] = (
    (1024, 120, 600),
    (2048, 240, 1200),
    (512, 50, 240),
)
# Smallest power: bounds the logarithm and the gradient of the square root.
_SMALLEST_POWER = 1e-7
# Keeps the gradient of the norm finite where both signals are equal.
_NORM_EPS = 1e-16


def multi_resolution_stft_loss(
    x: mx.array,
    y: mx.array,
    resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS,
) -> mx.array:
    """Spectral convergence plus log-magnitude distance, mean over resolutions.

    Args:
        x: predicted signal, [..., samples].
        y: target, same shape.
        resolutions: (n_fft, hop_length, win_length) each, in samples.

    Returns:
        float32 scalar.

    Raises:
        SpeechError: shapes that differ, or no resolution.
    """
    if x.shape != y.shape:
        raise SpeechError(
            f"the STFT loss compares signals of one shape, not {x.shape} and {y.shape}"
        )
    if not resolutions:
        raise SpeechError("the STFT loss needs at least one resolution")
    total = mx.array(0.0)
    for n_fft, hop_length, win_length in resolutions:
        convergence, log_distance = stft_distances(x, y, n_fft, hop_length, win_length)
        total = total + convergence + log_distance
    return total / len(resolutions)


def stft_distances(
    x: mx.array, y: mx.array, n_fft: int, hop_length: int, win_length: int
) -> tuple[mx.array, mx.array]:
    """The two terms at one resolution: (spectral convergence, log-magnitude L1)."""
    magnitude_x = _magnitude(x, n_fft, hop_length, win_length)
    magnitude_y = _magnitude(y, n_fft, hop_length, win_length)
    error = _sum((magnitude_y - magnitude_x).square())
    convergence = mx.sqrt(error + _NORM_EPS) / mx.sqrt(_sum(magnitude_y.square()))
    log_distances = mx.abs(mx.log(magnitude_y) - mx.log(magnitude_x))
    return convergence, _sum(log_distances) / log_distances.size


def _sum(x: mx.array) -> mx.array:
    """Sum of all entries, axis by axis.

    MLX's sum of a whole array adds one number after the other on a CPU, which is wrong
    by 2e-4 for a million entries.
    """
    while x.ndim:
        x = x.sum(axis=-1)
    return x


def _magnitude(x: mx.array, n_fft: int, hop_length: int, win_length: int) -> mx.array:
    power = squared_magnitude(stft(x, n_fft, hop_length, win_length))
    return mx.sqrt(mx.maximum(power, _SMALLEST_POWER))
