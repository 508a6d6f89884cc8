"""Frames and their real FFT, with gradients that are quick on a CPU too.

Frames are cut as a concatenation of whole hops, because the gradient of a strided view
is a scatter. The real FFT, its inverse and the squared magnitude have their gradients
written out, because MLX's own pass through full complex transforms and products (three
times slower on a CPU). These three have no second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError

Transform = Callable[[mx.array], mx.array]


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
        x = pad_last(x, 0, needed - samples)
    rows = x[..., :needed].reshape(*x.shape[:-1], n_frames + hops - 1, hop_length)
    pieces = [
        rows[..., i : i + n_frames, : min(hop_length, frame_length - i * hop_length)]
        for i in range(hops)
    ]
    return pieces[0] if hops == 1 else mx.concatenate(pieces, axis=-1)


def pad_last(x: mx.array, before: int, after: int) -> mx.array:
    """Put zeros before and after the last axis."""
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
def _adjoint_weight(size: int) -> mx.array:
    weight = np.full(size // 2 + 1, 0.5 * size, dtype=np.float32)
    weight[0] = size
    if size % 2 == 0:
        weight[-1] = size
    return mx.array(weight)
