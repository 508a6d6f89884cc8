"""Every preset gives the features of the library that it is named after."""

from __future__ import annotations

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import (
    MEL_PRESETS,
    MelSpec,
    linear_spectrogram,
    log_mel,
    mel_filterbank,
    mel_from_linear,
)
from mlx_speech.audio.mel import spectrum_of_padded
from mlx_speech.errors import SpeechError

VITS_LIKE = ["vits-22k", "mms-16k", "sovits-32k", "demo-16k"]
WHISPER_LIKE = ["whisper-80", "whisper-128", "voxtral", "voxtral-realtime"]
LINEAR_STRIDE = 7


@pytest.fixture(scope="module")
def golden(goldens):
    return goldens("audio_presets")


def samples_of(wave: np.ndarray) -> mx.array:
    return mx.array(wave.astype(np.float32) / 32768)


@pytest.mark.parametrize("kind", ["odd", "short", "tiny"])
@pytest.mark.parametrize("name", VITS_LIKE)
def test_voice_presets_agree_with_torch(name, kind, golden, error, weights):
    spec = MelSpec.preset(name)
    x = samples_of(golden[f"{name}/{kind}/wave"])
    linear = linear_spectrogram(x, spec)
    assert linear.shape[0] == spec.n_frames(x.shape[0])
    assert error(linear[:, ::LINEAR_STRIDE], golden[f"{name}/{kind}/linear"]) < 1e-5
    assert error(log_mel(x, spec), golden[f"{name}/{kind}/log_mel"]) < 3e-4

    def total(x):
        features = log_mel(x, spec)
        return (features * mx.array(weights(features.shape))).sum()

    assert error(mx.grad(total)(x), golden[f"{name}/{kind}/gradient"]) < 1e-4


@pytest.mark.parametrize("name", VITS_LIKE)
def test_filters_and_power_agree_with_librosa(name, golden, error):
    spec = dataclasses.replace(MelSpec.preset(name), power=2, eps=0.0)
    # librosa pads with n_fft / 2 zeros.
    pad = mx.zeros(spec.n_fft // 2)
    padded = mx.concatenate([pad, samples_of(golden[f"{name}/odd/wave"]), pad])
    mel = spectrum_of_padded(padded, spec) @ mel_filterbank(spec)
    assert error(mel, golden[f"{name}/odd/librosa_mel_power"]) < 1e-5


@pytest.mark.parametrize("kind", ["odd", "short"])
@pytest.mark.parametrize("name", WHISPER_LIKE)
def test_recogniser_presets_agree_with_their_libraries(name, kind, golden, error):
    spec = MelSpec.preset(name)
    x = samples_of(golden[f"whisper/{kind}/wave"])
    if name == "voxtral":
        # Its processor pads to whole 30 s windows before the features.
        x = mx.pad(x, [(0, 480000 - x.shape[0])])
    reference = golden[f"{name}/{kind}/log_mel"]
    features = np.asarray(log_mel(x, spec))[: len(reference)]
    assert np.abs(features - reference).max() < 1e-4
    if name != "voxtral":
        power = linear_spectrogram(x, spec)
        assert error(power, golden[f"whisper/{kind}/power"]) < 1e-5


@pytest.mark.parametrize("name", WHISPER_LIKE)
def test_recogniser_presets_have_torchs_gradient(name, golden, error, weights):
    spec = MelSpec.preset(name)

    def total(x):
        features = log_mel(x, spec)
        return (features * mx.array(weights(features.shape))).sum()

    gradient = mx.grad(total)(samples_of(golden["whisper/odd/wave"]))
    assert error(gradient, golden[f"{name}/odd/gradient"]) < 1e-4


def test_vits_golden_spectrogram_and_log_mel(goldens, error):
    golden = goldens("vits_ljs")
    x = samples_of(golden["high/in.wav"][0, 0])
    spec = MelSpec.preset("vits-22k")
    linear = linear_spectrogram(x, spec)
    stored = np.asarray(linear).T.reshape(-1)[::5]
    assert error(stored, golden["high/stft.spec0"]) < 1e-5
    features = mel_from_linear(linear, spec)
    assert error(np.asarray(features).T, golden["high/stft.logmel0"]) < 3e-4


@pytest.mark.parametrize(
    "name", ["whisper-80", "whisper-128", "vits-22k", "sovits-32k", "htk"]
)
def test_filterbanks_are_librosas(name, goldens, error):
    reference = goldens("audio_filterbanks")[name]
    if name == "htk":
        spec = MelSpec(
            22050, 512, 128, 512, 40, 60.0, 7600.0, norm=None, mel_scale="htk"
        )
    else:
        spec = MelSpec.preset(name)
    assert error(mel_filterbank(spec), reference) < 1e-6
    assert mel_filterbank(spec) is mel_filterbank(dataclasses.replace(spec))


@pytest.mark.parametrize("name", list(MEL_PRESETS))
def test_a_batch_gives_what_its_clips_give(name, golden):
    spec = MelSpec.preset(name)
    x = samples_of(golden["sovits-32k/odd/wave"])[: 3 * spec.n_fft + 11]
    batch = mx.stack([x, 0.1 * x, mx.zeros_like(x)])[None]
    features = log_mel(batch, spec)
    assert features.shape == (1, 3, spec.n_frames(x.shape[0]), spec.n_mels)
    for row in range(3):
        np.testing.assert_allclose(
            features[0, row], log_mel(batch[0, row], spec), atol=1e-5
        )


@pytest.mark.parametrize("name", list(MEL_PRESETS))
def test_silence_is_finite_in_value_and_gradient(name):
    spec = MelSpec.preset(name)
    value, gradient = mx.value_and_grad(lambda x: log_mel(x, spec).sum())(
        mx.zeros(4 * spec.n_fft)
    )
    assert mx.isfinite(value).item()
    assert mx.isfinite(gradient).all().item()


def test_specs_survive_json():
    for spec in MEL_PRESETS.values():
        assert MelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_same_padding_gives_one_frame_per_hop():
    spec = MelSpec.preset("demo-16k")
    assert log_mel(mx.zeros(256 * 9), spec).shape == (9, 80)
    assert log_mel(mx.zeros(256 * 9 + 255), spec).shape == (9, 80)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MelSpec.preset("whisper-81"), "whisper-81"),
        (lambda: MelSpec.from_dict({"sample_rate": 1, "hop": 2}), "hop"),
        (lambda: MelSpec(16000, 400, 160, 401, 80), "401"),
        (lambda: MelSpec(16000, 400, 0, 400, 80), "hop_length"),
        (lambda: MelSpec(16000, 400, 160, 400, 80, fmax=9000.0), "9000"),
        (lambda: MelSpec(16000, 400, 160, 400, 80, log="log2"), "log2"),
        (lambda: log_mel(mx.zeros(255), MelSpec.preset("demo-16k")), "255 samples"),
        (lambda: log_mel(mx.zeros(0), MelSpec.preset("demo-16k")), "0 samples"),
        (lambda: log_mel(mx.zeros(159), MelSpec.preset("whisper-80")), "159 samples"),
    ],
)
def test_impossible_requests_are_explained(call, message):
    with pytest.raises(SpeechError, match=message):
        call()
