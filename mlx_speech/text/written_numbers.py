"""Everything in a text that is written with digits, turned into words.

Each function rewrites one written form; ``STEPS`` holds them in the order that
matters: a date before a year, a time before a ratio, a decade before a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mlx_speech.text import numbers
from mlx_speech.text.abbreviations import COUNTED, MONTHS, UNITS

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d*\.\d+|\d+)"
_MONTH = f"({'|'.join(MONTHS)})"
_YEAR = r"(\d{4})(?!\d)"
_FRACTIONS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))


def _dates(text: str) -> str:
    """``2021-03-05``, ``3/5/2021`` (month first), ``March 5, 2021``, ``5 March``."""

    def spoken(month: int, day: int, year: str) -> str:
        return f"{MONTHS[month - 1]} {numbers.ordinal(day)}, {_year(year)}"

    def iso(match: re.Match[str]) -> str:
        return spoken(int(match[2]), int(match[3]), match[1])

    def american(match: re.Match[str]) -> str:
        return spoken(int(match[1]), int(match[2]), match[3])

    def month_first(match: re.Match[str]) -> str:
        year = f", {_year(match[3])}" if match[3] else ""
        return f"{match[1]} {numbers.ordinal(int(match[2]))}{year}"

    def day_first(match: re.Match[str]) -> str:
        return f"{numbers.ordinal(int(match[1]))} of {match[2]}"

    month, day = "(1[0-2]|0?[1-9])", "(3[01]|[12][0-9]|0?[1-9])"
    text = re.sub(rf"\b{_YEAR}-{month}-{day}\b", iso, text)
    text = re.sub(rf"\b{month}/{day}/{_YEAR}", american, text)
    text = re.sub(rf"\b{day}(?:st|nd|rd|th)? {_MONTH}\b", day_first, text, flags=re.I)
    return re.sub(
        rf"\b{_MONTH} {day}(?:st|nd|rd|th)?\b(?![.:,]?\d)(?:,? {_YEAR})?",
        month_first,
        text,
        flags=re.IGNORECASE,
    )


def times(text: str) -> str:
    """``3:45``, ``10:05 pm``, ``7 a.m.``; goes before abbreviations are read."""

    def spoken(match: re.Match[str]) -> str:
        hour, minute, half = int(match[1]), match[2], (match[3] or "").lower()
        words = numbers.cardinal(hour)
        if minute and minute != "00":
            lead = "oh " if minute[0] == "0" else ""
            words += f" {lead}{numbers.cardinal(int(minute))}"
        elif not half:
            words += " o'clock" if 0 < hour <= 12 else " hundred hours"
        return f"{words} {'ay' if half == 'a' else 'p'} m" if half else words

    # The full stop of "p.m." stays where it also ends the sentence.
    half = r"\s?([apAP])\.?[mM]\b(?:\.(?!\W*$|\s+[A-Z]))?"
    text = re.sub(rf"\b([01]?\d|2[0-3]):([0-5]\d)\b(?!:)(?:{half})?", spoken, text)
    # The empty second group keeps the numbering of the first form.
    return re.sub(rf"\b(1[0-2]|[1-9])(){half}", spoken, text)


def _money(text: str) -> str:
    """``$5``, ``£1,200.50``, ``€2.5 million``."""
    scale = r"(?: (thousand|million|billion|trillion)\b)?"
    return re.sub(
        rf"([$£€¥])\s?({_NUMBER}){scale}",
        lambda m: numbers.money(m[1], m[2], m[3] or ""),
        text,
    )


def _decades(text: str) -> str:
    """``1990s``, ``'80s``."""

    def spoken(match: re.Match[str]) -> str:
        value = match[1]
        words = numbers.cardinal(int(value)) if len(value) == 2 else _year(value)
        return numbers.plural(words)

    return re.sub(r"'?\b(\d{3}0|[2-9]0)'?s\b", spoken, text)


