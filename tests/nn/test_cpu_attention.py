"""Attention in blocks: exact against float64, its gradients against MLX's own."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.nn import cpu_attention
from mlx_speech.nn.attention import attend
from mlx_speech.nn.cpu_attention import attend_on_cpu, is_for_cpu

# Batch, heads, queries, keys: several rows in a block, several blocks in a row, a last
# block that is narrower, and a few queries with and without slabs of equal size.
SHAPES = [
    (2, 3, 40, 50),
    (1, 2, 700, 900),
    (3, 2, 1, 1500),
    (2, 2, 5, 1500),
    (12, 2, 1, 1500),
    (1, 2, 3, 1499),
]


def operands(shape: tuple[int, int, int, int], scale: float = 1.0) -> list[mx.array]:
    batch, heads, length, keys = shape
    draws = [mx.random.key(seed) for seed in range(3)]
    sizes = [(batch, heads, n, 64) for n in (length, keys, keys)]
    return [
        factor * mx.random.normal(size, key=key)
        for size, key, factor in zip(sizes, draws, (scale, 2.0, 1.0), strict=True)
    ]


def exactly(query: mx.array, keys: mx.array, values: mx.array) -> np.ndarray:
    q, k, v = (np.array(part, np.float64) for part in (query, keys, values))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)) @ v


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_it_is_exact(shape: tuple[int, int, int, int], scale: float) -> None:
    parts = operands(shape, scale)
    assert is_for_cpu(parts[0], parts[1], None)
    exact = exactly(*parts)
    found = np.array(attend_on_cpu(*parts))
    np.testing.assert_allclose(found, exact, rtol=0, atol=3e-6 * np.abs(exact).max())


def test_scores_beyond_the_range_of_exponentials() -> None:
    # Between the best key and the worst lie e^-1000 and more.
    parts = operands((1, 2, 64, 300), 300.0)
    exact = exactly(*parts)
    found = np.array(attend_on_cpu(*parts))
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES[:5])
def test_gradients(shape: tuple[int, int, int, int]) -> None:
    parts = operands(shape)
    above = mx.random.normal((*shape[:3], 64), key=mx.random.key(9))

    def loss(attention: object, *parts: mx.array) -> mx.array:
        made = attention(*parts) * above  # type: ignore[operator]
        return made.sum(axis=-1).sum(axis=-1).sum()

    def plain(query: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(query, keys, values, scale=0.125)

    ours = mx.grad(lambda *a: loss(attend_on_cpu, *a), (0, 1, 2))(*parts)
    theirs = mx.grad(lambda *a: loss(plain, *a), (0, 1, 2))(*parts)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert mx.abs(one - other).max() < 1e-5 * mx.abs(other).max()


def test_masks_half_precision_and_other_devices_are_mlxs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, keys, _ = operands((1, 2, 40, 50))
    assert not is_for_cpu(query, keys, "causal")
    assert not is_for_cpu(query, keys, mx.ones((40, 50), mx.bool_))
    assert not is_for_cpu(query.astype(mx.float16), keys.astype(mx.float16), None)
    assert not is_for_cpu(query[:, :, :1], keys, None), "few queries of few keys"
    monkeypatch.setattr(cpu_attention, "current_device", lambda: "metal")
    assert not is_for_cpu(query, keys, None)
    causal = attend(query, query, query, "causal")
    mask = mx.tril(mx.ones((40, 40), mx.bool_))
    assert mx.allclose(causal, attend(query, query, query, mask), atol=1e-5)


@pytest.mark.parametrize("length", [1, 40])
def test_heads_that_share_keys(length: int) -> None:
    query, _, _ = operands((2, 4, length, 600))
    _, keys, values = operands((2, 2, length, 600))
    each = [mx.repeat(part, 2, axis=1) for part in (keys, values)]
    exact = exactly(query, *each)
    found = np.array(attend(query, keys, values, None))
    np.testing.assert_allclose(found, exact, rtol=0, atol=3e-6 * np.abs(exact).max())
