"""Where text is cut before it is spoken."""

from __future__ import annotations

import random

import pytest

from mlx_speech.text.sentences import LONGEST_PIECE, split_text


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Bell met Mrs. Hill and Dr. Stone at St. Mary's church.",
        "Bring fruit, e.g. apples, i.e. the red ones, etc. and be quick.",
        "Pi is about 3.14159, and .5 is a half.",
        "It costs $4.50 at no. 5, see fig. 3 and vol. 2.",
        "J. R. R. Tolkien and John F. Kennedy were not from the U.S. Army.",
        "She met Martin Luther King Jr. Day crowds at 5 p.m. on Sunday.",
        "Gen. Lee, Prof. Green and Capt. Hook sailed to Ft. Worth.",
        '"Really?" she asked.',
        "“Stop!” he cried.",
        "Well... perhaps… not.",
        "Visit example.com or write to a.b@c.org today.",
        "1. Open the door.",
        "It weighs 5 kg. and is 6 ft. long.",
        "No full stop at all",
    ],
)
def test_one_sentence_stays_one(text: str) -> None:
    assert split_text(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four… Five.", ["One.", "Two!", "Three?", "Four…", "Five."]),
        ("hello there. how are you? fine.", ["hello there.", "how are you?", "fine."]),
        (
            '"I am here." He sat down. (It was late.) We left.',
            ['"I am here."', "He sat down.", "(It was late.)", "We left."],
        ),
        (
            "He said, “Go. Now.” Then he left.",
            ["He said, “Go.", "Now.”", "Then he left."],
        ),
        ("What?! No way!! Yes.", ["What?!", "No way!!", "Yes."]),
        (
            "We met at 5 p.m. The sun set. It was the U.S. They lived on Elm St. It "
            "was quiet.",
            [
                "We met at 5 p.m.",
                "The sun set.",
                "It was the U.S.",
                "They lived on Elm St.",
                "It was quiet.",
            ],
        ),
        (
            "Buy milk, eggs, etc. Then come home. He was born in 1984. She was not.",
            [
                "Buy milk, eggs, etc.",
                "Then come home.",
                "He was born in 1984.",
                "She was not.",
            ],
        ),
        (
            "The answer is no. Snow is 6 ft. The dog ran.",
            ["The answer is no.", "Snow is 6 ft.", "The dog ran."],
        ),
        ("A title\n\nAnd text\nover lines.", ["A title", "And text over lines."]),
        ("A title\r\n \r\nAnd text.", ["A title", "And text."]),
        ("One. 2 dogs. 'Three.' 4.", ["One.", "2 dogs.", "'Three.'", "4."]),
        ("1. Open it. 2. Close it.", ["1. Open it.", "2. Close it."]),
        ("Wait . . . what", ["Wait . . .", "what"]),
        ("一。二！三", ["一。", "二！", "三"]),  # noqa: RUF001
    ],
)
def test_sentences_are_found(text: str, expected: list[str]) -> None:
    assert split_text(text) == expected


@pytest.mark.parametrize("text", ["", " ", "\n \n\t", "...", '"', "?! … -"])
def test_nothing_to_say_is_nothing(text: str) -> None:
    assert split_text(text) == []


def test_long_sentences_are_cut_at_commas() -> None:
    clause = "a clause of some words"
    pieces = split_text(", ".join([clause] * 20) + ".", longest=60)
    assert len(pieces) == 10
    assert all(piece == f"{clause}, {clause}," for piece in pieces[:-1])
    assert pieces[-1] == f"{clause}, {clause}."


def test_long_clauses_are_cut_between_words() -> None:
    assert split_text("one two three four five", longest=9) == [
        "one two",
        "three",
        "four five",
    ]


def test_longer_words_are_cut_inside() -> None:
    assert split_text("ab " + "x" * 12 + " cd", longest=5) == [
        "ab",
        "xxxxx",
        "xxxxx",
        "xx cd",
    ]


def test_phonemes_in_braces_are_not_cut() -> None:
    text = "say {HH AH0 L OW1} and {W ER1 L D} now"
    assert split_text(text, longest=20) == ["say {HH AH0 L OW1}", "and {W ER1 L D} now"]


@pytest.mark.parametrize("longest", [7, 40, LONGEST_PIECE])
def test_nothing_is_lost_and_nothing_is_too_long(longest: int) -> None:
    generator = random.Random(longest)
    letters = "abcdeA B. Mr. ,;:!?…\"') \n\n—12 etc. 。é"
    for _ in range(200):
        text = "".join(generator.choices(letters, k=generator.randrange(400)))
        pieces = split_text(text, longest)
        assert all(0 < len(piece) <= longest for piece in pieces)
        assert all(piece == piece.strip() for piece in pieces)
        kept = "".join("".join(pieces).split())
        for mark in "abcdeéABMretc12":
            assert kept.count(mark) == text.count(mark)


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Bell said, no. It was 5 p.m. then. ",
        "words with no full stop ",
        "Mr. ",
        "{ HH ",
        "word",
    ],
)
def test_a_book_is_cut_in_linear_time(text: str) -> None:
    pieces = split_text(text * (1_000_000 // len(text)))
    assert len("".join("".join(pieces).split())) > 500_000
