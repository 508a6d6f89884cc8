"""Loss weights over the steps of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_speech.training import load_config
from mlx_speech.vits.setup import prepare_task
from mlx_speech.vits.training_config import VitsTrainConfig


def test_discriminators_come_later_and_the_divergence_rises(
    tmp_path: Path, record_tones: Callable[[Path], Path], tiny_settings: Path
) -> None:
    settings = {
        "weight_kl": 0.5,
        "kl_warmup_steps": 10,
        "discriminator_start": 4,
        "discriminator_scale": 0.02,
        "validation_share": 0.5,
    }
    config = load_config(VitsTrainConfig, tiny_settings, settings)
    data = record_tones(tmp_path / "data")
    task = prepare_task(config, data, None, tmp_path / "features")

    kl = [task.weights_at(step).kl for step in (1, 5, 9, 10, 11)]
    assert kl == pytest.approx([0.05, 0.25, 0.45, 0.5, 0.5])
    discriminators = [task.weights_at(step).use_discriminators for step in (1, 4, 5)]
    assert discriminators == [False, False, True]
    assert task.weights_at(5).mel == config.weight_mel
