"""Gradients through the kernels, and attention layers that train and infer by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.fused_qkv import fused_qkv_by_kernel
from mlx_speech.metal_kernels.fused_qkv_launch import DECODE, DECODE_4BIT, PREFILL
from mlx_speech.metal_kernels.fused_qkv_reference import (
    HeadArrays,
    LayerNormWeights,
    Projection,
    fused_qkv_reference,
)
from mlx_speech.metal_kernels.fused_qkv_samples import draw_input, draw_projection
from mlx_speech.nn.attention import KeyValueCache
from mlx_speech.nn.quantized import quantize
from mlx_speech.nn.speech_encoder import TransformerLayer

Way = Callable[[mx.array, Projection], HeadArrays]
SIZES = {DECODE: (1, 3), PREFILL: (2, 9), DECODE_4BIT: (1, 3)}


def draw_call(kernel: str, seed: int) -> tuple[mx.array, Projection]:
    group = 32 if kernel == DECODE_4BIT else 0
    projection = draw_projection(
        32, 2, 4, mx.float32, bias=True, norm=True, group_size=group, seed=seed
    )
    return draw_input((*SIZES[kernel], 32), mx.float32, seed), projection


def draw_cotangents(x: mx.array, projection: Projection) -> list[mx.array]:
    shapes = [array.shape for array in fused_qkv_reference(x, projection)]
    keys = mx.random.split(mx.random.key(9), 3)
    return [mx.random.normal(s, key=k) for s, k in zip(shapes, keys, strict=True)]


def gradients(
    way: Way, x: mx.array, projection: Projection, cotangents: list[mx.array]
) -> dict[str, mx.array]:
    """Of sum(cotangents * outputs), for every float array of the call."""
    assert projection.bias is not None
    assert projection.norm is not None
    n_packed = 1 if projection.bits else 0
    epsilon = projection.norm.epsilon

    def loss(arrays: dict[str, mx.array]) -> mx.array:
        weights = [arrays[n] for n in ("weight", "scales", "offsets") if n in arrays]
        changed = replace(
            projection,
            weights=(*projection.weights[:n_packed], *weights),
            bias=arrays["bias"],
            norm=LayerNormWeights(arrays["gamma"], arrays["beta"], epsilon),
        )
        heads = way(arrays["x"], changed)
        products = [(a * b).sum() for a, b in zip(cotangents, heads, strict=True)]
        return products[0] + products[1] + products[2]

    names = ("scales", "offsets") if projection.bits else ("weight",)
    arrays = {
        "x": x,
        "bias": projection.bias,
        "gamma": projection.norm.weight,
        "beta": projection.norm.bias,
        **dict(zip(names, projection.weights[n_packed:], strict=True)),
    }
    found: dict[str, mx.array] = mx.grad(loss)(arrays)
    mx.eval(found)
    return found


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kernel", [DECODE, PREFILL, DECODE_4BIT])
def test_gradients_are_those_of_mlx_operations(kernel: str, seed: int) -> None:
    x, projection = draw_call(kernel, seed)
    cotangents = draw_cotangents(x, projection)
    with emulate.dropin(seed=seed) as launches:
        found = gradients(
            lambda x, p: fused_qkv_by_kernel(kernel, x, p), x, projection, cotangents
        )
    assert launches.names == [kernel]
    expected = gradients(fused_qkv_reference, x, projection, cotangents)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert relative(np.array(found[name]), np.array(array)) < 1e-6, name


@pytest.mark.parametrize("kernel", [DECODE, PREFILL])
def test_gradients_are_slopes_in_double_precision(
    kernel: str,
    doubles: Callable[[mx.array, Projection], dict[str, np.ndarray]],
    heads_in_double: Callable[[dict[str, np.ndarray], int, float], list[np.ndarray]],
) -> None:
    x, projection = draw_call(kernel, 3)
    cotangents = draw_cotangents(x, projection)
    with emulate.dropin():
        found = gradients(
            lambda x, p: fused_qkv_by_kernel(kernel, x, p), x, projection, cotangents
        )
    numbers = doubles(x, projection)
    weights = [np.array(array).astype(np.float64) for array in cotangents]
    pick = np.random.default_rng(0)

    def loss() -> float:
        heads = heads_in_double(numbers, projection.n_heads, 1e-5)
        return float(sum((a * b).sum() for a, b in zip(weights, heads, strict=True)))

    step = 1e-5
    for name, array in numbers.items():
        gradient = np.array(found[name]).reshape(-1)
        flat = array.reshape(-1)
        for place in pick.choice(flat.size, 12, replace=False):
            kept = flat[place]
            flat[place] = kept + step
            above = loss()
            flat[place] = kept - step
            slope = (above - loss()) / (2 * step)
            flat[place] = kept
            error = abs(gradient[place] - slope) / np.abs(gradient).max()
            assert error < 5e-7, (name, place)


def test_half_precision_has_gradients_of_half_precision() -> None:
    x = draw_input((1, 9, 32), mx.float16)
    projection = draw_projection(32, 2, 4, mx.float16, bias=True, norm=True)

    def loss(x: mx.array) -> mx.array:
        q, k, v = fused_qkv_by_kernel(PREFILL, x, projection)
        return (q * k + v).astype(mx.float32).sum()

    with emulate.dropin(check=False):
        gradient = mx.grad(loss)(x)
    assert gradient.dtype == mx.float16
    assert mx.all(mx.isfinite(gradient)).item()


def layer_and_input() -> tuple[TransformerLayer, mx.array]:
    mx.random.seed(0)
    layer = TransformerLayer(32, 4, 64)
    # A norm that does something, so that leaving it out would show.
    norm = layer.self_attn_layer_norm
    norm.weight = 1 + 0.2 * mx.random.normal((32,))
    norm.bias = 0.2 * mx.random.normal((32,))
    return layer, mx.random.normal((2, 9, 32))


def losses(steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Train a layer of attention to negate its input."""
    layer, x = layer_and_input()

    def loss(layer: TransformerLayer, x: mx.array) -> mx.array:
        return mx.mean(mx.square(layer(x, "causal") + x))

    step = nn.value_and_grad(layer, loss)
    values = []
    for _ in range(steps):
        value, found = step(layer, x)
        changed = [(n, w - 0.5 * g) for (n, w), g in _pairs(layer, found)]
        layer.load_weights(changed)
        values.append(value)
    mx.eval(values, layer.parameters())
    flat = tree_flatten(layer.parameters())
    return [v.item() for v in values], {n: np.array(a) for n, a in flat}


