"""VITS as a training task: what validation and samples make of a voice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import linear_spectrogram, load, log_mel, mel_from_linear
from mlx_speech.audio.metrics import aligned_mel_l1, mel_cepstral_distortion
from mlx_speech.training import load_config
from mlx_speech.vits.setup import prepare_task
from mlx_speech.vits.steps import GENERATOR
from mlx_speech.vits.train import VitsTask
from mlx_speech.vits.training_config import VitsTrainConfig


@pytest.fixture
def task(
    tmp_path: Path, record_tones: Callable[[Path], Path], tiny_settings: Path
) -> VitsTask:
    config = load_config(
        VitsTrainConfig, tiny_settings, {"validation_share": 0.5, "seed": 3}
    )
    return prepare_task(config, record_tones(tmp_path / "data"), None, tmp_path / "f")


def test_validation_scores_the_averaged_voice_sentence_by_sentence(
    task: VitsTask,
) -> None:
    average = task.averages[GENERATOR].state["average"]
    average["dec.head.bias"] = average["dec.head.bias"] - 1.0
    own = np.array(task.voice.model.dec.head.bias)
    found = task.validate(1)
    np.testing.assert_array_equal(task.voice.model.dec.head.bias, own)

    model, spec = task.voice.model, task.voice.mel_spec
    model.dec.head.bias = mx.array(own) - 1.0
    model.eval()
    expected = []
    for utterance in task.validation.utterances:
        ids = mx.array([task.voice.encode(utterance.text)])
        length = mx.array([ids.shape[1]])
        speech = model.infer(ids, length, noise_scale=0.0, noise_scale_w=0.0)
        spoken = log_mel(speech.audio[0], spec)
        samples, _ = load(utterance.audio_path, spec.sample_rate)
        samples = samples[: len(samples) // spec.hop_length * spec.hop_length]
        linear = np.array(linear_spectrogram(mx.array(samples), spec))
        recorded = mel_from_linear(mx.array(linear.astype(np.float16)), spec)
        scores = mel_cepstral_distortion(recorded, spoken)
        expected.append((scores, aligned_mel_l1(recorded, spoken)))
    assert len(expected) > 1
    mcd, mel_l1 = np.mean(expected, axis=0)
    assert found == pytest.approx({"mcd": mcd, "mel_l1": mel_l1}, rel=1e-3)


def test_a_voice_that_would_not_end_scores_badly_and_stops_nothing(
    task: VitsTask, tmp_path: Path
) -> None:
    average = task.averages[GENERATOR].state["average"]
    average["dp.proj.bias"] = average["dp.proj.bias"] + 20.0
    assert task.validate(1) == {"mcd": float("inf"), "mel_l1": float("inf")}
    (tmp_path / "samples" / "1").mkdir(parents=True)
    task.write_samples(tmp_path / "samples" / "1", 1)
    assert not list(tmp_path.glob("samples/1/?.wav"))


def test_samples_are_sound_and_text_and_once_the_recording(
    task: VitsTask, tmp_path: Path
) -> None:
    folders = [tmp_path / "samples" / str(step) for step in (5, 10)]
    for step, folder in zip((5, 10), folders, strict=True):
        folder.mkdir(parents=True)
        task.write_samples(folder, step)
    spec = task.voice.mel_spec
    for index, utterance in enumerate(task.validation.utterances[:3]):
        for folder in folders:
            text = (folder / f"{index}.txt").read_text(encoding="utf-8")
            assert text == f"{utterance.text}\n"
            spoken, rate = load(folder / f"{index}.wav")
            assert rate == spec.sample_rate and len(spoken)
        recorded, rate = load(folders[0] / f"{index}-recording.wav")
        samples, _ = load(utterance.audio_path, spec.sample_rate)
        assert rate == spec.sample_rate
        assert 0 <= len(samples) - len(recorded) < spec.hop_length
        np.testing.assert_allclose(recorded, samples[: len(recorded)], atol=2**-15)
    assert not list(folders[1].glob("*recording*"))
