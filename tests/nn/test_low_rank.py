"""Low-rank updates: nothing at first, all of the learning, and nothing when merged."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.nn.attention import SelfAttention
from mlx_speech.nn.low_rank import add_low_rank, merged_parameters

NAMES = ("qkv_proj", "out_proj")


def attention() -> SelfAttention:
    mx.random.seed(3)
    return SelfAttention(16, 2)


def moved(module: SelfAttention) -> SelfAttention:
    """The module with updates that are not zero any more."""
    for name in NAMES:
        layer = module[name]
        layer.up = mx.random.normal(layer.up.shape)
    return module


def test_a_new_update_changes_nothing() -> None:
    x = mx.random.normal((2, 5, 16), key=mx.random.key(0))
    module = attention()
    before = module(x)
    assert add_low_rank(module, NAMES, rank=4, alpha=8.0) == 2
    assert mx.array_equal(module(x), before)


def test_only_the_updates_learn() -> None:
    module = attention()
    add_low_rank(module, NAMES, rank=4, alpha=8.0)
    trainable = {name for name, _ in tree_flatten(module.trainable_parameters())}
    assert trainable == {f"{name}.{part}" for name in NAMES for part in ("down", "up")}
    x = mx.random.normal((2, 5, 16), key=mx.random.key(0))
    _, gradients = nn.value_and_grad(moved(module), lambda m: m(x).square().sum())(
        module
    )
    norms = {name: float(mx.abs(g).max()) for name, g in tree_flatten(gradients)}
    assert all(norm > 0 for norm in norms.values()), norms


def test_a_merged_layer_gives_the_same_as_layer_and_update() -> None:
    x = mx.random.normal((2, 5, 16), key=mx.random.key(0))
    module = attention()
    add_low_rank(module, NAMES, rank=4, alpha=8.0)
    expected = moved(module)(x)
    # By hand: alpha / rank is 2.
    layer = module.out_proj
    weight = np.array(layer.linear.weight) + 2 * np.array(layer.down @ layer.up).T
    merged = merged_parameters(module)
    np.testing.assert_allclose(np.array(merged["out_proj.weight"]), weight, atol=1e-6)
    plain = attention()
    plain.load_weights(list(merged.items()))
    np.testing.assert_allclose(np.array(plain(x)), np.array(expected), atol=1e-5)


def test_layers_that_are_not_there_or_quantised_are_refused() -> None:
    with pytest.raises(SpeechError, match="no layers gate_proj"):
        add_low_rank(attention(), ("gate_proj",), 4, 8.0)
    quantised = SelfAttention(64, 2)
    nn.quantize(quantised, group_size=64, bits=4)
    with pytest.raises(SpeechError, match="_proj is quantised"):
        add_low_rank(quantised, NAMES, 4, 8.0)