def _pairs(
    layer: nn.Module, found: dict[str, object]
) -> list[tuple[tuple[str, mx.array], mx.array]]:
    slopes = dict(tree_flatten(found))
    return [((n, w), slopes[n]) for n, w in tree_flatten(layer.parameters())]


def test_a_layer_trains_by_the_kernels_as_by_mlx_operations() -> None:
    expected, expected_weights = losses(6)
    with emulate.dropin(check=False) as launches:
        found, weights = losses(6)
    assert launches.names.count(PREFILL) >= 6
    assert expected[-1] < 0.9 * expected[0]
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    for name, array in expected_weights.items():
        np.testing.assert_allclose(weights[name], array, atol=2e-6, err_msg=name)


def decode(layer: TransformerLayer, x: mx.array) -> mx.array:
    """A prompt of nine tokens, then single ones."""
    cache = KeyValueCache(16)
    outputs = [layer(x, "causal", cache)]
    outputs += [layer(outputs[-1][:, -1:], None, cache) for _ in range(3)]
    return mx.concatenate(outputs, axis=1)


@pytest.mark.parametrize("bits", [0, 4])
def test_a_layer_infers_by_the_kernels_as_by_mlx_operations(bits: int) -> None:
    layer, x = layer_and_input()
    if bits:
        assert quantize(layer, bits, 32)
    expected = np.array(decode(layer, x))
    with emulate.dropin(check=False) as launches:
        found = np.array(decode(layer, x))
    by = {DECODE_4BIT} if bits else {PREFILL, DECODE}
    assert set(launches.names) == by
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_low_rank_updates_and_bare_norms_are_left_to_their_layers() -> None:
    layer, x = layer_and_input()
    layer.self_attn_layer_norm = nn.LayerNorm(32, affine=False)
    expected = layer(x)
    with emulate.dropin(check=False) as launches:
        assert mx.array_equal(layer(x), expected)
        layer.self_attn_layer_norm = nn.LayerNorm(32)
        layer.self_attn.qkv_proj = nn.Sequential(layer.self_attn.qkv_proj)
        assert mx.allclose(layer(x), expected, atol=1e-5)
    assert launches.names == []
