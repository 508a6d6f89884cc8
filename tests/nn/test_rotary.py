"""Rotary attention and its caches against attention over everything, in numpy."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn import rotary
from mlx_speech.nn.caches import GrowingCache, SlidingCache, new_caches
from mlx_speech.nn.rotary import RotaryAttention, SwiGLU

CHANNELS, HEADS, KV_HEADS, HEAD, THETA = 12, 4, 2, 6, 100.0
LENGTH = 700


@pytest.fixture(scope="module")
def attention() -> RotaryAttention:
    mx.random.seed(1)
    return RotaryAttention(CHANNELS, HEADS, KV_HEADS, HEAD, THETA, "qvo")


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    generator = np.random.default_rng(2)
    return generator.standard_normal((1, LENGTH, CHANNELS)).astype(np.float32)


def rotated(heads: np.ndarray) -> np.ndarray:
    """[heads, length, channels], each pair (i, i + half) turned by its position."""
    half = HEAD // 2
    angle = np.arange(LENGTH)[:, None] * THETA ** (-np.arange(half) / half)
    a, b = heads[..., :half], heads[..., half:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def reference(attention: RotaryAttention, x: np.ndarray, window: int) -> np.ndarray:
    def heads(name: str, count: int) -> np.ndarray:
        layer = attention[name]
        y = x[0].astype(np.float64) @ np.array(layer.weight, np.float64).T
        y = y + (np.array(layer.bias, np.float64) if "bias" in layer else 0)
        return y.reshape(LENGTH, count, HEAD).swapaxes(0, 1)

    query = rotated(heads("q_proj", HEADS))
    keys = rotated(heads("k_proj", KV_HEADS)).repeat(HEADS // KV_HEADS, axis=0)
    values = heads("v_proj", KV_HEADS).repeat(HEADS // KV_HEADS, axis=0)
    scores = query @ keys.swapaxes(1, 2) / math.sqrt(HEAD)
    distance = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
    scores[:, (distance < 0) | (distance >= window)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    y = weights / weights.sum(axis=-1, keepdims=True) @ values
    y = y.swapaxes(0, 1).reshape(LENGTH, -1)
    out = attention.o_proj
    return y @ np.array(out.weight, np.float64).T + np.array(out.bias, np.float64)


def in_parts(
    attention: RotaryAttention,
    x: np.ndarray,
    cache: GrowingCache | SlidingCache,
    sizes: list[int],
) -> np.ndarray:
    parts, start = [], 0
    for size in sizes:
        part = mx.array(x[:, start : start + size])
        parts.append(attention(part, cache.mask(part.shape[1]), cache))
        start += size
    assert start == LENGTH == cache.length
    return np.array(mx.concatenate(parts, axis=1))[0]


SIZES = {
    "whole": [LENGTH],
    "halves": [400, 300],
    "prompt, then one by one": [650] + 50 * [1],
    "many": [1, 6, 250, 1, 1, 41, 300, 99, 1],
    "steps": 140 * [5],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("window", [None, 1, 7, 40, 699, 5000])
def test_parts_attend_as_the_whole_does(
    attention: RotaryAttention, x: np.ndarray, sizes: list[int], window: int | None
) -> None:
    expected = reference(attention, x, window or LENGTH)
    (cache,) = new_caches(1, window)
    found = in_parts(attention, x, cache, sizes)
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("window", [1, 40])
def test_positions_of_a_stream_are_counted_anew(
    attention: RotaryAttention,
    x: np.ndarray,
    sizes: list[int],
    window: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotary, "RESTART_AT", 100)
    cache = SlidingCache(window)
    found = in_parts(attention, x, cache, sizes)
    expected = reference(attention, x, window)
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()
    assert cache.length == LENGTH
    assert cache.position <= 100 + max(sizes) + window


def test_memory_of_a_window_does_not_grow() -> None:
    cache = SlidingCache(window=100)
    part = mx.zeros((1, 2, 10, 4))
    largest = 0
    for _ in range(1000):
        keys, values = cache.append(part, part)
        assert keys.shape[2] <= 99 + 10 and keys.shape == values.shape
        assert cache._buffers is not None
        largest = max(largest, cache._buffers[0].shape[2])
    assert cache.length == 10_000 and largest < 500


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(SpeechError, match="4 heads of 6 channels cannot share 3"):
        RotaryAttention(12, 4, 3, 6, THETA)
    with pytest.raises(SpeechError, match="of 5 channels"):
        RotaryAttention(12, 4, 2, 5, THETA)
    with pytest.raises(SpeechError, match="a window of 0 tokens sees nothing"):
        SlidingCache(0)


def test_gates_multiply_the_inner_channels() -> None:
    layer = SwiGLU(3, 5, down_bias=True)
    x = np.array([[0.5, -1.0, 2.0]])
    gate, up, down = (
        np.array(part.weight, np.float64)
        for part in (layer.gate_proj, layer.up_proj, layer.down_proj)
    )
    inner = x @ gate.T
    expected = (inner / (1 + np.exp(-inner)) * (x @ up.T)) @ down.T
    expected = expected + np.array(layer.down_proj.bias)
    found = np.array(layer(mx.array(x, mx.float32)))
    assert np.allclose(found, expected, atol=1e-6)
