"""Whole recordings: segments equal openai-whisper's, fallback and prompts included."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.hub.load import load_strict
from mlx_speech.whisper import fallback as module
from mlx_speech.whisper import transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.layouts import fuse, to_hf_names
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Transcription

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GOLDEN: dict[str, Any] = json.loads(
    (GOLDENS / "whisper_transcription.json").read_text()
)


def load_recipe() -> ModuleType:
    name = "whisper_decoding_recipe"
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


RECIPE = load_recipe()


@cache
def model_of(name: str) -> Whisper:
    model = Whisper(WhisperConfig.from_dict(RECIPE.dims(name)))
    arrays = {key: mx.array(value) for key, value in RECIPE.state(name).items()}
    weights = fuse(to_hf_names(arrays, "openai"), model.config.n_audio_state)
    load_strict(model, weights, name)
    return model


def replay(steps: list[list[int]]) -> Callable[[mx.array], mx.array]:
    """Draw what openai-whisper drew for one window, at one temperature."""
    remaining = iter(steps)
    # The step that is begun before the end is known draws once more.
    return lambda logits: mx.array(next(remaining, steps[-1]))


def run(key: str, monkeypatch: pytest.MonkeyPatch) -> Transcription:
    model_name, options_name = key.split("/")
    drawn = iter(GOLDEN["cases"][key].get("drawn", []))
    decode = module.decode

    def replayed(model: Any, audio: Any, options: Any, **keywords: Any) -> Any:
        if options.temperature > 0:
            keywords["sampler"] = replay(next(drawn))
        return decode(model, audio, options, **keywords)

    monkeypatch.setattr(module, "decode", replayed)
    found = transcribe(
        model_of(model_name),
        RECIPE.recording(model_name),
        TranscriptionOptions(**RECIPE.TRANSCRIPTIONS[options_name]),
        exact=True,
    )
    assert next(drawn, None) is None, "fewer windows were drawn"
    return found


@pytest.mark.parametrize("key", list(GOLDEN["cases"]))
def test_a_recording_gives_the_same_segments(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = GOLDEN["cases"][key]
    sums: list[float] = []
    make = MelWindows.window

    def noted(self: MelWindows, start: int, frames: int) -> mx.array:
        window = make(self, start, frames)
        sums.append(float(window.sum()))
        return window

    monkeypatch.setattr(MelWindows, "window", noted)
    found = run(key, monkeypatch)
    assert found.language == golden["language"]
    if "words" in golden:
        np.testing.assert_allclose(sums, golden["mel_sums"], rtol=1e-4, atol=0.05)
        # The words of a window of one position have no numbers in openai-whisper.
        recorded = int(found.duration * 100)
        heard = [s for s in found.segments if recorded - s.seek > 3]
        rows = [row for row in golden["segments"] if recorded - row[0] > 3]
    else:
        assert found.text == golden["text"]
        heard, rows = list(found.segments), golden["segments"]
    assert len(heard) == len(rows)
    for index, (segment, row) in enumerate(zip(heard, rows, strict=True)):
        wanted = dict(zip(GOLDEN["fields"], row, strict=True))
        written = segment.to_dict()
        assert written["id"] == index
        for name in ("seek", "start", "end", "text", "tokens", "temperature"):
            assert written[name] == wanted[name], (index, name)
        assert written["compression_ratio"] == wanted["compression_ratio"]
        assert written["avg_logprob"] == pytest.approx(wanted["avg_logprob"], abs=5e-5)
        assert written["no_speech_prob"] == pytest.approx(
            wanted["no_speech_prob"], rel=1e-3
        )
        assert (not segment.tokens) == (index in golden["emptied"])
        if "words" not in golden:
            assert ("words" in written) == (index in golden["emptied"])
            continue
        for word, row in zip(written["words"], golden["words"][index], strict=True):
            *exact, probability = word.values()
            assert exact == row[:3]
            assert probability == pytest.approx(row[3], rel=1e-3, abs=1e-7)
