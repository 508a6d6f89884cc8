"""Recordings of every kind load, and bad ones say what is wrong with them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_speech.audio import load, resample, save
from mlx_speech.errors import SpeechError


def distance(a: np.ndarray, b: np.ndarray) -> float:
    length = min(len(a), len(b))
    return float(np.abs(a[:length] - b[:length]).max())


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "caf"])
def test_lossless_formats_load_as_they_are(suffix, tone, tmp_path):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone, 16000, subtype="PCM_16")
    samples, rate = load(path)
    assert (samples.dtype, rate) == (np.float32, 16000)
    assert samples.shape == tone.shape
    assert distance(samples, tone) < 1e-4


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_formats_load(suffix, tone, tmp_path):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone, 16000)
    samples, rate = load(path)
    assert rate == 16000
    spectrum = np.abs(np.fft.rfft(samples[:8000]))
    assert int(spectrum.argmax()) == 220


@pytest.mark.parametrize("container", ["m4a", "mp4", "aac", "webm"])
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_other_containers_go_through_a_converter(container, tone, tmp_path):
    wav = tmp_path / "tone.wav"
    save(wav, tone, 16000)
    path = tmp_path / f"-töne mit %s.{container}"
    command = ["ffmpeg", "-v", "error", "-i", str(wav)]
    if container == "webm":
        command += ["-c:a", "libopus"]
    made = subprocess.run([*command, str(path)], check=False)
    if made.returncode:
        pytest.skip(f"this ffmpeg cannot write {container}")
    from_path, rate = load(path, 16000)
    assert rate == 16000
    spectrum = np.abs(np.fft.rfft(from_path[:8000]))
    assert int(spectrum.argmax()) == 220
    if container != "aac":
        from_file, _ = load(io.BytesIO(path.read_bytes()), 16000)
        np.testing.assert_array_equal(from_file, from_path)


def test_without_a_converter_the_fix_is_named(tmp_path, monkeypatch):
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setattr("mlx_speech.audio.io._AFCONVERT", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechError, match="m4a") as caught:
        load(path)
    assert "ffmpeg" in caught.value.hint


def test_a_mac_uses_its_own_converter(tone, tmp_path, monkeypatch):
    stand_in = tmp_path / "afconvert"
    wav = tmp_path / "decoded.wav"
    save(wav, tone, 16000)
    stand_in.write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{wav}" "$last"\n')
    stand_in.chmod(0o755)
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setattr("mlx_speech.audio.io._AFCONVERT", stand_in)
    assert distance(load(path)[0], tone) < 1e-4


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_damaged_m4a_names_the_file_and_the_program(tmp_path, monkeypatch):
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setattr("mlx_speech.audio.io._AFCONVERT", tmp_path / "absent")
    with pytest.raises(SpeechError, match=r"ffmpeg cannot read `.*talk\.m4a`"):
        load(path)


@pytest.mark.parametrize("rate", [8000, 22050, 96000])
def test_stereo_of_any_rate_becomes_mono_16_khz(rate, tmp_path):
    time = np.arange(rate) / rate
    left = 0.5 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "aus Köln.wav"
    soundfile.write(path, np.stack([left, np.zeros(rate)], axis=1), rate)
    samples, got = load(path, 16000)
    assert (got, samples.shape) == (16000, (16000,))
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(samples - expected)[500:-500].max() < 2e-3


def test_file_objects_and_stdin_load(tone, tmp_path, monkeypatch):
    path = tmp_path / "tone.wav"
    save(path, tone, 16000)
    expected, _ = load(path)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(load(file)[0], expected)
    stdin = SimpleNamespace(buffer=io.BytesIO(path.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    np.testing.assert_array_equal(load("-")[0], expected)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float64])
def test_arrays_load_in_any_sample_type(dtype, tone):
    if dtype is np.float64:
        values = tone.astype(dtype)
    elif dtype is np.uint8:
        values = np.round(tone * 128 + 128).astype(dtype)
    else:
        values = np.round(tone * np.iinfo(dtype).max).astype(dtype)
    samples, rate = load((values, 16000))
    assert (samples.dtype, rate) == (np.float32, 16000)
    assert distance(samples, tone) < (0.01 if dtype is np.uint8 else 1e-4)


def test_resampling_keeps_a_tone(tone):
    there = resample(tone, 16000, 22050)
    assert len(there) == 11025
    back = resample(there, 22050, 16000)
    assert np.abs(back - tone)[200:-200].max() < 1e-3
    assert resample(tone, 16000, 16000) is not None


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_saved_audio_loads_again(suffix, tone, tmp_path):
    path = tmp_path / "deeper" / f"tone.{suffix}"
    save(path, mx.array(3.0 * tone), 16000)
    samples, rate = load(path)
    assert rate == 16000
    tolerance = 0.2 if suffix == "ogg" else 1e-4
    assert distance(samples, np.clip(3.0 * tone, -1, 1)) < tolerance
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_minutes_of_ogg_can_be_saved(tmp_path):
    path = tmp_path / "long.ogg"
    save(path, np.zeros(16000 * 180, np.float32), 16000)
    assert soundfile.info(path).frames == 16000 * 180


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent.wav", "no such audio file"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: write(folder / "a.wav", b""), "is empty"),
        (lambda folder: write(folder / "a.wav", b"RIFF" + bytes(50)), "not readable"),
        (lambda folder: write(folder / "a.txt", b"just some text"), "not readable"),
        (lambda folder: write(folder / "a.raw", bytes(99)), "raw audio"),
        (lambda folder: io.BytesIO(b""), "is empty"),
        (lambda folder: (np.zeros(0), 16000), "no samples"),
        (lambda folder: (np.array([0.0, np.nan, np.inf]), 16000), "2 samples"),
        (lambda folder: (np.zeros((2, 16000)), 16000), "transpose"),
        (lambda folder: (np.zeros(9, complex), 16000), "complex"),
    ],
)
def test_bad_sources_are_explained(make, message, tmp_path):
    with pytest.raises(SpeechError, match=message):
        load(make(tmp_path))


def test_a_file_without_samples_and_one_with_nan_are_named(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    with pytest.raises(SpeechError, match=r"none\.wav` has no samples"):
        load(tmp_path / "none.wav")
    values = np.zeros(99, np.float32)
    values[[7, 9]] = np.nan
    soundfile.write(tmp_path / "nan.wav", values, 16000, subtype="FLOAT")
    with pytest.raises(SpeechError, match=r"nan\.wav` has 2 samples .* first at 7"):
        load(tmp_path / "nan.wav")


def test_a_flac_cut_short_is_called_damaged(tmp_path):
    path = tmp_path / "cut.flac"
    noise = np.random.default_rng(0).uniform(-1, 1, 50000)
    soundfile.write(path, noise, 16000)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(SpeechError, match=r"cut\.flac` is damaged"):
        load(path)


@pytest.mark.parametrize(
    ("name", "samples", "message"),
    [
        ("a.mp5", np.zeros(9), "no format"),
        ("a.wav", np.zeros((2, 9)), "one row"),
        ("a.wav", np.array([0.0, np.nan]), "not finite"),
    ],
)
def test_what_cannot_be_saved_is_explained(name, samples, message, tmp_path):
    with pytest.raises(SpeechError, match=message):
        save(tmp_path / name, samples, 16000)
    assert not list(tmp_path.iterdir())


def test_rates_must_be_positive(tone):
    with pytest.raises(SpeechError, match="0 Hz"):
        resample(tone, 16000, 0)
