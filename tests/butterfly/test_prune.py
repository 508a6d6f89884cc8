"""Pruning: measured saliency against trying each gate, budgets, the four methods."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly.cost import compute_fraction
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.prune import PruningFrames, gate_losses, prune
from mlx_speech.errors import SpeechError

N = 16
FILTERS = np.abs(np.random.default_rng(9).standard_normal((N // 2 + 1, 4)))


def some_frames(seed: int = 0) -> PruningFrames:
    draw = np.random.default_rng(seed)
    frames = draw.standard_normal((40, N)).astype(np.float32)
    return PruningFrames(frames, FILTERS, np.full(40, 1e-3, np.float32))


def loss_of(gates: np.ndarray, mode: str, data: PruningFrames) -> float:
    """As the module's head says, from the transform itself."""
    transform = TernaryRoutedFFT(N, mode=mode, gates=gates)
    own = np.array(transform(mx.array(data.frames_fn)))[:, : N // 2 + 1]
    exact = np.fft.rfft(data.frames_fn)
    floor = data.floor_f[:, None]
    logs = [
        np.log10(np.maximum(np.abs(each) ** 2 @ FILTERS, floor))
        for each in (own, exact)
    ]
    spectrum = (np.abs(own - exact) ** 2).sum() / (np.abs(exact) ** 2).sum()
    return float(2 * np.abs(logs[0] - logs[1]).mean() + 0.3 * spectrum)


@pytest.mark.parametrize("mode", ["drop", "skip"])
def test_all_gates_are_tried_at_once(mode: str) -> None:
    gates = np.ones((4, N // 2), int)
    gates[0, 2] = gates[2, 5] = 0
    gates[3, 1] = -1
    data = some_frames()
    losses = gate_losses(TernaryRoutedFFT(N, mode=mode, gates=gates), data)
    for stage in range(4):
        for index in range(N // 2):
            tried = gates.copy()
            tried[stage, index] = 0
            expected = loss_of(tried, mode, data)
            assert losses[stage, index] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("mode", ["drop", "skip"])
@pytest.mark.parametrize("method", ["saliency", "logit", "random", "subtree"])
@pytest.mark.parametrize("target", [1.0, 0.9, 0.5, 0.0])
def test_budgets_are_kept_and_used(mode: str, method: str, target: float) -> None:
    if (method, mode) == ("subtree", "skip"):
        return
    transform = TernaryRoutedFFT(N, mode=mode)
    prune(transform, target, method, some_frames())
    left = compute_fraction(transform)
    # No method switches off more than one butterfly, or its dead branch, too many.
    assert target - 0.2 <= left <= target


def test_saliency_beats_chance() -> None:
    losses = {}
    for method in ("saliency", "random"):
        transform = TernaryRoutedFFT(N)
        prune(transform, 0.8, method, some_frames())
        losses[method] = loss_of(transform.gates, "drop", some_frames(1))
    assert losses["saliency"] < 0.7 * losses["random"]


def test_logits_decide_in_the_order_of_their_margins() -> None:
    transform = TernaryRoutedFFT(8)
    logits = np.tile(np.array([0.0, 2.0, 0.0], np.float32), (3, 4, 1))
    logits[1, 2] = (3.0, 0.0, 1.0)
    logits[2, 0] = (0.0, 0.5, 4.0)
    transform.logits = [
        mx.array(each.reshape(own.shape))
        for each, own in zip(logits, transform.logits, strict=True)
    ]
    prune(transform, 11 / 12, "logit")
    expected = np.ones((3, 4), int)
    expected[1, 2], expected[2, 0] = 0, -1
    assert np.array_equal(transform.gates, expected)


def test_a_subtree_is_dropped_whole() -> None:
    transform = TernaryRoutedFFT(N)
    # Merging 4 outputs and the 4 butterflies that compute them: a quarter of all 32.
    prune(transform, 0.75, "subtree", some_frames())
    assert compute_fraction(transform) == 0.75
    dropped = np.argwhere(transform.gates == 0)
    assert len(dropped) == 4 and set(dropped[:, 0]) == {2}
    lost = np.abs(transform.matrix()) < 1e-6
    assert lost.all(axis=0).sum() == 4


def test_subtrees_are_found_where_no_small_one_is_left() -> None:
    gates = np.ones((4, N // 2), int)
    gates[0] = 0
    transform = TernaryRoutedFFT(N, gates=gates)
    # Less than the two butterflies that the smallest group still saves.
    prune(transform, 0.73, "subtree", some_frames())
    assert compute_fraction(transform) <= 0.73
    assert (transform.gates[1:] == 0).any()


def test_random_pruning_is_repeatable() -> None:
    gates = []
    for seed in (1, 1, 2):
        transform = TernaryRoutedFFT(N)
        prune(transform, 0.7, "random", seed=seed)
        gates.append(transform.gates)
    assert np.array_equal(gates[0], gates[1])
    assert not np.array_equal(gates[0], gates[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), "target compute fraction"),
        ((0.5, "magic"), "unknown pruning method"),
        ((0.5, "saliency"), "there are none"),
        ((0.5, "saliency", PruningFrames(np.zeros((3, 8)), FILTERS, np.ones(3))), "16"),
    ],
)
def test_what_cannot_be_pruned(arguments: tuple, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        prune(TernaryRoutedFFT(N), *arguments)


def test_subtrees_need_zeros() -> None:
    transform = TernaryRoutedFFT(N, mode="skip")
    with pytest.raises(SpeechError, match="taken for zero"):
        prune(transform, 0.5, "subtree", some_frames())
