"""Blocks of any size give the frames of the whole recording."""

from __future__ import annotations

import dataclasses
import tracemalloc

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import (
    MEL_PRESETS,
    AudioBlocks,
    MelSpec,
    load,
    log_mel,
    log_mel_peak,
    save,
    stream_log_mel,
)
from mlx_speech.errors import SpeechError


def wave(samples: int) -> np.ndarray:
    rng = np.random.default_rng(samples)
    loudness = np.linspace(0.01, 1.0, samples)
    return (0.1 * loudness * rng.standard_normal(samples)).astype(np.float32)


def cut(x: np.ndarray, size: int) -> list[np.ndarray]:
    return [x[start : start + size] for start in range(0, len(x), size)]


def joined(blocks) -> np.ndarray:
    return np.concatenate([np.asarray(block) for block in blocks])


@pytest.mark.parametrize("size", [97, 1000, 10**6])
@pytest.mark.parametrize("samples", [700, 4096, 9001])
@pytest.mark.parametrize("name", list(MEL_PRESETS))
def test_streamed_frames_equal_the_whole(name, samples, size):
    spec = MelSpec.preset(name)
    x = wave(samples)
    streamed = joined(stream_log_mel(cut(x, size), spec))
    whole = np.asarray(log_mel(mx.array(x), spec))
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=2e-5)


def test_a_hop_without_overlap_streams_too():
    spec = dataclasses.replace(
        MelSpec.preset("whisper-80"), hop_length=400, log_peak=1.0
    )
    x = wave(4003)
    streamed = joined(stream_log_mel(iter(cut(x, 77)), spec))
    np.testing.assert_allclose(streamed, log_mel(mx.array(x), spec), atol=2e-5)


def test_a_live_stream_needs_a_peak_when_the_settings_are_relative():
    spec = MelSpec.preset("whisper-80")
    x = wave(5000)
    with pytest.raises(SpeechError, match="loudest frame"):
        list(stream_log_mel(iter(cut(x, 500)), spec))
    peak = log_mel_peak(cut(x, 500), spec)
    streamed = joined(stream_log_mel(iter(cut(x, 500)), spec, peak=peak))
    np.testing.assert_allclose(streamed, log_mel(mx.array(x), spec), atol=2e-5)


def test_too_short_a_stream_is_explained():
    with pytest.raises(SpeechError, match="too short"):
        list(stream_log_mel([np.zeros(255, np.float32)], MelSpec.preset("demo-16k")))
    with pytest.raises(SpeechError, match="too short"):
        list(stream_log_mel([], MelSpec.preset("demo-16k")))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_file_blocks_equal_the_loaded_file(rate, tmp_path):
    path = tmp_path / "noise.wav"
    save(path, wave(30011), rate)
    blocks = joined(AudioBlocks(path, 16000, block_seconds=0.1))
    whole, _ = load(path, 16000)
    assert len(blocks) == len(whole)
    np.testing.assert_allclose(blocks, whole, atol=1e-4)


def test_log_mel_of_a_file_is_that_of_its_samples(tmp_path):
    path = tmp_path / "noise.flac"
    save(path, wave(20011), 16000)
    spec = MelSpec.preset("whisper-128")
    streamed = joined(stream_log_mel(AudioBlocks(path, 16000, 0.25), spec))
    whole = log_mel(mx.array(load(path)[0]), spec)
    np.testing.assert_allclose(streamed, whole, atol=2e-5)


def test_memory_does_not_grow_with_the_recording():
    spec = MelSpec.preset("voxtral-realtime")

    def peak_bytes(seconds: int) -> int:
        block = wave(16000)
        mx.reset_peak_memory()
        start = mx.get_active_memory()
        tracemalloc.start()
        for _ in stream_log_mel((block for _ in range(seconds)), spec):
            pass
        _, python_peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return python_peak + mx.get_peak_memory() - start

    peak_bytes(2)
    assert peak_bytes(40) < 1.2 * peak_bytes(4)


def test_a_bad_sample_is_named_by_its_place_in_the_file(tmp_path):
    import soundfile

    values = np.zeros(5000, np.float32)
    values[4321] = np.nan
    soundfile.write(tmp_path / "nan.wav", values, 16000, subtype="FLOAT")
    with pytest.raises(SpeechError, match="first at 4321"):
        list(AudioBlocks(tmp_path / "nan.wav", 16000, block_seconds=0.1))


def test_empty_and_missing_files_are_explained(tmp_path):
    with pytest.raises(SpeechError, match="no such audio file"):
        list(AudioBlocks(tmp_path / "absent.wav", 16000))
    with pytest.raises(SpeechError, match="not possible"):
        AudioBlocks(tmp_path / "absent.wav", 0)
