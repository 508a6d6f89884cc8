"""The tokenizer gives what openai-whisper's gives, for every kind of model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.languages import LANGUAGE_CODES, LANGUAGES, language_code
from mlx_speech.whisper.tokenizer import Tokenizer

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "goldens" / "whisper_tokenizer.json").read_text()
)
SIZES = tuple(GOLDEN["models"])


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tokenizer(size: str) -> Tokenizer:
    return Tokenizer.for_size(int(size))


@pytest.fixture
def golden(size: str) -> dict[str, Any]:
    return GOLDEN["models"][size]


def test_texts_become_the_same_ids(
    tokenizer: Tokenizer, golden: dict[str, Any]
) -> None:
    for text, ids in zip(GOLDEN["texts"], golden["ids"], strict=True):
        assert tokenizer.encode(text) == ids, text


def test_ids_become_the_same_texts(
    tokenizer: Tokenizer, golden: dict[str, Any]
) -> None:
    for i, ids in enumerate(golden["pool"]):
        assert tokenizer.decode(ids) == golden["decoded"][i]
        with_times = golden["decoded_with_timestamps"][i]
        assert tokenizer.decode_with_timestamps(ids) == with_times


def test_text_survives_encoding(tokenizer: Tokenizer) -> None:
    for text in GOLDEN["texts"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_ids_and_their_names(
    tokenizer: Tokenizer, golden: dict[str, Any]
) -> None:
    for name, token in golden["special"].items():
        assert getattr(tokenizer.special, name) == token, name
    names = tokenizer.special.names()
    assert {name: names[name] for name in golden["names"]} == golden["names"]
    assert tokenizer.vocabulary.size == golden["size"]


def test_language_ids_in_order(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    assert list(tokenizer.special.languages.items()) == list(
        golden["languages"].items()
    )


def test_start_of_transcript(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    for key, (timed, untimed) in golden["sot_sequences"].items():
        language, task = key.split()
        assert tokenizer.sot_sequence(language, task) == tuple(timed)
        assert tokenizer.sot_sequence(language, task, timestamps=False) == tuple(
            untimed
        )


def test_the_language_defaults_to_english() -> None:
    tokenizer = Tokenizer.for_size(51865)
    assert tokenizer.sot_sequence() == tokenizer.sot_sequence("en")


def test_an_english_model_takes_no_language() -> None:
    tokenizer = Tokenizer.for_size(51864)
    assert tokenizer.sot_sequence("de", "translate") == (tokenizer.special.sot,)


def test_non_speech_tokens(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    assert tokenizer.non_speech_tokens == tuple(golden["non_speech"])


def test_words_are_split_the_same(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    compared = 0
    for i, (language, words, lengths) in enumerate(golden["splits"]):
        ids = golden["pool"][i % len(golden["pool"])]
        found, groups = tokenizer.split_to_word_tokens(ids, language)
        assert [token for group in groups for token in group] == ids
        if words is not None:
            assert found == words
            assert [len(group) for group in groups] == lengths
            compared += 1
    assert compared > 0.9 * len(golden["splits"])


def test_a_text_that_ends_inside_a_character_keeps_every_token() -> None:
    tokenizer = Tokenizer.for_size(51865)
    ids = tokenizer.encode(" ok 🎉")[:-1]
    for language in ("en", "ja"):
        words, groups = tokenizer.split_to_word_tokens(ids, language)
        assert [token for group in groups for token in group] == ids
        assert "".join(words).startswith(" ok")


def test_special_names_in_a_text_are_plain_text(tokenizer: Tokenizer) -> None:
    text = " say <|endoftext|> and <|0.00|>"
    ids = tokenizer.encode(text)
    assert max(ids) < tokenizer.eot
    assert tokenizer.decode(ids) == text


def test_language_names_and_codes() -> None:
    assert list(LANGUAGES.items()) == list(GOLDEN["language_names"].items())
    assert GOLDEN["language_codes"] == LANGUAGE_CODES
    assert language_code(" German ") == "de"
    assert language_code("haitian creole") == "ht"
    assert language_code("YUE") == "yue"


def test_an_unknown_language_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SpeechError, match="germen") as caught:
        language_code("germen")
    assert "german" in caught.value.hint
    with pytest.raises(SpeechError, match="klingonese"):
        Tokenizer.for_size(51865).sot_sequence("klingonese")


def test_a_language_newer_than_the_model_is_refused() -> None:
    with pytest.raises(SpeechError, match="cantonese"):
        Tokenizer.for_size(51865).language_token("cantonese")
    assert Tokenizer.for_size(51866).language_token("cantonese") == 50358


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(SpeechError, match="summarise"):
        Tokenizer.for_size(51865).sot_sequence("en", "summarise")
