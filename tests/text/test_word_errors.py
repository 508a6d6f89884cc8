"""Word errors are Levenshtein's, told apart and added up."""

from __future__ import annotations

import random
from functools import cache

import pytest

from mlx_speech.text.whisper_normalizer import normalize_any_language
from mlx_speech.text.word_errors import WordErrors, count_errors, word_errors


def fewest_errors(said: tuple[str, ...], heard: tuple[str, ...]) -> tuple[int, int]:
    """Fewest errors and, with them, fewest deletions and insertions, by recursion."""

    @cache
    def best(i: int, j: int) -> tuple[int, int]:
        if i == 0 or j == 0:
            return i + j, i + j
        errors, unpaired = best(i - 1, j - 1)
        ways = [(errors + (said[i - 1] != heard[j - 1]), unpaired)]
        for errors, unpaired in (best(i - 1, j), best(i, j - 1)):
            ways.append((errors + 1, unpaired + 1))
        return min(ways)

    return best(len(said), len(heard))


def test_counts_are_those_of_the_best_alignment() -> None:
    draw = random.Random(0)
    for _ in range(300):
        said = tuple(draw.choices("abcd", k=draw.randrange(9)))
        heard = tuple(draw.choices("abcd", k=draw.randrange(9)))
        found = count_errors(said, heard)
        errors, unpaired = fewest_errors(said, heard)
        assert found.errors == errors
        assert found.deletions + found.insertions == unpaired
        assert found.deletions - found.insertions == len(said) - len(heard)
        assert found.words == len(said)


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        ("the cat sat", "the cat sat", WordErrors(0, 0, 0, 3)),
        ("the cat sat", "the hat sat", WordErrors(1, 0, 0, 3)),
        ("the cat sat", "cat sat", WordErrors(0, 1, 0, 3)),
        ("the cat sat", "the fat cat sat", WordErrors(0, 0, 1, 3)),
        ("the cat sat", "", WordErrors(0, 3, 0, 3)),
        ("", "thanks for watching", WordErrors(0, 0, 3, 0)),
        ("", "", WordErrors(0, 0, 0, 0)),
    ],
)
def test_kinds_of_errors(said: str, heard: str, expected: WordErrors) -> None:
    assert word_errors([said], [heard]) == expected


def test_the_rate_is_over_all_words_of_all_texts() -> None:
    found = word_errors(["go on and on", "stop"], ["go on on", "shop"])
    assert found == WordErrors(1, 1, 0, 5)
    assert found.rate == 2 / 5


def test_texts_are_compared_in_normal_form() -> None:
    assert word_errors(["It's twenty-five dollars."], ["it is $25"]).errors == 0
    assert word_errors(["Grüß Gott!"], ["grüß gott"], normalize_any_language).rate == 0


def test_words_where_none_were_said_are_infinitely_wrong() -> None:
    assert word_errors([""], ["you"]).rate == float("inf")
    assert word_errors([""], [""]).rate == 0.0


def test_a_missing_transcription_is_no_silent_zero() -> None:
    with pytest.raises(ValueError, match="shorter"):
        word_errors(["a", "b"], ["a"])


def test_long_transcriptions_take_a_moment() -> None:
    draw = random.Random(1)
    words = [str(draw.randrange(500)) for _ in range(4000)]
    heard = [*words[:1000], "x", *words[1002:3000], "y", "z", *words[3000:]]
    assert count_errors(words, heard) == WordErrors(1, 1, 2, 4000)
