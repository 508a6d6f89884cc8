"""Short-time Fourier transform and its inverse, batched and differentiable.

Conventions are torch.stft's: periodic Hann window, a window shorter than ``n_fft`` is
centred in it, no scaling. Frames come before bins: [..., frames, bins].

Frames, the real FFT and the squared magnitude are those of `metal_kernels.spectrum`.
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.spectrum import (
    Transform,
    frame,
    pad_last,
    real_fft,
    real_ifft,
)
from mlx_speech.metal_kernels.spectrum import squared_magnitude as squared_magnitude

# Below this a window sum counts as zero, as in torch.istft.
_EMPTY = 1e-11


def stft(
    x: mx.array,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
    pad_mode: str = "reflect",
    rfft: Transform = real_fft,
) -> mx.array:
    """Short-time Fourier transform of real signals.

    Args:
        x: [..., samples], float; computed in float32.
        n_fft: length of the transform.
        hop_length: samples from one frame to the next.
        win_length: length of the window, ``n_fft`` when None.
        window: "hann" or "ones".
        center: pad ``n_fft // 2`` samples on both sides, so that frame t is centred on
            sample ``t * hop_length``.
        pad_mode: "reflect" or "constant" (zeros). A clip shorter than its padding is
            reflected more than once, as numpy.pad does.
        rfft: the transform, [..., n_fft] real -> [..., n_fft // 2 + 1] complex64.

    Returns:
        complex64 [..., frames, n_fft // 2 + 1].

    Raises:
        SpeechError: impossible sizes, or fewer samples than one frame needs.
    """
    taps = _window(window, n_fft, n_fft if win_length is None else win_length)
    x = x.astype(mx.float32)
    if center:
        x = pad_signal(x, n_fft // 2, n_fft // 2, pad_mode)
    return rfft(frame(x, n_fft, hop_length) * taps)


def istft(
    spectrum: mx.array,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
    length: int | None = None,
) -> mx.array:
    """Inverse of :func:`stft`: overlap-add, divided by the sum of squared windows.

    Args:
        spectrum: complex64 [..., frames, n_fft // 2 + 1].
        n_fft, hop_length, win_length, window: as given to :func:`stft`.
        center: drop the ``n_fft // 2`` samples of padding at both ends.
        length: samples to return (cut, or filled with zeros). Without it:
            ``(frames - 1) * hop_length``, plus ``n_fft`` when not centred.

    Returns:
        float32 [..., samples]. Where no window reaches (the outermost samples of an
        uncentred transform) the sum is returned undivided.

    Raises:
        SpeechError: windows that leave gaps between frames cannot be inverted.
    """
    win_length = n_fft if win_length is None else win_length
    taps = _window(window, n_fft, win_length)
    n_frames = spectrum.shape[-2]
    scale = _inverse_envelope(window, n_fft, hop_length, win_length, n_frames)
    frames = real_ifft(spectrum, n_fft) * taps
    y = overlap_add(frames, hop_length) * scale
    trim = n_fft // 2 if center else 0
    stop = y.shape[-1] - trim if length is None else trim + length
    y = y[..., trim:stop]
    if length is not None and y.shape[-1] < length:
        y = pad_last(y, 0, length - y.shape[-1])
    return y


def overlap_add(frames: mx.array, hop_length: int) -> mx.array:
    """Add frames at their places: the transpose of :func:`frame`.

    Args:
        frames: [..., frames, frame_length].

    Returns:
        [..., (frames - 1) * hop_length + frame_length].
    """
    *batch, n_frames, frame_length = frames.shape
    hops = -(-frame_length // hop_length)
    frames = pad_last(frames, 0, hops * hop_length - frame_length)
    blocks = frames.reshape(*batch, n_frames, hops, hop_length).swapaxes(-3, -2)
    # Rows one block too long, read again at the right length, are shifted by one block
    # each: then the overlap-add is a plain sum over rows.
    blocks = blocks.reshape(*batch, hops, n_frames * hop_length)
    skewed = pad_last(blocks, 0, hops * hop_length).reshape(*batch, -1)
    length = (n_frames + hops - 1) * hop_length
    y = skewed[..., : hops * length].reshape(*batch, hops, length).sum(axis=-2)
    return y[..., : (n_frames - 1) * hop_length + frame_length]


def pad_signal(
    x: mx.array, before: int, after: int, pad_mode: str = "reflect"
) -> mx.array:
    """Pad the last axis by reflection (without the edge sample) or with zeros."""
    if pad_mode not in ("reflect", "constant"):
        raise SpeechError(
            f"unknown padding `{pad_mode}`", "choose `reflect` or `constant`"
        )
    samples = x.shape[-1]
    if samples == 0:
        raise SpeechError("the signal has no samples")
    if pad_mode == "constant":
        return pad_last(x, before, after)
    if max(before, after) >= samples:
        index = np.pad(np.arange(samples), (before, after), mode="reflect")
        return mx.take(x, mx.array(index.astype(np.int32)), axis=-1)
    pieces = [x]
    if before:
        pieces.insert(0, x[..., before:0:-1])
    if after:
        pieces.append(x[..., -2 : -after - 2 : -1])
    return mx.concatenate(pieces, axis=-1)


@lru_cache(maxsize=64)
def _window(kind: str, n_fft: int, win_length: int) -> mx.array:
    return mx.array(_window_values(kind, n_fft, win_length).astype(np.float32))


def hann_window(n_fft: int, win_length: int) -> np.ndarray:
    """Periodic Hann window in the middle of ``n_fft`` samples, float64."""
    return _window_values("hann", n_fft, win_length)


def _window_values(kind: str, n_fft: int, win_length: int) -> np.ndarray:
    if not 0 < win_length <= n_fft:
        raise SpeechError(
            f"win_length must be between 1 and n_fft = {n_fft}, not {win_length}"
        )
    if kind == "hann":
        phase = 2.0 * np.pi * np.arange(win_length) / win_length
        values = 0.5 - 0.5 * np.cos(phase)
    elif kind == "ones":
        values = np.ones(win_length)
    else:
        raise SpeechError(f"unknown window `{kind}`", "choose `hann` or `ones`")
    left = (n_fft - win_length) // 2
    return np.pad(values, (left, n_fft - win_length - left))


@lru_cache(maxsize=64)
def _inverse_envelope(
    kind: str, n_fft: int, hop_length: int, win_length: int, n_frames: int
) -> mx.array:
    squared = _window_values(kind, n_fft, win_length) ** 2
    envelope = np.zeros((n_frames - 1) * hop_length + n_fft)
    for start in range(0, n_frames * hop_length, hop_length):
        envelope[start : start + n_fft] += squared
    covered = np.flatnonzero(envelope > _EMPTY)
    inner = envelope[covered[0] : covered[-1] + 1]
    if inner.min() <= _EMPTY:
        raise SpeechError(
            f"a window of {win_length} with a hop of {hop_length} leaves gaps, so the "
            "transform has no inverse",
            "use a hop_length of at most half of win_length",
        )
    return mx.array((1.0 / np.where(envelope > _EMPTY, envelope, 1.0)).astype("f4"))
