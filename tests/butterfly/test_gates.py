"""Ternary gates: their meaning, against loops in NumPy; relaxations; gradients."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_speech.butterfly.gates import (
    RELAXATIONS,
    Relaxation,
    TernaryRoutedFFT,
    gumbel_noise,
)
from mlx_speech.errors import SpeechError


def drawn_gates(n: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.integers(-1, 2, (n.bit_length() - 1, n // 2))


def by_loops(x: np.ndarray, gates: np.ndarray, mode: str) -> np.ndarray:
    """One butterfly after the other, as the definition says."""
    n = len(x)
    depth = n.bit_length() - 1
    order = [int(f"{i:0{depth}b}"[::-1], 2) for i in range(n)]
    y = x[order].astype(complex)
    for stage in range(depth):
        span = 1 << stage
        for index in range(n // 2):
            place = index % span
            first = 2 * span * (index // span) + place
            a, b = y[first], y[first + span]
            turned = np.exp(-2j * np.pi * place / (2 * span)) * b
            states = {1: (a + turned, a - turned), -1: (a - turned, a + turned)}
            states[0] = (a, a) if mode == "drop" else (a, b)
            y[first], y[first + span] = states[int(gates[stage, index])]
    return y


@pytest.mark.parametrize("mode", ["drop", "skip"])
def test_gates_mean_what_they_say(mode: str) -> None:
    gates = drawn_gates(32)
    transform = TernaryRoutedFFT(32, mode=mode, gates=gates)
    x = np.random.default_rng(1).standard_normal(32)
    np.testing.assert_allclose(
        np.array(transform(mx.array(x.astype(np.float32)))),
        by_loops(x, gates, mode),
        atol=2e-5,
    )
    blocks = transform.block_values(gates)
    for block, weight in zip(blocks, transform.stage_weights(), strict=True):
        own = np.array(weight).reshape(-1, 2, 2) * 2**0.5
        np.testing.assert_allclose(block, own, atol=1e-6)


def test_all_gates_on_is_the_exact_transform() -> None:
    assert TernaryRoutedFFT(128).error().relative < 3e-7
    # Reverse is the twiddle's sign.
    reverse = TernaryRoutedFFT(64, gates=-np.ones((6, 32), int))
    reverse.twiddles = [-pairs for pairs in reverse.twiddles]
    assert reverse.error().relative < 3e-7


@pytest.mark.parametrize("mode", ["drop", "skip"])
def test_one_backward_pass_is_the_derivative_by_every_logit(mode: str) -> None:
    transform = TernaryRoutedFFT(8, mode=mode)
    draw = np.random.default_rng(2)
    logits = [draw.standard_normal(each.shape) for each in transform.logits]
    x = mx.array(draw.standard_normal((5, 8)).astype(np.float32))
    target = mx.array(draw.standard_normal((5, 8)).astype(np.float32))

    def loss_at(values: list[np.ndarray]) -> float:
        transform.logits = [mx.array(each.astype(np.float32)) for each in values]
        return float(loss(transform).item())

    def loss(model: TernaryRoutedFFT) -> mx.array:
        return mx.mean(mx.square(mx.real(model(x)) - target))

    transform.relaxation = Relaxation("soft", 0.7)
    loss_at(logits)
    transform.freeze(keys=["twiddles"], recurse=False)
    _, gradients = nn.value_and_grad(transform, loss)(transform)
    assert set(gradients) == {"logits"}
    for stage, place in ((0, 3), (1, 7), (2, 0), (2, 11)):
        sides = []
        for step in (1e-2, -1e-2):
            moved = [each.copy() for each in logits]
            moved[stage].reshape(-1)[place] += step
            sides.append(loss_at(moved))
        measured = (sides[0] - sides[1]) / 2e-2
        computed = np.array(gradients["logits"][stage]).reshape(-1)[place]
        assert computed == pytest.approx(measured, abs=2e-3, rel=2e-2)


@pytest.mark.parametrize("kind", RELAXATIONS)
def test_a_relaxation_of_decided_gates_computes_as_hard_ones(kind: str) -> None:
    gates = drawn_gates(16, 3)
    transform = TernaryRoutedFFT(16, mode="skip", gates=gates)
    hard = transform.matrix()
    states = np.array([0, 1, -1])
    transform.logits = [
        mx.array(40.0 * (gate.reshape(*each.shape[:-1], 1) == states))
        for gate, each in zip(gates, transform.logits, strict=True)
    ]
    noise = None
    if kind == "gumbel":
        noise = gumbel_noise(transform, 0.3, mx.random.key(0))
    transform.relaxation = Relaxation(kind, 0.8, noise)
    np.testing.assert_allclose(transform.matrix(), hard, atol=1e-5)
    share = float(transform.expected_fraction().item())
    assert share == pytest.approx(np.mean(gates != 0), abs=1e-4)
    margin = transform.off_margin()
    assert (margin[gates == 0] > 0).all() and (margin[gates != 0] < 0).all()
    on = transform.likeliest_on()
    assert (on[gates != 0] == gates[gates != 0]).all()


def test_straight_through_decides_and_learns() -> None:
    logits = mx.array([[0.2, 0.1, 0.0]])
    relaxation = Relaxation("straight-through", 1.0)
    assert relaxation.mixture(logits, 0).tolist() == [[1.0, 0.0, 0.0]]
    gradient = mx.grad(lambda each: relaxation.mixture(each, 0)[0, 0])(logits)
    assert float(gradient[0, 0].item()) > 0.1


def test_reverse_can_be_forbidden() -> None:
    transform = TernaryRoutedFFT(16)
    transform.logits = [each + mx.array([0.0, -5.0, 9.0]) for each in transform.logits]
    assert (transform.likeliest_on() == -1).all()
    transform.forbid_reverse()
    assert (transform.likeliest_on() == 1).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TernaryRoutedFFT(400), "n = 400 is no power of two"),
        (lambda: TernaryRoutedFFT(1), "n = 1 is no power of two"),
        (lambda: TernaryRoutedFFT(8, mode="cut"), "unknown mode `cut`"),
        (lambda: TernaryRoutedFFT(8, gates=np.ones((3, 3))), "do not fit"),
        (lambda: TernaryRoutedFFT(8, gates=np.full((3, 4), 2)), "none of 0, 1 and -1"),
        (lambda: Relaxation("hard"), "unknown relaxation"),
        (lambda: Relaxation("soft", 0.0), "temperature"),
        (lambda: Relaxation("gumbel"), "noise"),
        (lambda: TernaryRoutedFFT(8)(mx.zeros((2, 9))), "the transform takes 8"),
    ],
)
def test_what_gates_cannot_be(make: object, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        make()  # type: ignore[operator]
