"""Short-time Fourier transform and its inverse, batched and differentiable.

Conventions are torch.stft's: periodic Hann window, a window shorter than ``n_fft`` is
centred in it, no scaling. Frames come before bins: [..., frames, bins].

Two things here are about speed. Frames are cut as a concatenation of whole hops,
because the gradient of a strided view is a scatter. The real FFT, its inverse and the
squared magnitude have their gradients written out, because MLX's own pass through full
complex transforms and products (three times slower on a CPU). These three have no
second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError

Transform = Callable[[mx.array], mx.array]

# Below this a window sum counts as zero, as in torch.istft.
_EMPTY = 1e-11


def real_fft(frames: mx.array) -> mx.array:
    """Real FFT over the last axis: [..., n] float32 -> [..., n // 2 + 1] complex64."""
    return cast(mx.array, _real_fft(frames))


def real_ifft(spectrum: mx.array, size: int) -> mx.array:
    """Inverse of :func:`real_fft`: [..., size // 2 + 1] -> float32 [..., size]."""
    return cast(mx.array, _real_ifft(size)(spectrum))


def squared_magnitude(spectrum: mx.array) -> mx.array:
    """re^2 + im^2 of a complex array, float32, with an exact gradient at zero."""
    return cast(mx.array, _squared_magnitude(spectrum))


@mx.custom_function
def _real_fft(frames: mx.array) -> mx.array:
    return mx.fft.rfft(frames)


@_real_fft.vjp
def _real_fft_vjp(frames: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    # The transpose of rfft is irfft, times n, with the bins that irfft counts twice
    # halved.
    size = frames.shape[-1]
    return mx.fft.irfft(_scale_pairs(cotangent, _adjoint_weight(size)), n=size)


@lru_cache(maxsize=64)
def _real_ifft(size: int) -> mx.custom_function:
    @mx.custom_function
    def inverse(spectrum: mx.array) -> mx.array:
        return mx.fft.irfft(spectrum, n=size)

    @inverse.vjp
    def inverse_vjp(
        spectrum: mx.array, cotangent: mx.array, output: mx.array
    ) -> mx.array:
        return _scale_pairs(mx.fft.rfft(cotangent), 1.0 / _adjoint_weight(size))

    return inverse


@mx.custom_function
def _squared_magnitude(spectrum: mx.array) -> mx.array:
    squares = _pairs(spectrum).square()
    return squares[..., 0] + squares[..., 1]


@_squared_magnitude.vjp
def _squared_magnitude_vjp(
    spectrum: mx.array, cotangent: mx.array, output: mx.array
) -> mx.array:
    return _scale_pairs(spectrum, 2.0 * cotangent)


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
        y = _pad_last(y, 0, length - y.shape[-1])
    return y


def frame(x: mx.array, frame_length: int, hop_length: int) -> mx.array:
    """Cut [..., samples] into overlapping frames [..., frames, frame_length].

    Samples after the last whole frame are left out.
    """
    if frame_length < 1 or hop_length < 1:
        raise SpeechError(
            f"frame and hop lengths must be positive, not {frame_length} and "
            f"{hop_length}"
        )
    samples = x.shape[-1]
    if samples < frame_length:
        raise SpeechError(
            f"{samples} samples are fewer than one frame of {frame_length}",
            "give a longer recording",
        )
    n_frames = 1 + (samples - frame_length) // hop_length
    hops = -(-frame_length // hop_length)
    needed = (n_frames + hops - 1) * hop_length
    if needed > samples:
        x = _pad_last(x, 0, needed - samples)
    rows = x[..., :needed].reshape(*x.shape[:-1], n_frames + hops - 1, hop_length)
    pieces = [
        rows[..., i : i + n_frames, : min(hop_length, frame_length - i * hop_length)]
        for i in range(hops)
    ]
    return pieces[0] if hops == 1 else mx.concatenate(pieces, axis=-1)


def overlap_add(frames: mx.array, hop_length: int) -> mx.array:
    """Add frames at their places: the transpose of :func:`frame`.

    Args:
        frames: [..., frames, frame_length].

    Returns:
        [..., (frames - 1) * hop_length + frame_length].
    """
    *batch, n_frames, frame_length = frames.shape
    hops = -(-frame_length // hop_length)
    frames = _pad_last(frames, 0, hops * hop_length - frame_length)
    blocks = frames.reshape(*batch, n_frames, hops, hop_length).swapaxes(-3, -2)
    # Rows one block too long, read again at the right length, are shifted by one block
    # each: then the overlap-add is a plain sum over rows.
    blocks = blocks.reshape(*batch, hops, n_frames * hop_length)
    skewed = _pad_last(blocks, 0, hops * hop_length).reshape(*batch, -1)
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
        return _pad_last(x, before, after)
    if max(before, after) >= samples:
        index = np.pad(np.arange(samples), (before, after), mode="reflect")
        return mx.take(x, mx.array(index.astype(np.int32)), axis=-1)
    pieces = [x]
    if before:
        pieces.insert(0, x[..., before:0:-1])
    if after:
        pieces.append(x[..., -2 : -after - 2 : -1])
    return mx.concatenate(pieces, axis=-1)


def _pad_last(x: mx.array, before: int, after: int) -> mx.array:
    if not before and not after:
        return x
    return mx.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])


def _pairs(spectrum: mx.array) -> mx.array:
    """complex64 [..., n] seen as float32 [..., n, 2]."""
    flat = mx.view(mx.contiguous(spectrum), mx.float32)
    return flat.reshape(*spectrum.shape, 2)


def _scale_pairs(spectrum: mx.array, factor: mx.array) -> mx.array:
    """Complex times real without the complex product, which is slow on a CPU."""
    scaled = _pairs(spectrum) * factor[..., None]
    flat = mx.contiguous(scaled).reshape(*scaled.shape[:-2], -1)
    return mx.view(flat, mx.complex64)


@lru_cache(maxsize=64)
def _window(kind: str, n_fft: int, win_length: int) -> mx.array:
    return mx.array(_window_values(kind, n_fft, win_length).astype(np.float32))


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
def _adjoint_weight(size: int) -> mx.array:
    weight = np.full(size // 2 + 1, 0.5 * size, dtype=np.float32)
    weight[0] = size
    if size % 2 == 0:
        weight[-1] = size
    return mx.array(weight)


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
