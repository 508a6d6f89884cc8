"""Monotonic alignment search: which symbol speaks in each frame.

Glow-TTS (Kim et al. 2020, arXiv 2005.11129, section 3.1): among the alignments that
start at the first symbol, end at the last and never skip or go back, the one that makes
the latents most likely under the text's prior. The dynamic programme runs in NumPy,
over all items and symbols at once, frame after frame; it is a choice and has no
gradient.
"""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError


def alignment_score(z_p: mx.array, m_p: mx.array, logs_p: mx.array) -> mx.array:
    """Log likelihood of every frame under every symbol's Gaussian, without gradient.

    Args:
        z_p: latents [batch, frames, channels].
        m_p: prior means [batch, symbols, channels].
        logs_p: prior log standard deviations [batch, symbols, channels].

    Returns:
        [batch, frames, symbols], summed over channels.
    """
    z_p, m_p, logs_p = (mx.stop_gradient(value) for value in (z_p, m_p, logs_p))
    precision = mx.exp(-2 * logs_p)
    of_symbols = mx.sum(
        -0.5 * math.log(2 * math.pi) - logs_p - 0.5 * mx.square(m_p) * precision,
        axis=-1,
    )
    squares = (-0.5 * mx.square(z_p)) @ precision.swapaxes(1, 2)
    products = z_p @ (m_p * precision).swapaxes(1, 2)
    return of_symbols[:, None, :] + squares + products


def maximum_path(score: mx.array, mask: mx.array) -> mx.array:
    """The best monotonic alignment of each item.

    Args:
        score: log likelihoods [batch, frames, symbols].
        mask: 1 where both frame and symbol are valid, [batch, frames, symbols]; valid
            ones come first.

    Returns:
        The path, float32 [batch, frames, symbols]: one 1 in each valid frame. It is a
        constant to gradients.

    Raises:
        SpeechError: an item has fewer frames than symbols.
    """
    valid = np.array(mask) > 0
    frames_b = valid.any(axis=2).sum(axis=1)
    symbols_b = valid.any(axis=1).sum(axis=1)
    short = np.flatnonzero(frames_b < symbols_b)
    if short.size:
        item = int(short[0])
        raise SpeechError(
            f"item {item} of the batch has {symbols_b[item]} symbols and only "
            f"{frames_b[item]} frames",
            "every symbol needs a frame; leave out recordings shorter than their text",
        )
    score_tbs = np.array(score.astype(mx.float32)).swapaxes(0, 1)
    moved = _forward(score_tbs)
    symbol_bt = _backtrack(moved, frames_b, symbols_b)
    path = symbol_bt[:, :, None] == np.arange(score.shape[2])
    return mx.array((path & valid).astype(np.float32))


def _forward(score_tbs: np.ndarray) -> np.ndarray:
    """True where the best way into (frame, symbol) comes from the symbol before."""
    frames, batch, symbols = score_tbs.shape
    moved = np.zeros((frames, batch, symbols), dtype=bool)
    # best[:, s + 1] belongs to symbol s; no way leads in from the left of symbol 0.
    best = np.full((batch, symbols + 1), -np.inf, dtype=np.float32)
    if frames and symbols:
        best[:, 1] = score_tbs[0, :, 0]
    for frame in range(1, frames):
        np.less(best[:, 1:], best[:, :-1], out=moved[frame])
        best[:, 1:] = np.maximum(best[:, 1:], best[:, :-1]) + score_tbs[frame]
    return moved


def _backtrack(
    moved: np.ndarray, frames_b: np.ndarray, symbols_b: np.ndarray
) -> np.ndarray:
    """The symbol of each frame, int [batch, frames]; -1 at padding."""
    frames, batch, _ = moved.shape
    items = np.arange(batch)
    symbol_bt = np.full((batch, frames), -1)
    symbol = symbols_b - 1
    for frame in range(frames - 1, -1, -1):
        active = frame < frames_b
        symbol_bt[active, frame] = symbol[active]
        symbol = symbol - (moved[frame, items, symbol] & active)
    return symbol_bt


def path_from_durations(durations_bl: mx.array, frames: int) -> mx.array:
    """The alignment in which each symbol lasts a given number of frames.

    Args:
        durations_bl: frames of each symbol, whole numbers, [batch, symbols].
        frames: frames of the result; those beyond an item's sum belong to no symbol.

    Returns:
        float32 [batch, frames, symbols].
    """
    ends = mx.cumsum(durations_bl, axis=1)[:, None, :]
    starts = ends - durations_bl[:, None, :]
    frame = mx.arange(frames)[None, :, None]
    return ((frame >= starts) & (frame < ends)).astype(mx.float32)
