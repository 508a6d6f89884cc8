"""Whole VITS trainings: the logged losses are true, and the full model learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import log_mel, mel_from_linear
from mlx_speech.models import speak
from mlx_speech.training import load_config, run_training
from mlx_speech.training.checkpoint import load_checkpoint
from mlx_speech.training.loop import step_seed
from mlx_speech.training.report import read_metrics
from mlx_speech.vits.setup import prepare_task
from mlx_speech.vits.steps import DISCRIMINATORS, decode_segments, draw_noise
from mlx_speech.vits.train import VitsTask
from mlx_speech.vits.training_config import VitsTrainConfig

DEMO_CORPUS = Path(__file__).resolve().parents[2] / "weights" / "demo_corpus"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_speech.training.keeper.plot_losses", lambda *_: True)


def squared_distance(scores: list[mx.array], target: float) -> float:
    return sum(float(np.mean(np.square(target - np.array(x)))) for x in scores)


def test_logged_losses_equal_those_of_the_stored_weights(
    record_tones: Callable[..., Path], tiny_settings: Path, tmp_path: Path
) -> None:
    """Step 3 again, from the checkpoints of steps 2 and 3, the formulas in NumPy."""
    data = record_tones(tmp_path / "data")
    config = replace(
        load_config(VitsTrainConfig, tiny_settings),
        max_steps=3,
        checkpoint_every=1,
        keep=9,
        use_sdp=True,
        weight_kl=0.5,
    )

    def task() -> VitsTask:
        return prepare_task(config, data, None, tmp_path / "features")

    run_training(task(), config.loop_settings(), tmp_path / "run")
    logged = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    assert logged["step"] == 3

    before, after = task(), task()
    checkpoints = tmp_path / "run" / "checkpoints"
    load_checkpoint(checkpoints / "00000002", before)
    load_checkpoint(checkpoints / "00000003", after)
    batch = before.load_batch(before.batches(0)[2])
    mx.random.seed(step_seed(config.seed, 3, "global"))  # dropout
    key = mx.random.key(step_seed(config.seed, 3, "key"))
    noise = draw_noise(key, batch, config.inter_channels, config.segment_frames)
    model, spec = before.voice.model, before.voice.mel_spec
    model.train()
    forward, fake = decode_segments(model, batch, noise, before.settings)

    frames, hop = config.segment_frames, spec.hop_length
    starts = np.array(noise.starts_b).tolist()
    rows = list(enumerate(starts))
    audio = [batch.audio_bs[i, s * hop : (s + frames) * hop] for i, s in rows]
    linear = [batch.linear_btf[i, s : s + frames] for i, s in rows]
    real = mx.array(np.stack(audio))
    target = np.array(mel_from_linear(mx.array(np.stack(linear)), spec))
    gap = np.abs(target - np.array(log_mel(fake, spec)))

    z_p, m_p, logs_p, logs_q = (
        np.array(value, np.float64)
        for value in (forward.z_p, forward.m_p, forward.logs_p, forward.logs_q)
    )
    entries = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p) ** 2 * np.exp(-2 * logs_p)
    valid = np.arange(z_p.shape[1]) < batch.frame_lengths_b[:, None]

    # The discriminators are judged as they were, the generator by the updated ones.
    old, new = (x.networks[DISCRIMINATORS] for x in (before, after))
    new_real, new_fake = new(real), new(fake)
    features = sum(
        float(np.mean(np.abs(np.array(r) - np.array(f))))
        for (_, of_real), (_, of_fake) in zip(new_real, new_fake, strict=True)
        for r, f in zip(of_real, of_fake, strict=True)
    )
    expected = {
        "loss_mel": 45 * gap.mean(),
        "loss_kl": 0.5 * entries[valid].sum() / valid.sum(),
        "loss_duration": np.array(forward.duration_loss).sum(),
        "loss_adversarial": squared_distance([score for score, _ in new_fake], 1),
        "loss_feature": 2 * features,
        "loss_discriminator_real": squared_distance([s for s, _ in old(real)], 1),
        "loss_discriminator_fake": squared_distance([s for s, _ in old(fake)], 0),
    }
    metrics = logged["metrics"]
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4), name
    parts = ("mel", "kl", "duration", "adversarial", "feature")
    total = sum(metrics[f"loss_{part}"] for part in parts)
    assert metrics["loss_generator"] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_hifigan_and_all_discriminators_learn(tmp_path: Path) -> None:
    """The whole architecture, narrow, on the demo corpus.

    HiFi-GAN's generator and all six discriminators take part from the first step.
    Two minutes of one CPU core. Over 120 steps the mel loss fell from 101 to 54 and the
    discriminators' from 4.6 to 1.5.
    """
    config = VitsTrainConfig(
        mel="demo-16k",
        batch_size=4,
        segment_frames=16,
        max_steps=120,
        learning_rate=1e-3,
        validate_every=0,
        sample_every=0,
        log_every=1,
        hidden_channels=64,
        inter_channels=64,
        filter_channels=128,
        n_layers=2,
        posterior_layers=4,
        upsample_initial_channel=64,
        discriminator_scale=0.125,
        ema_decay=0.9,
        noise_scale=0.3,
    )
    task = prepare_task(config, DEMO_CORPUS, None, tmp_path / "features")
    run_training(task, config.loop_settings(), tmp_path / "run")
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert len(lines) == config.max_steps
    curves = {
        name: [line["metrics"][name] for line in lines] for name in lines[0]["metrics"]
    }
    assert len(curves) == 11
    assert all(math.isfinite(value) for curve in curves.values() for value in curve)

    def start_and_end(name: str) -> tuple[float, float]:
        return float(np.mean(curves[name][:5])), float(np.mean(curves[name][-20:]))

    first, last = start_and_end("loss_mel")
    assert last < 0.65 * first
    first, last = start_and_end("loss_discriminator")
    assert last < first
    audio, rate = speak("The pastry chef.", tmp_path / "run")
    assert rate == 16000
    assert np.isfinite(audio).all()
    assert float(np.std(audio)) > 1e-3
