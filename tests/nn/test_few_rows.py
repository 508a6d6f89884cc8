"""Linear layers for few rows: the same numbers, by products that are small enough."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.nn.few_rows import Embedding, Linear, multiply, slab_of, slab_size
from mlx_speech.nn.quantized import QuantizedLinear, quantize

# Outputs, inputs: with slabs of equal size, and with a rest (a prime number of rows).
SHAPES = [(1536, 384), (51865 // 5, 64), (4999, 48)]


@pytest.mark.parametrize("rows", [1, 3, 10, 31, 200])
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_products_equal_numpys(outputs: int, inputs: int, rows: int) -> None:
    draw = np.random.default_rng(rows)
    weight = draw.standard_normal((outputs, inputs)).astype(np.float32)
    x = draw.standard_normal((rows, 1, inputs)).astype(np.float32)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    found = multiply(mx.array(x), mx.array(weight))
    assert found.shape == (rows, 1, outputs)
    np.testing.assert_allclose(np.array(found), exact, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize("rows", [1, 10])
def test_gradients_equal_those_of_the_plain_product(rows: int) -> None:
    weight = mx.random.normal((4999, 48), key=mx.random.key(0))
    x = mx.random.normal((rows, 48), key=mx.random.key(1))
    assert slab_size(x, weight) is not None

    def loss(product: object, x: mx.array, weight: mx.array) -> mx.array:
        return mx.sin(product(x, weight)).sum(axis=-1).sum()  # type: ignore[operator]

    ours = mx.grad(lambda a, b: loss(multiply, a, b), (0, 1))(x, weight)
    plain = mx.grad(lambda a, b: loss(lambda c, d: c @ d.T, a, b), (0, 1))(x, weight)
    for one, other in zip(ours, plain, strict=True):
        assert mx.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_equal_mlxs(bias: bool) -> None:
    x = mx.random.normal((2, 1, 64), key=mx.random.key(2))
    layer = Linear(64, 3000, bias)
    plain = nn.Linear(64, 3000, bias)
    plain.update(layer.parameters())
    assert slab_size(x, layer.weight) is not None
    assert mx.allclose(layer(x), plain(x), atol=1e-5)


@pytest.mark.parametrize("rows", [1, 10, 300])
@pytest.mark.parametrize("size", [3000, 64 * 40])
def test_a_table_is_a_linear_layer_too(size: int, rows: int) -> None:
    x = mx.random.normal((rows, 1, 64), key=mx.random.key(2))
    table = Embedding(size, 64)
    names = [name for name, _ in tree_flatten(table.parameters())]
    assert mx.allclose(table.as_linear(x), x @ table.weight.T, atol=1e-4)
    assert mx.array_equal(table(mx.array([5])), table.weight[5:6])
    # The second copy follows the table, and is none of the parameters.
    table.weight = table.weight * 2
    assert mx.allclose(table.as_linear(x), x @ table.weight.T, atol=1e-4)
    table.update({"weight": mx.ones((size, 64))})
    assert mx.allclose(table.as_linear(x)[0, 0, :3], x[0].sum(), atol=1e-4)
    assert [name for name, _ in tree_flatten(table.parameters())] == names == ["weight"]


def test_a_table_gets_the_gradient_of_a_plain_product() -> None:
    x = mx.random.normal((3, 64), key=mx.random.key(2))
    table = Embedding(3000, 64)

    def loss(module: Embedding) -> mx.array:
        return mx.sin(module.as_linear(x)).sum(axis=-1).sum()

    table.as_linear(x)
    found = nn.value_and_grad(table, loss)(table)[1]["weight"]
    plain = mx.grad(lambda w: mx.sin(x @ w.T).sum(axis=-1).sum())(table.weight)
    assert mx.allclose(found, plain, rtol=1e-4, atol=1e-4)
    assert mx.allclose(table.as_linear(x), x @ table.weight.T, atol=1e-4)


def test_layers_can_be_quantised() -> None:
    module = nn.Sequential(Linear(64, 3000), Embedding(8, 64))
    assert quantize(module, 8) == 2
    assert isinstance(module.layers[0], QuantizedLinear)


def test_slabs_are_small_enough_and_even_where_they_can_be() -> None:
    for outputs, inputs in [(51865, 384), (51866, 1280), (1152, 384), (2048, 512)]:
        for rows in (1, 2, 5, 8, 16):
            size = slab_of(outputs, rows, inputs)
            taken = outputs if size is None else size
            assert rows * taken <= 1200
            assert rows * taken * inputs <= 1_000_000
    assert slab_of(1536, 1, 384) == 768
    assert slab_of(51865, 1, 384) == 943
    assert slab_of(51866, 1, 384) == 1200, "51866 has no suitable divisor"
    assert slab_of(1152, 1, 384) is None, "small as it is"
    assert slab_of(5120, 100, 1280) is None, "too many rows"


def test_half_precision_and_other_devices_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, weight = mx.zeros((1, 64)), mx.zeros((3000, 64))
    assert slab_size(x.astype(mx.float16), weight.astype(mx.float16)) is None
    assert slab_size(x, weight) is not None
    monkeypatch.setattr("mlx_speech.nn.few_rows.current_device", lambda: "metal")
    assert slab_size(x, weight) is None
