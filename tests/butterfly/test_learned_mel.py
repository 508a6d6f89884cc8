"""Learned transforms as a front end's rfft, and what they change."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_speech.audio import MelSpec, load, log_mel
from mlx_speech.butterfly import (
    ButterflyFFT,
    MonarchFFT,
    quantize,
    save_transform,
)
from mlx_speech.butterfly.fit_hierarchical import fit_hierarchical
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.learned_mel import LearnedMel, as_rfft
from mlx_speech.butterfly.student_storage import load_rfft
from mlx_speech.errors import SpeechError

KENNEDY = Path(__file__).resolve().parents[1] / "data" / "kennedy.flac"
WHISPER = MelSpec.preset("whisper-80")
DEMO = MelSpec.preset("demo-16k")


@pytest.fixture(scope="module")
def speech() -> mx.array:
    samples, _ = load(KENNEDY, 16000)
    assert len(samples) == 176000
    return mx.array(samples[:32000])


@pytest.mark.parametrize(
    "transform",
    [
        ButterflyFFT(400),
        ButterflyFFT(400, real=True),
        MonarchFFT(400, real=True),
        quantize(ButterflyFFT(400, parameterization="phase", tied=True), bits=9),
        ButterflyFFT(400, real=True).fuse(),
    ],
    ids=["complex", "real", "monarch", "quantised", "fused"],
)
def test_exact_transforms_leave_whispers_log_mel_as_it_is(
    transform: nn.Module, speech: mx.array
) -> None:
    mel = LearnedMel(transform, WHISPER)
    assert mel(speech).shape == (200, 80)
    change = mel.change(speech)
    assert change.mean < 1e-6 and change.largest < 1e-3


def test_a_transform_found_from_data_does_too(speech: mx.array, tmp_path: Path) -> None:
    transform = ButterflyFFT(400, init="haar")
    untrained = LearnedMel(transform, WHISPER).change(speech)
    fit_hierarchical(transform)
    assert transform.error().relative < 1e-6
    save_transform(tmp_path / "w.safetensors", transform)
    rfft = load_rfft(tmp_path / "w.safetensors", 400)
    change = LearnedMel(rfft, WHISPER).change(speech)
    assert change.mean < 1e-5 < 0.2 < untrained.mean


def test_a_routed_transform_serves_the_voices_spectrogram(speech: mx.array) -> None:
    transform = TernaryRoutedFFT(1024)
    assert LearnedMel(transform, DEMO).change(speech).mean < 1e-4
    gates = transform.gates.copy()
    gates[0, ::50] = 0
    transform.set_gates(gates)
    assert LearnedMel(transform, DEMO).change(speech).mean > 0.01


def test_bands_of_ones_own_are_used(speech: mx.array) -> None:
    weights = mx.zeros((201, 80))
    weights[10, :] = 1.0
    own = np.array(LearnedMel(mx.fft.rfft, WHISPER, weights)(speech))
    assert np.ptp(own, axis=1).max() < 1e-6 < np.ptp(own)


def test_gradients_reach_the_transform(speech: mx.array) -> None:
    mel = LearnedMel(ButterflyFFT(128, init="haar", real=True), _small())
    target = log_mel(speech, _small())
    loss = lambda model: mx.mean(mx.abs(model(speech) - target))  # noqa: E731
    _, gradients = nn.value_and_grad(mel, loss)(mel)
    for stage in gradients["transform"]["stages"]:
        assert np.isfinite(np.array(stage)).all() and float(mx.abs(stage).max()) > 0


def _small() -> MelSpec:
    return MelSpec(16000, 128, 64, 128, 20)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: as_rfft(ButterflyFFT(512), 400), "512 points.* needs 400"),
        (lambda: as_rfft(ButterflyFFT(400, inverse=True), 400), "inverse"),
        (lambda: as_rfft(ButterflyFFT(400, norm="ortho"), 400), "norm `ortho`"),
        (lambda: LearnedMel(ButterflyFFT(1024), WHISPER), "1024 points"),
        (lambda: LearnedMel(mx.fft.rfft, WHISPER, mx.zeros((80, 201))), "do not fit"),
        (lambda: LearnedMel(mx.fft.rfft, DEMO)(mx.zeros(3)), "too few"),
    ],
)
def test_what_does_not_fit_is_said(make: object, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        make()  # type: ignore[operator]
