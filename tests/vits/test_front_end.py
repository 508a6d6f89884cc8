"""VITS with a learned transform in the place of the FFT: `fft` of its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly import ButterflyFFT, save_transform
from mlx_speech.errors import SpeechError
from mlx_speech.training import load_config
from mlx_speech.vits.front_end import load_front_end
from mlx_speech.vits.setup import prepare_task
from mlx_speech.vits.steps import Segments, audio_loss_terms
from mlx_speech.vits.train import VitsTask
from mlx_speech.vits.training_config import VitsTrainConfig


@pytest.fixture(scope="module")
def make_task(
    record_tones: Callable[..., Path],
    tiny_settings: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], VitsTask]:
    folder = tmp_path_factory.mktemp("front_end")
    data = record_tones(folder / "data")
    config = load_config(VitsTrainConfig, tiny_settings)

    def make(fft: str) -> VitsTask:
        # One cache for all: features of one transform must not serve another.
        return prepare_task(replace(config, fft=fft), data, None, folder / "features")

    return make


def test_spectrograms_and_mel_loss_use_the_transform(
    make_task: Callable[[str], VitsTask], tmp_path: Path
) -> None:
    exact, drawn = tmp_path / "exact.safetensors", tmp_path / "drawn.safetensors"
    save_transform(exact, ButterflyFFT(1024, parameterization="phase", tied=True))
    save_transform(drawn, ButterflyFFT(1024, init="haar", seed=3))
    tasks = [make_task(path) for path in ("", str(exact), str(drawn))]
    linear = [task.training.load_batch([0]).linear_btf for task in tasks]
    # Stored in float16.
    np.testing.assert_allclose(linear[1], linear[0], rtol=2e-3, atol=2e-3)
    assert np.abs(linear[2] - linear[0]).max() > 1
    audio = mx.random.normal((1, 4096), key=mx.random.key(0))
    target = mx.zeros((1, 16, 80))
    losses = []
    for task in tasks:
        terms = audio_loss_terms(None, Segments(audio, target), audio, task.settings)
        losses.append(float(terms[1]["loss_mel"].item()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] != pytest.approx(losses[0], rel=1e-2)


def test_a_transform_that_does_not_fit_is_refused(
    make_task: Callable[[str], VitsTask], tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    save_transform(path, ButterflyFFT(400))
    with pytest.raises(SpeechError, match=r"400 points.* needs 1024"):
        make_task(str(path))
    with pytest.raises(SpeechError, match="no file"):
        make_task(str(tmp_path / "none.safetensors"))
    assert load_front_end("", 1024).digest == ""
