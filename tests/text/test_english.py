"""English words to phonemes: dictionary, endings, compounds, letter rules."""

from __future__ import annotations

import lzma
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.text.english import phonemize, pronounce
from mlx_speech.text.ipa import english_to_ipa
from mlx_speech.text.letter_rules import pronounce_by_rule
from mlx_speech.text.lexicon import LEXICON_FILE, look_up
from mlx_speech.text.pack_lexicon import pack
from mlx_speech.text.symbols import ARPABET_SYMBOLS, PHONEMES, VITS_SYMBOLS


@pytest.fixture(scope="module")
def listed_words() -> list[str]:
    lines = lzma.decompress(LEXICON_FILE.read_bytes()).decode("ascii").split("\n")
    return [line.split(" ")[0] for line in lines]


def test_words_and_pauses_become_phonemes() -> None:
    joined = "|".join(phonemize("Hello, the world!"))
    assert joined == "HH|AH0|L|OW1|,| |DH|AH0| |W|ER1|L|D|!"


def test_the_is_said_differently_before_a_vowel() -> None:
    assert phonemize("the apple")[:2] == ["DH", "IY0"]
    assert phonemize("the pear")[:2] == ["DH", "AH0"]
    # The spelling starts with a vowel, the sound does not.
    assert phonemize("the unit")[:2] == ["DH", "AH0"]


@pytest.mark.parametrize(
    ("word", "phonemes"),
    [
        # None of these is listed; their stems are.
        ("birches", "B ER1 CH AH0 Z"),
        ("chirped", "CH ER1 P T"),
        ("waddled", "W AA1 D AH0 L D"),
        ("hummed", "HH AH1 M D"),
        ("brushwood", "B R AH1 SH W UH2 D"),
        ("blacksmith's", "B L AE1 K S M IH2 TH S"),
    ],
)
def test_endings_and_compounds_follow_their_stems(
    word: str, phonemes: str, read_by_rule: Callable[[str], list[str]]
) -> None:
    assert look_up(word) is None
    assert " ".join(pronounce(word)) == phonemes
    assert read_by_rule(word) == []


def test_words_that_nothing_else_explains_are_read_by_rule(
    read_by_rule: Callable[[str], list[str]],
) -> None:
    assert read_by_rule("The zorgon blickered twice.") == ["zorgon", "blickered"]
    assert set(pronounce("zorgon")) <= set(PHONEMES)


def test_rules_read_any_letters() -> None:
    generator = random.Random(2)
    for _ in range(300):
        letters = "abcdefghijklmnopqrstuvwxyz"
        word = "".join(generator.choices(letters, k=generator.randint(1, 12)))
        assert set(pronounce_by_rule(word)) <= set(PHONEMES), word


def test_rules_read_regular_words_as_the_dictionary_does() -> None:
    words = "ship train black night bake green phone singing nation"
    for word in words.split():
        assert pronounce_by_rule(word) == look_up(word), word


def distance(one: list[str], other: list[str]) -> int:
    previous = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        current = [i]
        for j, b in enumerate(other, start=1):
            substituted = previous[j - 1] + (a != b)
            current.append(min(previous[j] + 1, current[-1] + 1, substituted))
        previous = current
    return previous[-1]


def test_rules_miss_fewer_than_one_phoneme_in_five(listed_words: list[str]) -> None:
    words = [word for word in listed_words if "'" not in word and len(word) > 3]
    errors = phonemes = 0
    for word in random.Random(7).sample(words, 800):
        expected = [phoneme.rstrip("012") for phoneme in look_up(word) or ()]
        guessed = [phoneme.rstrip("012") for phoneme in pronounce_by_rule(word)]
        errors += distance(guessed, expected)
        phonemes += len(expected)
    assert errors / phonemes < 0.19


def test_phonemes_in_braces_are_taken_as_they_are() -> None:
    assert phonemize("{t ah0 m aa1 t ow0}") == ["T", "AH0", "M", "AA1", "T", "OW0"]
    with pytest.raises(SpeechError, match=r"XX in {T XX} is not an ARPAbet"):
        phonemize("a {T XX} b")


def test_a_pause_needs_a_word_before_it_and_stands_once() -> None:
    assert phonemize("... wait?! yes")[:5] == ["W", "EY1", "T", "?", " "]
    assert phonemize(" - !") == []


def test_every_listed_pronunciation_is_made_of_our_symbols(
    listed_words: list[str],
) -> None:
    assert len(listed_words) > 120_000
    for word in random.Random(1).sample(listed_words, 2000):
        phonemes = look_up(word)
        assert phonemes and set(phonemes) <= set(ARPABET_SYMBOLS)


def test_the_lexicon_is_small_and_loads_fast() -> None:
    assert LEXICON_FILE.stat().st_size < 1_000_000
    code = (
        "import time; from mlx_speech.text.lexicon import look_up;"
        "start = time.process_time(); look_up('a');"
        "print(time.process_time() - start)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert float(finished.stdout) < 0.6


def test_packing_keeps_first_pronunciations_and_drops_the_rest() -> None:
    source = "cat K AE1 T # a pet\ncat(2) K AA1 T\na.b. EY1 B\n'em AH0 M\n"
    lines = lzma.decompress(pack(source)).decode("ascii").split("\n")
    assert [line.split(" ")[0] for line in lines] == ["'em", "cat"]
    assert pack(source) == pack(source)


def test_ipa_is_written_as_espeak_writes_it() -> None:
    # As espeak-ng 1.51 prints with `-v en-us --ipa`.
    assert english_to_ipa("Hello") == "h\u0259l\u02c8o\u028a"
    assert english_to_ipa("world") == "w\u02c8\u025c\u02d0ld"
    assert english_to_ipa("jumps") == "d\u0292\u02c8\u028cmps"


def test_ipa_uses_only_symbols_of_the_release() -> None:
    every_phoneme = "{" + " ".join(PHONEMES) + "}, . ? ! ; : a - b"
    assert set(english_to_ipa(every_phoneme)) <= set(VITS_SYMBOLS)
