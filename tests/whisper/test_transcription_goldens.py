"""Whole recordings: segments equal openai-whisper's, fallback and prompts included."""

from __future__ import annotations

import importlib.util
import json
import lzma
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.hub.load import load_strict
from mlx_speech.nn.projections import fuse
from mlx_speech.whisper import fallback as module
from mlx_speech.whisper import transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.layouts import to_hf_names
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Transcription

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GOLDEN: dict[str, Any] = json.loads(
    (GOLDENS / "whisper_transcription.json").read_text()
)
LONG: dict[str, Any] = json.loads(
    lzma.decompress((GOLDENS / "whisper_long.json.xz").read_bytes())
)
CASES: dict[str, Any] = GOLDEN["cases"] | LONG["cases"]


def load_recipe() -> ModuleType:
    name = "whisper_decoding_recipe"
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


RECIPE = load_recipe()


def options_of(key: str) -> TranscriptionOptions:
    name = key.split("/")[1]
    if key in LONG["cases"]:
        return TranscriptionOptions(**RECIPE.LONG_TRANSCRIPTIONS[name][0])
    return TranscriptionOptions(**RECIPE.TRANSCRIPTIONS[name])


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
    model_name = key.split("/")[0]
    drawn = iter(CASES[key].get("drawn", []))
    decode = module.decode

    def replayed(model: Any, audio: Any, options: Any, **keywords: Any) -> Any:
        if options.temperature > 0:
            keywords["sampler"] = replay(next(drawn))
        return decode(model, audio, options, **keywords)

    monkeypatch.setattr(module, "decode", replayed)
    found = transcribe(
        model_of(model_name),
        RECIPE.recording(model_name),
        options_of(key),
        exact=True,
    )
    assert next(drawn, None) is None, "fewer windows were drawn"
    return found


@pytest.mark.parametrize("key", list(CASES))
def test_a_recording_gives_the_same_segments(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = CASES[key]
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


def test_long_recordings_have_windows_of_several_segments() -> None:
    for key, case in LONG["cases"].items():
        seeks = [row[0] for row in case["segments"]]
        assert len(set(seeks)) > 12, key
        assert len(seeks) > len(set(seeks)), key
    likely = [
        word[3] > 0.15
        for case in LONG["cases"].values()
        for words in case.get("words", [])
        for word in words
    ]
    assert 0.1 < sum(likely) / len(likely) < 0.9
