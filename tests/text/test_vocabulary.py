"""Text to ids: both kinds of vocabulary, their errors, their saved form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.text import (
    CharacterVocabulary,
    EnglishPhonemeVocabulary,
    Vocabulary,
    vits_vocabulary,
    vocabulary_from_dict,
)
from mlx_speech.text.symbols import ARPABET_SYMBOLS, PHONEMES, VITS_SYMBOLS, intersperse

TOKENIZER_GOLDENS = Path(__file__).parents[1] / "goldens" / "vits_tokenizer.json"
# An MMS table: the blank's id belongs to a letter as well.
MMS = {"k": 0, "'": 1, "z": 2, "a": 3, "t": 4, " ": 5, "é": 6}
VOCABULARIES = [
    CharacterVocabulary(MMS, unknown="drop", language="ron", roman_only=True),
    CharacterVocabulary.from_texts(["Abc, dé"]),
    vits_vocabulary(),
    EnglishPhonemeVocabulary(),
    EnglishPhonemeVocabulary(add_blank=False),
]


def test_inventories_have_the_sizes_of_their_sources() -> None:
    assert len(PHONEMES) == len(set(PHONEMES)) == 24 + 15 * 3
    assert len(ARPABET_SYMBOLS) == len(set(ARPABET_SYMBOLS)) == 78
    assert len(VITS_SYMBOLS) == 178
    assert VITS_SYMBOLS.index("A") == 17 and VITS_SYMBOLS[-1] == "\u1d7b"


def test_blanks_stand_between_and_around() -> None:
    assert intersperse([5, 6]) == [0, 5, 0, 6, 0]
    assert intersperse([]) == [0]


def test_characters_follow_the_tokenizer_of_transformers() -> None:
    vocabulary = CharacterVocabulary(MMS, unknown="drop")
    # VitsTokenizer: lower, drop what the table lacks, strip, id 0 in between.
    assert vocabulary.encode(" Tak, Zé! ") == intersperse([4, 3, 0, 5, 2, 6])
    assert vocabulary.unknown_symbols(" Tak, Zé! ,") == [",", "!"]
    bare = CharacterVocabulary(MMS, unknown="drop", add_blank=False)
    assert bare.encode("TAK") == [4, 3, 0]


def test_capitals_in_the_table_are_kept_as_written() -> None:
    vocabulary = CharacterVocabulary({"_": 0, "A": 1, "a": 2, "b": 3}, add_blank=False)
    assert vocabulary.encode("AaB") == [1, 2, 3]


def test_without_lowercasing_a_capital_is_unknown() -> None:
    vocabulary = CharacterVocabulary({"_": 0, "a": 1}, lowercase=False)
    assert vocabulary.unknown_symbols("Aa") == ["A"]


def test_unknown_characters_are_refused_by_name() -> None:
    vocabulary = CharacterVocabulary.from_texts(["abc"])
    with pytest.raises(SpeechError, match=r"no symbol for 'x' '!' in 'axbx!'"):
        vocabulary.encode("axbx!")


def test_a_romanised_table_refuses_other_scripts() -> None:
    vocabulary = CharacterVocabulary(MMS, unknown="drop", roman_only=True)
    assert vocabulary.encode("tak!") == CharacterVocabulary(MMS).encode("tak")
    with pytest.raises(SpeechError, match="'да'") as caught:
        vocabulary.encode("да")
    assert "romanise" in caught.value.hint


def test_romanian_commas_become_cedillas() -> None:
    table = {"_": 0, "ţ": 1}
    assert CharacterVocabulary(table, language="ron").encode("ț") == [0, 1, 0]
    assert CharacterVocabulary(table).unknown_symbols("ț") == ["ț"]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_to_say_is_an_error(vocabulary: Vocabulary, text: str) -> None:
    if isinstance(vocabulary, CharacterVocabulary) and vocabulary.unknown == "refuse":
        text = ""
    with pytest.raises(SpeechError, match="can be spoken"):
        vocabulary.encode(text)


def test_the_release_gives_its_repeated_apostrophe_the_second_id() -> None:
    table = vits_vocabulary().symbols
    assert table["'"] == 176 and table["_"] == 0 and table[" "] == 16
    assert vits_vocabulary().size == 178


def test_phonemes_are_ids_with_a_final_stop() -> None:
    vocabulary = EnglishPhonemeVocabulary(add_blank=False)
    ids = vocabulary.encode("Hi there")
    assert "|".join(ARPABET_SYMBOLS[i] for i in ids) == "HH|AY1| |DH|EH1|R|."
    assert vocabulary.encode("Hi there.") == ids
    assert vocabulary.encode("Hi there!")[:-1] == ids[:-1]
    assert EnglishPhonemeVocabulary().encode("Hi there") == intersperse(ids)


def test_phonemes_list_what_english_cannot_read() -> None:
    vocabulary = EnglishPhonemeVocabulary()
    assert vocabulary.unknown_symbols("naïve 世界 ok") == ["世", "界"]
    with pytest.raises(SpeechError, match="cannot read '世' '界'"):
        vocabulary.encode("naïve 世界 ok")


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_a_saved_vocabulary_comes_back_the_same(vocabulary: Vocabulary) -> None:
    assert isinstance(vocabulary, Vocabulary)
    saved = json.loads(json.dumps(vocabulary.to_dict()))
    restored = vocabulary_from_dict(saved)
    assert restored.to_dict() == vocabulary.to_dict()
    assert restored.size == vocabulary.size
    assert restored.encode("a") == vocabulary.encode("a")
    assert max(restored.encode("a")) < restored.size


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"kind": "klingon"}, "'klingon' is not known"),
        ({}, "None is not known"),
        ({"kind": "english-phonemes", "accent": 1}, "do not fit"),
        ({"kind": "characters", "symbols": {}}, "empty"),
        ({"kind": "characters", "symbols": {"a": 0}, "unknown": "?"}, "`unknown`"),
    ],
)
def test_a_wrong_description_is_refused(description: dict, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        vocabulary_from_dict(description)


def test_ids_equal_those_of_transformers() -> None:
    goldens = json.loads(TOKENIZER_GOLDENS.read_text(encoding="utf-8"))
    for case in goldens["cases"]:
        vocabulary = CharacterVocabulary(
            goldens["symbols"],
            add_blank=case["settings"]["add_blank"],
            unknown="drop",
            language=case["settings"]["language"],
        )
        assert vocabulary.encode(case["text"]) == case["ids"], case
