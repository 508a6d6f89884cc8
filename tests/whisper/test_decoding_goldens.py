"""Decoding equals openai-whisper's, on tiny models of random weights."""

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
from mlx_speech.nn.projections import fuse
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import (
    DecodingOptions,
    DecodingResult,
    EncodedWindows,
    decode,
    detect_language,
    encode_windows,
)
from mlx_speech.whisper.layouts import to_hf_names
from mlx_speech.whisper.model import Whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GOLDEN: dict[str, Any] = json.loads((GOLDENS / "whisper_decoding.json").read_text())


def load_recipe() -> ModuleType:
    name = "whisper_decoding_recipe"
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = load_recipe()


@cache
def model_and_windows(name: str) -> tuple[Whisper, EncodedWindows]:
    """One of the recipe's models, and its windows after the encoder."""
    model = Whisper(WhisperConfig.from_dict(RECIPE.dims(name)))
    arrays = {key: mx.array(value) for key, value in RECIPE.state(name).items()}
    weights = fuse(to_hf_names(arrays, "openai"), model.config.n_audio_state)
    load_strict(model, weights, name)
    return model, encode_windows(model, mx.array(RECIPE.mel(name)))


def options_of(name: str) -> DecodingOptions:
    settings = dict(RECIPE.OPTIONS[name])
    initial = settings.pop("initial", 50)
    seconds = None if initial is None else initial * 0.02
    return DecodingOptions(max_initial_timestamp=seconds, **settings)


def replay(drawn: list[list[list[int]]]) -> Callable[[mx.array], mx.array]:
    """Draw what openai-whisper drew; ``drawn`` is [windows][steps][group]."""
    step = 0

    def sampler(logits: mx.array) -> mx.array:
        nonlocal step
        rows: list[int] = []
        for window in drawn:
            # What a window draws after its end does not count.
            rows += window[min(step, len(window) - 1)]
        step += 1
        assert logits.shape[0] == len(rows)
        return mx.array(rows)

    return sampler


def run(key: str) -> list[DecodingResult]:
    model_name, options_name = key.split("/")
    model, windows = model_and_windows(model_name)
    keywords: dict[str, Any] = {}
    if "drawn" in GOLDEN["cases"][key]:
        keywords["sampler"] = replay(GOLDEN["cases"][key]["drawn"])
    return decode(model, windows, options_of(options_name), **keywords)


@pytest.mark.parametrize("key", list(GOLDEN["cases"]))
def test_a_batch_of_windows_decodes_the_same(key: str) -> None:
    golden = GOLDEN["cases"][key]
    found = run(key)
    assert [result.tokens for result in found] == golden["tokens"]
    assert [result.text for result in found] == golden["text"]
    assert [result.language for result in found] == golden["language"]
    assert [r.compression_ratio for r in found] == golden["compression_ratio"]
    np.testing.assert_allclose(
        [result.avg_logprob for result in found], golden["avg_logprob"], atol=1e-5
    )
    np.testing.assert_allclose(
        [result.no_speech_prob for result in found],
        golden["no_speech_prob"],
        rtol=1e-4,
    )


def test_the_goldens_hold_all_sorts_of_transcripts() -> None:
    times = {name: RECIPE.FIRST_TIME[m["vocab"]] for name, m in RECIPE.MODELS.items()}
    rows = [
        (key.split("/")[0], tokens)
        for key, case in GOLDEN["cases"].items()
        for tokens in case["tokens"]
    ]
    segments = [sum(t >= times[model] for t in tokens) for model, tokens in rows]
    text = [sum(t < times[model] for t in tokens) for model, tokens in rows]
    assert len({len(tokens) for _, tokens in rows}) > 10
    assert sum(count > 3 for count in segments) > 20
    assert sum(count > 3 for count in text) > 50


@pytest.mark.parametrize("name", list(GOLDEN["languages"]))
def test_language_probabilities(name: str) -> None:
    model, windows = model_and_windows(name)
    found = detect_language(model, windows)
    for row, golden in zip(found, GOLDEN["languages"][name], strict=True):
        assert sorted(row) == list(golden)
        np.testing.assert_allclose(
            [row[code] for code in golden], list(golden.values()), rtol=1e-4, atol=1e-7
        )
        assert sum(row.values()) == pytest.approx(1, abs=1e-5)
        assert max(row, key=row.__getitem__) == max(golden, key=golden.__getitem__)
