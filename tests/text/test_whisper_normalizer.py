"""Texts are normalised as openai-whisper does it, word for word."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from mlx_speech.text.spoken_numbers import LONGEST_NUMBER, spoken_to_digits
from mlx_speech.text.whisper_normalizer import (
    _spellings,
    normalize_any_language,
    normalize_english,
)

GOLDENS = Path(__file__).parents[1] / "goldens" / "whisper_normalizer.json.xz"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    return json.loads(lzma.decompress(GOLDENS.read_bytes()))


def test_english_equals_the_reference(rows: list[list[str]]) -> None:
    assert len(rows) > 2000
    wrong = [
        (phrase, normalize_english(phrase), expected)
        for phrase, expected, _, _ in rows
        if normalize_english(phrase) != expected
    ]
    assert not wrong


def test_any_language_equals_the_reference(rows: list[list[str]]) -> None:
    for phrase, _, kept, removed in rows:
        assert normalize_any_language(phrase) == kept
        assert normalize_any_language(phrase, remove_diacritics=True) == removed


@pytest.mark.parametrize(
    ("spoken", "digits"),
    [
        ("two hundred and one", "201"),
        ("three point one four", "3.14"),
        ("twenty first", "21st"),
        ("five dollars and ten cents", "$5.10"),
        ("one oh one", "101"),
        ("double oh seven", "007"),
        ("ten per cent", "10%"),
        ("one", "one"),
        ("two and a half million", "2500000"),
        ("", ""),
    ],
)
def test_spoken_numbers_become_digits(spoken: str, digits: str) -> None:
    assert spoken_to_digits(spoken) == digits


@pytest.mark.parametrize(
    "babble",
    [
        "9" * (LONGEST_NUMBER + 500),
        "one " * 5000,
        "9" * (LONGEST_NUMBER + 500) + " million",
        "thousand " * 500,
        "zero " * 5000 + "millionth",
    ],
)
def test_a_decoder_that_babbles_digits_can_be_scored(babble: str) -> None:
    assert normalize_english(babble).strip()


def test_spellings_are_american() -> None:
    table = _spellings()
    assert len(table) == 1739
    assert table["colour"] == "color"
    assert normalize_english("The grey colour").split() == ["the", "gray", "color"]
