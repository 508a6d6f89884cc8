"""Tekken against mistral-common's ids, and damaged files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.tokenizer import Tekken

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="module")
def ids() -> dict[str, list[list[int]]]:
    return json.loads((GOLDENS / "voxtral_tokens.json").read_text())


def test_text_becomes_the_ids_of_mistral_common(
    tekken: Tekken, recipe: ModuleType, ids: dict[str, list[list[int]]]
) -> None:
    assert [tekken.encode(text) for text in recipe.TEXTS] == ids["small"]


def test_ids_become_the_text_again(tekken: Tekken, recipe: ModuleType) -> None:
    for text in recipe.TEXTS:
        assert tekken.decode(tekken.encode(text)) == text


@pytest.mark.slow
def test_real_vocabulary_gives_the_ids_of_mistral_common(
    real_tekken: Tekken, recipe: ModuleType, ids: dict[str, list[list[int]]]
) -> None:
    assert [real_tekken.encode(text) for text in recipe.TEXTS] == ids["real"]
    assert real_tekken.encode("lang:en") == [9909, 1058, 1262]
    assert real_tekken.size == 131072


def test_special_tokens_leave_no_text(tekken: Tekken) -> None:
    special = [tekken.special_id(name) for name in ("<s>", "[AUDIO]", "[TRANSCRIBE]")]
    assert special == [1, 24, 34]
    euro = tekken.encode("€")
    assert tekken.decode([*special, *euro[:1], 32, *euro[1:]]) == "€"
    assert tekken.decode([tekken.size, tekken.size + 7]) == ""


def test_streamed_text_is_cut_between_characters(
    tekken: Tekken, recipe: ModuleType
) -> None:
    for text in recipe.TEXTS:
        stream = tekken.stream()
        pieces = [stream.add(token) for token in tekken.encode(text)]
        assert "".join(pieces) + stream.finish() == text
        assert "\ufffd" not in "".join(pieces)


def test_an_unfinished_character_is_marked_at_the_end(tekken: Tekken) -> None:
    first_byte = "é".encode()[0] + tekken.n_special
    stream = tekken.stream()
    assert stream.add(first_byte) == ""
    assert stream.finish() == "\ufffd" == tekken.decode([first_byte])


def test_early_files_list_no_special_tokens(recipe: ModuleType) -> None:
    content = recipe.tekken()
    del content["special_tokens"]
    tokenizer = Tekken(content)
    assert tokenizer.special_id("[/INST]") == 4
    with pytest.raises(SpeechError, match=r"no special token \[AUDIO\]"):
        tokenizer.special_id("[AUDIO]")


def test_a_folder_without_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match=r"has no tokenizer, tekken\.json"):
        Tekken.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("vocab"), "has no `config.pattern` and `vocab`"),
        (lambda c: c["config"].pop("default_vocab_size"), "default_vocab_size is None"),
        (lambda c: c["vocab"].pop(), "412 tokens of text are wanted of 411"),
        (lambda c: c["vocab"][7].update(rank=9), "entry 7 is out of order"),
        (lambda c: c["vocab"][300].update(token_bytes="?"), "entry 300 is no token"),
        (lambda c: c["vocab"][300].pop("token_bytes"), "entry 300 is no token"),
        (
            lambda c: c["vocab"][300].update(token_bytes="QQ=="),
            "token is there twice",
        ),
        (lambda c: c["special_tokens"][3].pop("rank"), "special tokens make no sense"),
        (lambda c: c["config"].update(pattern="("), "its pattern: "),
        (lambda c: c.update(audio=[80]), "its `audio` is no object"),
    ],
)
def test_damaged_files_are_refused(
    recipe: ModuleType, damage: Callable[[Any], Any], message: str, tmp_path: Path
) -> None:
    content = copy.deepcopy(recipe.tekken())
    damage(content)
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    with pytest.raises(SpeechError, match=message):
        Tekken.from_folder(tmp_path)
