"""CTC against PyTorch's, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn.ctc import ctc_loss

GOLDEN = Path(__file__).resolve().parents[1] / "goldens" / "ctc.npz"


def test_losses_and_gradients_are_those_of_pytorch() -> None:
    golden = np.load(GOLDEN)
    weights = mx.array(golden["weights"])

    def weighted(scores: mx.array) -> tuple[mx.array, mx.array]:
        losses = ctc_loss(
            nn.log_softmax(scores, axis=-1),
            golden["frames"],
            golden["labels"],
            golden["counts"],
        )
        return (losses * weights).sum(), losses

    scores = mx.array(golden["scores"])
    (_, losses), gradient = mx.value_and_grad(weighted)(scores)
    np.testing.assert_allclose(np.array(losses), golden["losses"], rtol=1e-5)
    np.testing.assert_allclose(np.array(gradient), golden["gradient"], atol=3e-5)


def test_a_sequence_of_four_hundred_frames_has_a_finite_loss() -> None:
    # In probabilities instead of logarithms, this would underflow.
    scores = np.zeros((1, 400, 40), np.float32)
    scores[..., 0] = 20.0
    labels = np.arange(60)[None] % 39 + 1
    loss = ctc_loss(
        nn.log_softmax(mx.array(scores), axis=-1),
        np.array([400]),
        labels,
        np.array([60]),
    )
    # Each label costs 20 against a blank; there are C(400, 60) places or fewer.
    assert 60 * 20 - 200 < float(loss[0]) < 60 * 20


@pytest.mark.parametrize(
    ("frames", "labels", "counts", "why"),
    [
        ([3], [[1, 1, 2]], [3], "row 0 has 3 labels, which need 4 frames and have 3"),
        ([9], [[1, 0, 2]], [3], "labels must lie from 1 to 3"),
        ([9], [[1, 4, 2]], [3], "labels must lie from 1 to 3"),
        ([10], [[1, 3, 2]], [3], "frame lengths from 10 to 10 do not fit 9 frames"),
        ([9], [[1, 3, 2]], [4], "label lengths from 4 to 4 do not fit 3 labels"),
    ],
)
def test_what_cannot_be_aligned_is_refused(
    frames: list[int], labels: list[list[int]], counts: list[int], why: str
) -> None:
    with pytest.raises(SpeechError, match=why):
        ctc_loss(
            mx.zeros((1, 9, 4)), np.array(frames), np.array(labels), np.array(counts)
        )
