"""What recordings say of their length: copies that broke off, and pipes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.audio import AudioBlocks, load
from mlx_speech.audio.lengths import announced_frames
from mlx_speech.errors import SpeechError

RATE = 16000
SECONDS = 4


@pytest.fixture
def noise() -> np.ndarray:
    """Four seconds, float32, at 16 kHz."""
    draw = np.random.default_rng(0)
    return (0.1 * draw.standard_normal(SECONDS * RATE)).astype(np.float32)


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])


def forget_length(path: Path) -> None:
    """What a program does that writes a FLAC into a pipe: count no samples."""
    content = bytearray(path.read_bytes())
    field = int.from_bytes(content[18:26], "big") >> 36 << 36
    content[18:26] = field.to_bytes(8, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "AIFF", "AU", "W64", "RF64"])
def test_a_copy_that_broke_off_lacks_what_its_header_announces(
    container: str, noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "talk"
    soundfile.write(path, noise, RATE, "PCM_16", format=container)
    missing: list[float] = []
    load(path, on_missing=missing.append)
    list(AudioBlocks(path, 8000, on_missing=missing.append))
    assert missing == []
    cut(path, 0.75)
    samples, _ = load(path, on_missing=missing.append)
    list(AudioBlocks(path, 8000, on_missing=missing.append))
    assert missing == pytest.approx([1.0, 1.0], abs=0.01)
    assert len(samples) / RATE == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("tagged", [False, True])
def test_an_mp3_is_believed_where_it_counts_its_frames(
    tagged: bool, noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "talk.mp3"
    soundfile.write(path, noise, RATE)
    content = path.read_bytes()
    if tagged:  # 300 bytes of a tag, their number in seven bits a byte
        content = b"ID3\4\0\0" + bytes([0, 0, 2, 44]) + bytes(300) + content
    path.write_bytes(content)
    with soundfile.SoundFile(path) as sound:
        assert announced_frames(sound) == len(noise)
    cut(path, 0.75)
    missing: list[float] = []
    load(path, on_missing=missing.append)
    load(io.BytesIO(path.read_bytes()), on_missing=missing.append)
    assert missing == pytest.approx([1.0, 1.0], abs=0.2)
    path.write_bytes(content.replace(b"Xing", b"none").replace(b"Info", b"none"))
    with soundfile.SoundFile(path) as sound:
        assert announced_frames(sound) is None


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0x80000000, 0x7FFFF000])
def test_the_length_of_a_wav_from_a_pipe_is_not_believed(
    claim: int, noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "pipe.wav"
    soundfile.write(path, noise, RATE)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", claim)
    path.write_bytes(content)
    missing: list[float] = []
    assert len(load(path, on_missing=missing.append)[0]) == len(noise)
    assert missing == []


def test_a_flac_from_a_pipe_is_read_to_its_end(
    noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "pipe.flac"
    soundfile.write(path, noise, RATE)
    whole, _ = load(path)
    forget_length(path)
    missing: list[float] = []
    for source in (path, io.BytesIO(path.read_bytes())):
        samples, rate = load(source, on_missing=missing.append)
        assert rate == RATE
        np.testing.assert_array_equal(samples, whole)
    blocks = AudioBlocks(path, RATE, 0.3, missing.append)
    np.testing.assert_array_equal(np.concatenate(list(blocks)), whole)
    assert missing == []


def test_a_flac_from_a_pipe_that_broke_off_is_called_damaged(
    noise: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "pipe.flac"
    soundfile.write(path, noise, RATE)
    forget_length(path)
    cut(path, 0.75)
    with pytest.raises(SpeechError, match=r"pipe\.flac` is damaged"):
        load(path)
