"""`mlx-speech transcribe --fft`: Whisper behind a learned transform."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mlx_speech.butterfly import ButterflyFFT, save_transform

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]


@pytest.fixture
def run(command: Run, whisper_folder: Path, talk: Path) -> Run:
    """Transcribe the recording with the tiny model, one try a window."""
    once = ("--temperature_increment_on_fallback", "None", "--language", "en")
    return partial(command, "transcribe", talk, "-m", whisper_folder, *once)


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talk.wav")


def test_an_exact_transform_hears_the_same_and_a_drawn_one_another_text(
    run: Run, tmp_path: Path
) -> None:
    exact, drawn = tmp_path / "exact.safetensors", tmp_path / "drawn.safetensors"
    save_transform(exact, ButterflyFFT(400, real=True))
    save_transform(drawn, ButterflyFFT(400, init="haar"))
    code, text, err = run()
    assert code == 0 and text.strip(), err
    assert run("--fft", exact) == (0, text, err)
    assert run("--fft", exact, "--exact")[1] == run("--exact")[1]
    assert run("--fft", drawn)[1] != text


def test_transforms_that_do_not_fit_are_one_line(
    run: Run, refusal: Refusal, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    assert "no file" in refusal(run("--fft", path))[0]
    save_transform(path, ButterflyFFT(512))
    assert "512 points, the spectrogram needs 400" in refusal(run("--fft", path))[0]
