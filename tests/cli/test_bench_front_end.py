"""`mlx-speech bench front-end`: what it prints, and when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech import models
from mlx_speech.bench import front_end
from mlx_speech.butterfly import ButterflyFFT, save_transform
from mlx_speech.writers import Transcription

Run = Callable[..., tuple[int, str, str]]
SPOKEN = Path(__file__).resolve().parents[1] / "data" / "spoken"


@pytest.fixture
def deaf_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A recogniser that hears one fixed sentence, or nothing behind a bad transform."""

    def choose(tolerance: float) -> None:
        frames = mx.random.normal((3, 400), key=mx.random.key(0))
        exact = np.fft.rfft(np.array(frames))

        def listen(samples: np.ndarray, model: Any, **options: Any) -> Transcription:
            wrong = np.array(options["rfft"](frames)) - exact
            heard = np.linalg.norm(wrong) <= tolerance * np.linalg.norm(exact)
            text = "Will it be cloudy in London on Saturday?" if heard else ""
            return Transcription(text, [], "en", 1.0)

        monkeypatch.setattr(front_end, "transcribe", listen)
        monkeypatch.setattr(models, "find_listener", lambda name: Path(name))
        monkeypatch.setattr(models, "load_listener", lambda folder: None)

    return choose


def test_the_table_has_a_row_of_ones_own(
    command: Run, deaf_to: Callable[[float], None], tmp_path: Path
) -> None:
    deaf_to(1e-4)
    path = tmp_path / "w.safetensors"
    save_transform(path, ButterflyFFT(400, init="haar", seed=5))
    given = ["bench", "front-end", SPOKEN, "--limit", "1", "--fft", path]
    code, text, err = command(*given, "--json")
    assert code == 0, err
    rows = {row["what"]: row["wer"] for row in json.loads(text)}
    assert rows == {
        front_end.MLX: 0,
        front_end.LEARNED: 0,
        front_end.CONTROL: 100,
        "w.safetensors": 100,
    }
    assert "control: not learned" in command(*given)[1]


def test_a_measurement_that_sees_no_difference_fails(
    command: Run, deaf_to: Callable[[float], None]
) -> None:
    deaf_to(1e9)
    code, _, err = command("bench", "front-end", SPOKEN, "--limit", "1")
    assert code == 1 and "the control moves it by 0.00 points only" in err


def test_what_cannot_be_measured_is_one_line(command: Run, tmp_path: Path) -> None:
    code, _, err = command("bench", "front-end", SPOKEN, "-m", tmp_path / "none")
    assert code == 1 and err.startswith("error: ")
