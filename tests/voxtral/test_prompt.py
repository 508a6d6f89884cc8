"""Prompts against those of transformers' processor, and requests that make none."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.config import VoxtralConfig
from mlx_speech.voxtral.prompt import (
    Turn,
    conversation_prompt,
    language_code,
    transcription_prompt,
)
from mlx_speech.voxtral.tokenizer import Tekken

Turns = Callable[[str], list[Turn]]
SECOND = np.zeros(16000, np.float32)


@pytest.fixture(scope="module")
def config(recipe: ModuleType) -> VoxtralConfig:
    return VoxtralConfig.from_dict(recipe.hf_config())


def all_prompts(
    recipe: ModuleType, tokenizer: Tekken, config: VoxtralConfig, turns: Turns
) -> dict[str, list[int]]:
    requests = [
        *recipe.TRANSCRIPTIONS,
        *(("short", code) for code in recipe.LANGUAGES),
    ]
    found = {
        f"{name} {language}": transcription_prompt(
            tokenizer, config, recipe.clip(name), language
        ).tokens
        for name, language in requests
    }
    for name in recipe.CONVERSATIONS:
        found[name] = conversation_prompt(tokenizer, config, turns(name)).tokens
    return found


def test_prompts_equal_those_of_transformers(
    recipe: ModuleType,
    tekken: Tekken,
    config: VoxtralConfig,
    turns: Turns,
    expected: dict[str, Any],
    long: Callable[[list[Any]], list[int]],
) -> None:
    golden = {name: long(ids) for name, ids in expected["prompts"].items()}
    assert all_prompts(recipe, tekken, config, turns) == golden


@pytest.mark.slow
def test_prompts_of_the_real_vocabulary_equal_those_of_transformers(
    recipe: ModuleType,
    real_tekken: Tekken,
    config: VoxtralConfig,
    turns: Turns,
    expected: dict[str, Any],
    long: Callable[[list[Any]], list[int]],
) -> None:
    golden = {name: long(ids) for name, ids in expected["real_prompts"].items()}
    assert all_prompts(recipe, real_tekken, config, turns) == golden


def test_golden_ids_of_the_real_vocabulary_are_the_published_ones(
    expected: dict[str, Any],
) -> None:
    """What other programs have written into their source for English and French."""
    real = expected["real_prompts"]
    head = [1, 3, 25, [24, 375], 4]
    assert real["short en"] == [*head, 9909, 1058, 1262, 34]
    assert real["short fr"] == [*head, 9909, 1058, 7064, 34]
    assert real["short None"] == [*head, 34]


def test_languages_have_codes_and_names() -> None:
    assert language_code("German") == language_code(" de ") == "de"


def test_an_unknown_language_is_refused(tekken: Tekken, config: VoxtralConfig) -> None:
    with pytest.raises(SpeechError, match="does not know the language 'tlh'"):
        transcription_prompt(tekken, config, SECOND, "tlh")


def test_too_long_recordings_are_refused(tekken: Tekken, config: VoxtralConfig) -> None:
    limit = np.zeros(30 * 60 * 16000 + 16000, np.float32)
    with pytest.raises(SpeechError, match=r"30\.0 minutes are too long for one prompt"):
        transcription_prompt(tekken, config, limit)
    half = np.zeros(21 * 60 * 16000, np.float32)
    two = [Turn("user", [half, half, "Which is louder?"])]
    with pytest.raises(SpeechError, match="can talk about 40 minutes"):
        conversation_prompt(tekken, config, two)
    assert conversation_prompt(tekken, config, [Turn("user", [half])]).seconds == 1260


def test_empty_recordings_are_refused(tekken: Tekken, config: VoxtralConfig) -> None:
    with pytest.raises(SpeechError, match=r"has the shape \[0\]"):
        transcription_prompt(tekken, config, np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "begins with the system's prompt"),
        ([Turn("system", ["Be brief."])], "begins with the system's prompt"),
        ([Turn("assistant", ["Hm."]), Turn("user", ["?"])], "begins with the system's"),
        (
            [Turn("user", ["a"]), Turn("system", ["b"]), Turn("user", ["c"])],
            "begins with the system's prompt",
        ),
        ([Turn("user", ["a"]), Turn("assistant", ["b"])], "the assistant spoke last"),
        ([Turn("tool", ["a"])], "nobody in a conversation is called 'tool'"),
        (
            [Turn("system", ["Be brief."]), Turn("user", [SECOND, "What is it?"])],
            "a system prompt beside recordings",
        ),
    ],
)
def test_impossible_conversations_are_refused(
    tekken: Tekken, config: VoxtralConfig, turns: list[Turn], message: str
) -> None:
    with pytest.raises(SpeechError, match=message):
        conversation_prompt(tekken, config, turns)


def test_another_models_tokenizer_is_refused(
    recipe: ModuleType, config: VoxtralConfig
) -> None:
    content = recipe.tekken()
    content["special_tokens"][24]["token_str"] = "<SPECIAL_24>"
    content["special_tokens"][50]["token_str"] = "[AUDIO]"
    with pytest.raises(SpeechError, match="audio is token 50 of the tokenizer and"):
        transcription_prompt(Tekken(content), config, SECOND)
