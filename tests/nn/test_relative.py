"""Relative attention against a plain NumPy version with loops over positions."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn.relative import RelativeAttention, band_to_matrix, matrix_to_band


def _reference(
    layer: RelativeAttention, x: np.ndarray, context: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    def linear(name: str, value: np.ndarray) -> np.ndarray:
        conv = getattr(layer, name)
        return value @ np.array(conv.weight)[:, 0].T + np.array(conv.bias)

    query, key = linear("conv_q", x), linear("conv_k", context)
    value = linear("conv_v", context)
    batch, queries, channels = query.shape
    size = channels // layer.n_heads
    out = np.zeros_like(query)
    window = layer.window_size
    for b in range(batch):
        for head in range(layer.n_heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(queries):
                scores = key[b, :, part] @ query[b, i, part] / np.sqrt(size)
                near = []
                if window is not None:
                    near = [j for j in range(len(scores)) if abs(j - i) <= window]
                for j in near:
                    vector = np.array(layer.emb_rel_k)[0, j - i + window]
                    scores[j] += vector @ query[b, i, part] / np.sqrt(size)
                scores = np.where(mask[b, min(i, mask.shape[1] - 1)], scores, -np.inf)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                out[b, i, part] = weights @ value[b, :, part]
                for j in near:
                    vector = np.array(layer.emb_rel_v)[0, j - i + window]
                    out[b, i, part] += weights[j] * vector
    return linear("conv_o", out)


@pytest.mark.parametrize("time", [1, 3, 9])
def test_self_attention_equals_loops(time: int) -> None:
    mx.random.seed(time)
    layer = RelativeAttention(8, 6, 2, window_size=4)
    x = np.random.default_rng(time).standard_normal((2, time, 8)).astype(np.float32)
    mask = np.ones((2, 1, time))
    mask[1, :, time // 2 + 1 :] = 0
    ours = layer(mx.array(x), mx.array(x), mx.array(mask))
    np.testing.assert_allclose(np.array(ours), _reference(layer, x, x, mask), atol=2e-6)


def test_cross_attention_equals_loops() -> None:
    mx.random.seed(1)
    layer = RelativeAttention(8, 8, 4)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 5, 8)).astype(np.float32)
    context = rng.standard_normal((2, 3, 8)).astype(np.float32)
    mask = np.array([[[1, 1, 1]] * 5, [[1, 1, 0]] * 5])
    ours = layer(mx.array(x), mx.array(context), mx.array(mask))
    expected = _reference(layer, x, context, mask)
    np.testing.assert_allclose(np.array(ours), expected, atol=2e-6)


def test_window_needs_equal_lengths() -> None:
    layer = RelativeAttention(8, 8, 2, window_size=2)
    with pytest.raises(SpeechError, match="5 and 3"):
        layer(mx.zeros((1, 5, 8)), mx.zeros((1, 3, 8)))


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(SpeechError, match="10 channels"):
        RelativeAttention(10, 10, 3)


def test_band_and_matrix_are_adjoint() -> None:
    rng = np.random.default_rng(2)
    band = mx.array(rng.standard_normal((2, 5, 7)).astype(np.float32))
    matrix = mx.array(rng.standard_normal((2, 5, 5)).astype(np.float32))
    left = mx.sum(band_to_matrix(band) * matrix).item()
    right = mx.sum(band * matrix_to_band(matrix, 3)).item()
    assert left == pytest.approx(right, rel=1e-5)
    np.testing.assert_allclose(
        np.array(band_to_matrix(matrix_to_band(matrix, 4))), np.array(matrix)
    )


def test_dropout_is_active_in_training_only() -> None:
    layer = RelativeAttention(8, 8, 2, window_size=2, p_dropout=0.5)
    x = mx.random.normal((1, 6, 8), key=mx.random.key(0))
    layer.train()
    assert not np.array_equal(np.array(layer(x, x)), np.array(layer(x, x)))
    layer.eval()
    np.testing.assert_array_equal(np.array(layer(x, x)), np.array(layer(x, x)))
