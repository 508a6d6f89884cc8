"""What the English front end says for what is written."""

from __future__ import annotations

import random
import re

import pytest

from mlx_speech.text import numbers
from mlx_speech.text.normalize import normalize, unspeakable

WRITTEN = {
    # numbers
    "007": "zero zero seven",
    "3.14": "three point one four",
    ".5": "zero point five",
    "1,234,567": "one million two hundred thirty four thousand five hundred sixty "
    "seven",
    "-5 degrees": "minus five degrees",
    "the 22nd of 113th": "the twenty second of one hundred thirteenth",
    "pages 5-10": "pages five to ten",
    "call 555-1234": "call five five five, one two three four",
    "1/2 and 2 3/4": "one half and two and three quarters",
    "MP3": "m p three",
    # years, decades, dates
    "in 1984": "in nineteen eighty four",
    "in 1905 and 2000": "in nineteen oh five and two thousand",
    "1914\u20131918": "nineteen fourteen to nineteen eighteen",
    "the 1990s and the '80s": "the nineteen nineties and the eighties",
    "March 3, 2021": "march third, twenty twenty one",
    "on 5 May 1999": "on fifth of may nineteen ninety nine",
    "2005-12-31": "december thirty first, two thousand five",
    "3/4/1999": "march fourth, nineteen ninety nine",
    # times
    "at 3:45 pm": "at three forty five p m",
    "at 10:05": "at ten oh five",
    "at 12:00": "at twelve o'clock",
    "7 a.m. tomorrow": "seven ay m tomorrow",
    "10:00 p.m. Then": "ten p m. then",
    # money, percent, units
    "$5.50": "five dollars and fifty cents",
    "$1.01": "one dollar and one cent",
    "£1,200": "one thousand two hundred pounds",
    "€2.5 million": "two point five million euros",
    "50% off": "fifty percent off",
    "20°C, 60mph, 5 km, 1 kg": "twenty degrees celsius, sixty miles per hour, five "
    "kilometers, one kilogram",
    # abbreviations and initialisms
    "Mr. and Mrs. Hill": "mister and missus hill",
    "See Dr. Jones on St. Paul's Rd.": "see doctor jones on saint paul's road.",
    "He lives on Elm St. She does too.": "he lives on elm street. she does too.",
    "e.g. No. 5, etc.": "for example number five, et cetera.",
    "No. I think so.": "no. i think so.",
    "the U.S.A. and the UK": "the u s ay and the u k",
    "tell US": "tell u s",
    "Tell us": "tell us",
    "STOP IT NOW": "stop it now",
    "an xlsx and a GPU": "an x l s x and a g p u",
    "NASA": "nasa",
    "John F. Kennedy": "john f kennedy",
    "Henry VIII, World War II": "henry the eighth, world war two",
    # symbols, quotes, dashes, accents
    "salt & pepper @ home": "salt and pepper at home",
    "A+B": "a plus b",
    "#7": "number seven",
    "example.com": "example dot com",
    "“Café naïve” — it\u2019s…": "cafe naive - it's...",
    "well-known (and loved) -- right": "well known, and loved, - right",
    # phonemes pass untouched
    "say {T AH0  M EY1}, 2": "say {T AH0 M EY1}, two",
}


@pytest.mark.parametrize(("written", "said"), WRITTEN.items())
def test_written_forms_are_said_as_people_say_them(written: str, said: str) -> None:
    assert normalize(written) == said


def test_plain_sentences_only_lose_their_capitals() -> None:
    text = "The old clock, at noon; strikes: twelve! Who's there? No one."
    assert normalize(text) == text.lower()


def test_normalizing_twice_changes_nothing() -> None:
    for written in WRITTEN:
        once = normalize(written)
        assert normalize(once) == once


def test_any_printable_text_gives_words_and_pauses_only() -> None:
    generator = random.Random(5)
    alphabet = "".join(map(chr, range(32, 126))) + "éß½°€\u2013\u2019“\n\t"
    allowed = re.compile(r"[a-z',.?!;: -]*")
    for _ in range(400):
        text = "".join(generator.choices(alphabet, k=generator.randint(0, 30)))
        outside_braces = re.sub(r"\{[^{}]*\}", " ", normalize(text))
        assert allowed.fullmatch(outside_braces), (text, outside_braces)


def test_characters_that_nothing_reads_are_listed_once_in_order() -> None:
    assert unspeakable("héllo 世界世 a^b — “ok” 5€") == ["世", "界", "^"]


def parse(words: str) -> int:
    """An independent reading of cardinal words back to the number."""
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
    total = group = 0
    for word in words.split():
        if word in scales:
            total, group = total + group * scales[word], 0
        elif word == "hundred":
            group *= 100
        elif word in numbers.ONES:
            group += numbers.ONES.index(word)
        else:
            group += 10 * numbers.TENS.index(word)
    return total + group


def test_cardinals_read_back_as_the_same_number() -> None:
    generator = random.Random(3)
    drawn = [generator.randrange(10 ** generator.randint(1, 11)) for _ in range(500)]
    for number in [*range(130), *drawn]:
        assert parse(numbers.cardinal(number)) == number


def test_numbers_beyond_the_scales_are_read_digit_by_digit() -> None:
    assert numbers.cardinal(10**18) == "one" + " zero" * 18


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{}", "{}"),
        ("{}th", "{} first"),
        ("${}", "{} dollars"),
        ("${}.50", "{} dollars and fifty cents"),
        ("{} km", "{} kilometers"),
        ("{} 1/2", "{} and a half"),
        ("3.{}", "three point {}"),
    ],
)
def test_more_digits_than_python_makes_a_number_of_are_read(
    written: str, said: str
) -> None:
    figures = 5000 * "1"
    spoken = " ".join(5000 * ["one"])
    if "first" in said:
        spoken = " ".join(4999 * ["one"])
    assert normalize(written.format(figures)) == said.format(spoken)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "first"),
        (12, "twelfth"),
        (20, "twentieth"),
        (45, "forty fifth"),
        (0, "zeroth"),
    ],
)
def test_ordinals(number: int, words: str) -> None:
    assert numbers.ordinal(number) == words
