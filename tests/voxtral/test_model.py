"""Voxtral 2507 against transformers: features, encoder, projector, logits, answers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.features import chunk_features
from mlx_speech.voxtral.generate import generate
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.prompt import (
    Prompt,
    Turn,
    conversation_prompt,
    transcription_prompt,
)
from mlx_speech.voxtral.tokenizer import Tekken

Relative = Callable[[Any, Any], float]
TOLERANCE = 1e-5
NO_END = -1


@pytest.fixture(scope="module")
def prompts(
    recipe: ModuleType,
    tekken: Tekken,
    tiny: Voxtral,
    turns: Callable[[str], list[Turn]],
) -> dict[str, Prompt]:
    found = {
        f"{name} {language}": transcription_prompt(
            tekken, tiny.config, recipe.clip(name) / 32768, language
        )
        for name, language in recipe.TRANSCRIPTIONS
    }
    for name in ("two audios", "text before"):
        found[name] = conversation_prompt(tekken, tiny.config, turns(name))
    return found


def read(model: Voxtral, prompt: Prompt) -> dict[str, mx.array]:
    features = mx.concatenate(
        [chunk_features(clip, model.config.audio) for clip in prompt.clips]
    )
    encoded = model.audio_tower(features)
    joined = encoded.reshape(-1, model.config.audio.intermediate_size)
    audio = model.multi_modal_projector(joined)
    embedded = model.embed(mx.array(prompt.tokens), audio)
    hidden = model.language_model(embedded, model.new_caches())
    return {
        "features": features,
        "encoder": encoded,
        "projector": audio,
        "logits": model.language_model.logits(hidden)[0],
    }


@pytest.mark.parametrize(
    "key",
    ["short None", "short en", "long fr", "longest hi", "two audios", "text before"],
)
def test_network_and_answers_equal_transformers(
    key: str,
    tiny: Voxtral,
    prompts: dict[str, Prompt],
    recipe: ModuleType,
    golden: dict[str, np.ndarray],
    expected: dict[str, Any],
    relative: Relative,
) -> None:
    for field, value in read(tiny, prompts[key]).items():
        ours = recipe.sample(field, np.array(value))
        assert relative(ours, golden[f"{key}/{field}"]) < TOLERANCE, field
    found = generate(tiny, prompts[key], recipe.GENERATED, NO_END)
    assert found.tokens == expected["tokens"][key]
    assert found.truncated


def test_quiet_second_chunks_are_clipped_by_the_loudest_moment_of_all(
    recipe: ModuleType, tiny: Voxtral
) -> None:
    samples = recipe.clip("long") / 32768
    whole = np.array(chunk_features(samples, tiny.config.audio))
    alone = np.array(chunk_features(samples[480000:], tiny.config.audio))
    assert whole.shape == (2, 3000, 128) and alone.shape == (1, 3000, 128)
    assert whole[1].min() > alone[0].min() + 0.1


def test_prompt_read_in_parts_equals_the_whole(
    tiny: Voxtral, prompts: dict[str, Prompt], relative: Relative
) -> None:
    prompt = prompts["short en"]
    audio = tiny.encode(chunk_features(prompt.clips[0], tiny.config.audio))
    embedded = tiny.embed(mx.array(prompt.tokens), audio)
    whole = tiny.prefill(embedded, tiny.new_caches())
    for step in (17, 128, 384):
        parts = tiny.prefill(embedded, tiny.new_caches(), step)
        assert relative(parts, whole) < 1e-6, step


def test_chunks_are_encoded_by_themselves(
    tiny: Voxtral, prompts: dict[str, Prompt], relative: Relative
) -> None:
    features = chunk_features(prompts["long fr"].clips[0], tiny.config.audio)
    together = tiny.encode(features)
    apart = mx.concatenate([tiny.encode(features[i : i + 1]) for i in range(2)])
    assert relative(together, apart) < 1e-6


def test_the_answer_ends_at_its_end(
    tiny: Voxtral, prompts: dict[str, Prompt], expected: dict[str, Any]
) -> None:
    prompt, tokens = prompts["short en"], expected["tokens"]["short en"]
    end = tokens[7]
    assert end not in tokens[:7]
    heard: list[int] = []
    found = generate(tiny, prompt, 12, end, on_token=heard.append)
    assert found.tokens == heard == tokens[:7]
    assert not found.truncated
    # An end that comes right after the last token that is allowed is an end.
    assert not generate(tiny, prompt, 7, end).truncated
    assert generate(tiny, prompt, 6, end).truncated


def test_more_tokens_than_the_model_holds_are_refused(
    tiny: Voxtral, prompts: dict[str, Prompt]
) -> None:
    with pytest.raises(SpeechError, match="are more than the 4096"):
        generate(tiny, prompts["short en"], 4000, NO_END)


def test_tokens_of_audio_must_have_their_audio(tiny: Voxtral) -> None:
    with pytest.raises(SpeechError, match="2 tokens of audio and the audio makes 0"):
        tiny.embed(mx.array([1, 24, 24]), None)
    with pytest.raises(SpeechError, match=r"chunks \[chunks, 3000, bands\]"):
        tiny.encode(mx.zeros((1, 2998, 128)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tiny: Voxtral, value: float) -> None:
    samples = np.zeros(1000, np.float32)
    samples[500] = value
    with pytest.raises(SpeechError, match="no numbers"):
        chunk_features(samples, tiny.config.audio)
