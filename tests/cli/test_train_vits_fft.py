"""`mlx-speech train-vits --fft`: a voice learns from a learned transform's spectra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_speech.butterfly import ButterflyFFT, save_transform
from mlx_speech.training import load_config
from mlx_speech.training.report import read_metrics
from mlx_speech.vits.training_config import VitsTrainConfig

Command = Callable[..., tuple[int, str, str]]


def test_exact_and_drawn_transforms_train_as_their_spectra_are(
    folder: Path, train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_transform("exact.safetensors", ButterflyFFT(1024, real=True))
    drawn = ButterflyFFT(1024, parameterization="phase", tied=True, init="haar")
    save_transform("drawn.safetensors", drawn)
    losses = {}
    for name in ("", "exact", "drawn"):
        flags = ("--fft", f"{name}.safetensors") if name else ()
        run = folder / f"run-{name}"
        code, _, err = train("data", "-o", run, "--max-steps", "1", *flags)
        assert code == 0, err
        losses[name] = read_metrics(run / "metrics.jsonl")[0]["metrics"]["loss_mel"]
    assert losses["exact"] == pytest.approx(losses[""], rel=1e-3)
    assert losses["drawn"] != pytest.approx(losses[""], rel=1e-2)
    # Another step, from another folder: the path is whole.
    config = load_config(VitsTrainConfig, folder / "run-exact" / "config.yaml")
    assert config.fft == str(folder / "exact.safetensors")
    monkeypatch.chdir("/")
    code, _, err = train(
        "--resume", "-o", folder / "run-exact", "--max-steps", "2", "--quiet"
    )
    assert code == 0, err


def test_a_transform_of_another_size_starts_no_run(
    folder: Path, train: Command
) -> None:
    save_transform("w.safetensors", ButterflyFFT(400))
    code, _, err = train("data", "-o", "run", "--fft", "w.safetensors")
    assert code == 1 and "400 points, the spectrogram needs 1024" in err
    assert not (folder / "run" / "config.yaml").exists()
