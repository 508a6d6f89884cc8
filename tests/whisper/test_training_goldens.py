"""Losses, gradients and a step of training against PyTorch and transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.nn.projections import split
from mlx_speech.training.optim import GroupedAdamW, clip_gradients
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.train import TrainedWhisper, training_losses
from mlx_speech.whisper.training_batches import Batch

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
# As in make_whisper_training.py, which needs torch to be read.
NAME, CLASSES, STRIDE = "distilled", 11, 37
CTC_WEIGHT, CLIP = 0.3, 1.0
STRICT = 2e-4


def batch() -> tuple[Batch, np.ndarray, np.ndarray]:
    """What ``inputs`` of the script makes."""
    random = np.random.default_rng(5)
    tokens = random.integers(0, 97, size=(2, 12))
    targets = random.integers(0, 97, size=(2, 12))
    labels = random.integers(1, CLASSES, size=(2, 6))
    weight = random.normal(size=(CLASSES, 32)) * 0.2
    bias = random.normal(size=CLASSES)
    counted = np.array([[0, 0] + [1] * 10, [0] * 4 + [1] * 5 + [0] * 3], np.float32)
    nothing = np.zeros(0)
    made = Batch(
        audio_bs=nothing,
        frames_b=nothing,
        louder_b=nothing,
        kept_bf=nothing,
        kept_bm=nothing,
        tokens_bl=tokens,
        targets_bl=targets,
        counted_bl=counted,
        positions_b=np.array([33, 20]),
        labels_bn=labels,
        label_lengths_b=np.array([6, 4]),
    )
    return made, weight.astype(np.float32), bias.astype(np.float32)


def named(tree: dict) -> dict[str, np.ndarray]:
    """A tree of our parameters under transformers' names and in its layout."""
    flat = dict(tree_flatten(tree))
    ctc = {name: flat.pop(name) for name in ("ctc.weight", "ctc.bias")}
    found = {f"model.{name}": a for name, a in split(strip(flat)).items()}
    arrays = {name: np.array(array) for name, array in (found | ctc).items()}
    return {
        name: array.transpose(0, 2, 1) if ".conv" in name and array.ndim == 3 else array
        for name, array in arrays.items()
    }


def strip(flat: dict[str, mx.array]) -> dict[str, mx.array]:
    return {name.removeprefix("whisper."): array for name, array in flat.items()}


def differences(golden: dict, what: str, arrays: dict[str, np.ndarray]) -> list[float]:
    """Relative difference of norm and of samples, of every array."""
    wanted = {key.split()[1] for key in golden if key.startswith(f"{what} ")}
    assert set(arrays) == wanted
    found = []
    for name, array in arrays.items():
        norm = golden[f"{what} {name} norm"]
        sample = array.astype(np.float64).reshape(-1)[::STRIDE]
        size = max(float(norm) * np.sqrt(len(sample) / array.size), 1e-9)
        found.append(abs(np.linalg.norm(array) - norm) / max(float(norm), 1e-9))
        error = np.linalg.norm(sample - golden[f"{what} {name} sample"])
        found.append(float(error / size))
    return found


@pytest.fixture
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "whisper_training.npz") as stored:
        return dict(stored)


def test_a_step_is_that_of_pytorch(
    recipe: ModuleType,
    tiny_whisper: Callable[[str], Whisper],
    golden: dict[str, np.ndarray],
) -> None:
    made, weight, bias = batch()
    network = TrainedWhisper(tiny_whisper(NAME), CLASSES)
    network.ctc.weight, network.ctc.bias = mx.array(weight), mx.array(bias)
    mel = mx.array(recipe.mel(NAME))
    optimizer = GroupedAdamW(
        network, 1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01
    )

    def losses(parameters: dict) -> tuple[mx.array, dict[str, mx.array]]:
        network.update(parameters)
        return training_losses(network, mel, made, CTC_WEIGHT)

    before = network.trainable_parameters()
    (total, parts), gradients = mx.value_and_grad(losses)(before)
    network.update(before)
    tokens, labels = golden["losses_1"]
    assert float(parts["loss_tokens"]) == pytest.approx(tokens, rel=1e-5)
    assert float(parts["loss_ctc"]) == pytest.approx(labels, rel=1e-5)
    assert float(total) == pytest.approx(tokens + CTC_WEIGHT * labels, rel=1e-5)
    assert max(differences(golden, "gradient", named(gradients))) < STRICT

    clipped, norm = clip_gradients(gradients, CLIP)
    assert float(norm) == pytest.approx(float(golden["norm"]), rel=1e-4)
    assert float(norm) > CLIP
    optimizer.update(network, clipped)
    after, old = named(network.trainable_parameters()), named(before)
    moved = {name: after[name] - old[name] for name in after}
    # Adam divides by a gradient's size: where that is all rounding, so is the step.
    assert np.median(differences(golden, "step", moved)) < STRICT
    assert max(differences(golden, "step", moved)) < 0.02

    again, _ = training_losses(network, mel, made, CTC_WEIGHT)
    tokens, labels = golden["losses_2"]
    assert float(again) == pytest.approx(tokens + CTC_WEIGHT * labels, rel=1e-4)