def _ordinals(text: str) -> str:
    """``1st``, ``22nd``, ``3rd``, ``1,000th``."""
    return re.sub(
        r"\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b",
        lambda m: numbers.ordinal_of_words(numbers.whole_number(m[1])),
        text,
        flags=re.IGNORECASE,
    )


def _units(text: str) -> str:
    """``5 km``, ``1 kg``, ``60mph``, ``-3°C``."""

    def spoken(match: re.Match[str]) -> str:
        one, several = UNITS[match[3]]
        minus = "minus " if match[1] else ""
        return (
            f"{minus}{numbers.number(match[2])} {one if match[2] == '1' else several}"
        )

    return re.sub(rf"(?<![\w.])(-?)({_NUMBER})\s?({_UNIT})(?![\w'°])", spoken, text)


def _fractions(text: str) -> str:
    """``1/2``, ``2 3/4``; a denominator above 20 is read as "over"."""

    def spoken(match: re.Match[str]) -> str:
        top, bottom = int(match[2]), int(match[3])
        whole = f"{numbers.whole_number(match[1])} and " if match[1] else ""
        if not 2 <= bottom <= 20:
            return f"{whole}{numbers.cardinal(top)} over {numbers.cardinal(bottom)}"
        one, several = _FRACTIONS.get(bottom, (numbers.ordinal(bottom),) * 2)
        if bottom not in _FRACTIONS:
            several = f"{one}s"
        if whole and top == 1:
            return f"{whole}a {one}"
        return f"{whole}{numbers.cardinal(top)} {one if top == 1 else several}"

    return re.sub(r"(?<![\d/])(?:(\d+) )?(\d{1,2})/(\d{1,3})(?![\d/])", spoken, text)


def _telephone(text: str) -> str:
    """``555-1234`` and ``212-555-1234`` digit by digit, a pause between groups."""
    return re.sub(
        r"(?<![\d-])(?:\d{3}-)?\d{3}-\d{4}(?![\d-])",
        lambda m: ", ".join(numbers.digits(group) for group in m[0].split("-")),
        text,
    )


def _ranges(text: str) -> str:
    """``5-10`` and ``1914 - 1918`` -> "five to ten"; the ends are read later."""
    return re.sub(r"(?<![\d-])(\d+) ?- ?(\d+)(?![\d-])", r"\1 to \2", text)


def _roman(text: str) -> str:
    """``Chapter IV`` -> "Chapter four", ``Henry VIII`` -> "Henry the eighth"."""

    def spoken(match: re.Match[str]) -> str:
        values = [_ROMAN_VALUES[letter] for letter in match[2]]
        following = [*values[1:], 0]
        value = sum(
            -v if v < after else v for v, after in zip(values, following, strict=True)
        )
        if match[1].lower() in COUNTED:
            return f"{match[1]} {numbers.cardinal(value)}"
        return f"{match[1]} the {numbers.ordinal(value)}"

    return re.sub(
        r"\b([A-Z][a-z]+) (X{0,3}(?:IX|IV|VI{0,3}|I{2,3})|X{2,3})\b", spoken, text
    )


def _plain(text: str) -> str:
    """What is left: years, signed numbers, decimals, digits beside letters."""

    def spoken(match: re.Match[str]) -> str:
        minus, written = match[1], match[2]
        if re.fullmatch(r"1[1-9]\d\d|20\d\d", written) and not minus:
            words = numbers.year(int(written))
        else:
            words = numbers.number(written)
        return f" {'minus ' if minus else ''}{words} "

    text = re.sub(r"#\s?(?=\d)", " number ", text)
    text = re.sub(r"(?<=\d)%", " percent", text)
    text = re.sub(rf"((?<![\w-])-)?({_NUMBER})", spoken, text)
    # The spaces that part digits from letters must not part a word from its pause.
    return re.sub(r" +(?=[,.?!;:'])", "", text)


def _year(written: str) -> str:
    return numbers.year(int(written))


STEPS: tuple[Callable[[str], str], ...] = (
    _dates,
    _money,
    _decades,
    _ordinals,
    _telephone,
    _fractions,
    _ranges,
    _units,
    _roman,
    _plain,
)
