"""AdamW, learning-rate groups, frozen parts, averages, gradient norms."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_speech.errors import SpeechError
from mlx_speech.training import (
    ExponentialMovingAverage,
    GroupedAdamW,
    ParameterGroup,
    freeze_parts,
    gradient_norm,
)
from mlx_speech.training.optim import learning_rates

HYPER = {"betas": (0.8, 0.99), "eps": 1e-9, "weight_decay": 0.1}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = [nn.Linear(3, 4), nn.Linear(4, 4)]
        self.dec = nn.Linear(4, 2)
        self.decoder = nn.Linear(2, 2)
        self.table = mx.ones((3,))


def gradients_for(net: nn.Module, generate: np.random.Generator) -> Any:
    return tree_unflatten(
        [
            (path, mx.array(generate.standard_normal(value.shape), mx.float32))
            for path, value in tree_flatten(net.trainable_parameters())
        ]
    )


def flat(tree: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(value) for path, value in tree_flatten(tree)}


def numpy_adamw(
    w: np.ndarray, gradients: list[np.ndarray], rates: list[float]
) -> np.ndarray:
    """Loshchilov and Hutter 2019, algorithm 2, in float64."""
    (b1, b2), eps, decay = HYPER["betas"], HYPER["eps"], HYPER["weight_decay"]
    m = v = np.zeros_like(w, dtype=np.float64)
    w = w.astype(np.float64)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        g = g.astype(np.float64)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w * (1 - rate * decay)
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return w


def test_adamw_equals_numpy_over_20_steps_with_groups_and_decay_per_epoch() -> None:
    mx.random.seed(0)
    net = Net()
    groups = (
        ParameterGroup("encoder", ("enc.1", "table"), 0.02),
        ParameterGroup("decoder", ("dec",), 0.001),
    )
    optimizer = GroupedAdamW(net, 0.005, groups=groups, decay=0.9, **HYPER)
    start = flat(net.parameters())
    generate = np.random.default_rng(0)
    history: list[dict[str, np.ndarray]] = []
    for step in range(20):
        if step % 5 == 0:
            optimizer.set_epoch(step // 5)
            optimizer.set_epoch(step // 5)  # setting twice changes nothing
        gradients = gradients_for(net, generate)
        optimizer.update(net, gradients)
        history.append(flat(gradients))

    def base_rate(path: str) -> float:
        if path.startswith("enc.1.") or path == "table":
            return 0.02
        return 0.001 if path.startswith("dec.") else 0.005

    for path, value in flat(net.parameters()).items():
        rates = [base_rate(path) * 0.9 ** (step // 5) for step in range(20)]
        expected = numpy_adamw(start[path], [g[path] for g in history], rates)
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)


def test_bias_correction_makes_the_first_step_as_large_as_the_rate() -> None:
    net = nn.Linear(2, 2)
    before = flat(net.parameters())
    optimizer = GroupedAdamW(net, 0.01, weight_decay=0.0)
    optimizer.update(net, gradients_for(net, np.random.default_rng(1)))
    for path, value in flat(net.parameters()).items():
        np.testing.assert_allclose(np.abs(value - before[path]), 0.01, rtol=1e-4)


def test_learning_rates_live_in_the_state() -> None:
    net = Net()
    groups = (ParameterGroup("slow", ("enc",), 0.001),)
    first = GroupedAdamW(net, 0.1, groups=groups, decay=0.5)
    first.set_epoch(2)
    second = GroupedAdamW(net, 0.7, groups=groups)
    second.state = first.state
    rates = {k: float(v.item()) for k, v in learning_rates({"g": second}).items()}
    assert rates == pytest.approx({"g.slow": 0.00025, "g.default": 0.025}, rel=1e-6)
    assert list(learning_rates({"g": GroupedAdamW(net, 0.1)})) == ["g"]


def test_one_rate_is_read_and_cannot_be_set_past_the_groups() -> None:
    optimizer = GroupedAdamW(Net(), 1e-3, groups=[ParameterGroup("slow", ("enc",), 1)])
    assert optimizer.learning_rate.item() == pytest.approx(1e-3)
    with pytest.raises(AttributeError):
        optimizer.learning_rate = 5.0


def test_a_frozen_part_does_not_move_by_a_bit() -> None:
    net = Net()
    freeze_parts(net, ["enc.0", "dec", "table"])
    optimizer = GroupedAdamW(net, 0.1, **HYPER)
    before = flat(net.parameters())
    x = mx.random.normal((5, 3), key=mx.random.key(0))

    def loss(x: mx.array) -> mx.array:
        for layer in net.enc:
            x = layer(x)
        return mx.mean(mx.square(net.decoder(net.dec(x)))) + mx.sum(net.table)

    for _ in range(5):
        _, gradients = nn.value_and_grad(net, loss)(x)
        optimizer.update(net, gradients)
    moved = {p for p, v in flat(net.parameters()).items() if (v != before[p]).any()}
    assert moved == {
        "enc.1.weight",
        "enc.1.bias",
        "decoder.weight",
        "decoder.bias",
    }


def test_prefixes_take_whole_components_and_unknown_ones_are_named() -> None:
    net = Net()
    freeze_parts(net, ["dec"])
    assert "decoder.weight" in flat(net.trainable_parameters())
    with pytest.raises(SpeechError, match=r"`decodr`.*did you mean `decoder`"):
        freeze_parts(net, ["decodr"])
    with pytest.raises(SpeechError, match=r"under `zzz`.*its parts are"):
        GroupedAdamW(net, 0.1, groups=(ParameterGroup("a", ("zzz",), 0.1),))
    with pytest.raises(SpeechError, match="different names"):
        GroupedAdamW(net, 0.1, groups=(ParameterGroup("default", ("enc",), 0.1),))
    freeze_parts(net, ["enc", "decoder", "table"])
    with pytest.raises(SpeechError, match="nothing to train"):
        GroupedAdamW(net, 0.1)


def test_one_parameter_and_a_nested_prefix_can_be_frozen() -> None:
    net = Net()
    freeze_parts(net, ["enc.1.bias", "dec"])
    names = set(flat(net.trainable_parameters()))
    assert "enc.1.weight" in names and "enc.1.bias" not in names
    assert not any(name.startswith("dec.") for name in names)


def test_gradient_norm_spans_the_whole_tree() -> None:
    tree = {"a": mx.array([3.0, 0.0]), "b": [mx.array([[4.0]]), {}]}
    assert gradient_norm(tree).item() == pytest.approx(5.0)
    assert gradient_norm({}).item() == 0.0


def test_the_average_follows_its_formula_and_leaves_still_parameters_alone() -> None:
    net = nn.Linear(2, 1)
    average = ExponentialMovingAverage(net, 0.9)
    expected = {p: v.astype(np.float64) for p, v in flat(net.parameters()).items()}
    generate = np.random.default_rng(0)
    for _ in range(10):
        net.weight = mx.array(generate.standard_normal((1, 2)), mx.float32)
        average.update()
        for path, value in flat(net.parameters()).items():
            expected[path] = 0.9 * expected[path] + 0.1 * value
    for path, value in average.state["average"].items():
        np.testing.assert_allclose(np.asarray(value), expected[path], rtol=1e-5)
    assert mx.array_equal(average.state["average"]["bias"], net.bias)
    assert average.state["updates"].item() == 10


def test_a_warm_average_follows_sooner() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(net, 0.999, warm_up=True)
    start = net.weight.item()
    net.weight = mx.array([[start + 1.0]])
    average.update()
    # rate of the first update: 1 - (1 + 1) / (10 + 1)
    moved = average.state["average"]["weight"].item() - start
    assert moved == pytest.approx(9 / 11, rel=1e-5)
    with pytest.raises(SpeechError, match="decay"):
        ExponentialMovingAverage(net, 1.0)


def test_swapping_restores_the_parameters_even_after_an_error(toy: ModuleType) -> None:
    net = toy.Generator()
    average = ExponentialMovingAverage(net, 0.5)
    old = flat(net.parameters())
    net.head.weight = net.head.weight + 1.0
    now = flat(net.parameters())
    with average.swapped(net) as swapped:
        assert swapped is net
        inside = flat(net.parameters())
    assert all((inside[p] == old[p]).all() for p in old)
    with pytest.raises(RuntimeError), average.swapped(net):
        raise RuntimeError
    after = flat(net.parameters())
    assert all((after[p] == now[p]).all() for p in now)
