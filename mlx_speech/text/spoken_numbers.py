"""Numbers spelled out in English become digits, as the Whisper paper's scoring does.

Radford et al. 2022, appendix C: "twenty five dollars" and "$25" are the same word
when transcriptions are scored. The rules, quirks included ("ninth" stays, "nineth"
does not), are those of openai-whisper's number normaliser, so that error rates can be
compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

_UNITS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_THOUSANDS = (
    "thousand million billion trillion quadrillion quintillion sextillion septillion "
    "octillion nonillion decillion"
)
ZEROS = ("o", "oh", "zero")
ONES = {name: number for number, name in enumerate(_UNITS.split(), start=1)}
TENS = {name: 10 * number for number, name in enumerate(_TENS.split(), start=2)}
MULTIPLIERS = {"hundred": 100} | {
    name: 1000**power for power, name in enumerate(_THOUSANDS.split(), start=1)
}
DIGIT_WORDS = {*ONES, *TENS, *ZEROS}
SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
CURRENCIES = {
    "pound": "£",
    "pounds": "£",
    "euro": "€",
    "euros": "€",
    "dollar": "$",
    "dollars": "$",
    "cent": "¢",
    "cents": "¢",
}
REPEATS = {"double": 2, "triple": 3}
MARKS = frozenset((*SIGNS.values(), *CURRENCIES.values()))
# Longer strings of digits stay text: Python refuses to make numbers of them.
LONGEST_NUMBER = 4000

_DIGITS = re.compile(r"\d+(\.\d+)?")
_AND_A_HALF = re.compile(r"\band\s+a\s+half\b")
_DIGIT_BESIDE_LETTER = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])")
_BEFORE_SUFFIX = re.compile(r"(?<=[0-9])\s+(?=(?:st|nd|rd|th|s)\b)")
_AND_CENTS = re.compile(r"([€£$][0-9]+) (?:and )?¢([0-9]{1,2})\b")
# The reference takes any character for the decimal point.
_ONLY_CENTS = re.compile(r"[€£$]0.([0-9]{1,2})\b")
_LONE_ONE = re.compile(r"\b1(s?)\b")


def _with_endings() -> tuple[dict[str, tuple[int, str]], dict[str, tuple[int, str]]]:
    """Plurals and ordinals: of what is added to a number, of what multiplies it."""
    added = {"sixes" if n == "six" else f"{n}s": (v, "s") for n, v in ONES.items()}
    added |= {
        "zeroth": (0, "th"),
        "first": (1, "st"),
        "second": (2, "nd"),
        "third": (3, "rd"),
        "fifth": (5, "th"),
        "twelfth": (12, "th"),
    }
    for name, value in ONES.items():
        if value > 3 and value not in (5, 12):
            added[name + ("h" if name.endswith("t") else "th")] = (value, "th")
    for name, value in TENS.items():
        added[name[:-1] + "ies"] = (value, "s")
        added[name[:-1] + "ieth"] = (value, "th")
    multiplied = {f"{name}s": (value, "s") for name, value in MULTIPLIERS.items()}
    multiplied |= {f"{name}th": (value, "th") for name, value in MULTIPLIERS.items()}
    return added, multiplied


ENDED, ENDED_MULTIPLIERS = _with_endings()


def spoken_to_digits(text: str) -> str:
    """``text`` (lower case) with its numbers in digits, words separated by a space.

    "two hundred and one" becomes "201", "three point one four" "3.14", "twenty first"
    "21st", "five dollars and ten cents" "$5.10", "one oh one" "101", "ten percent"
    "10%"; a number one by itself becomes "one".
    """
    text = _DIGIT_BESIDE_LETTER.sub(" ", _halves(text))
    text = " ".join(_Reading(_BEFORE_SUFFIX.sub("", text).split()).read())
    text = _AND_CENTS.sub(lambda m: f"{m[1]}.{int(m[2]):02d}", text)
    text = _ONLY_CENTS.sub(lambda m: f"¢{int(m[1])}", text)
    return _LONE_ONE.sub(r"one\1", text)


def _halves(text: str) -> str:
    """ "and a half" after a number is "point five"."""
    *before, last = _AND_A_HALF.split(text)
    pieces = []
    for piece in filter(str.strip, before):
        number = piece.split()[-1] in DIGIT_WORDS | MULTIPLIERS.keys()
        pieces += [piece, "point five" if number else "and a half"]
    return " ".join([*pieces, last] if last.strip() else pieces)


class _Reading:
    """One pass over the words, with the number that is being put together.

    ``value`` is an int while words still add up ("twenty", then "five"), a string once
    digits are only put behind each other ("one oh", then "one"; everything with a
    decimal point), and None outside of numbers. ``mark`` goes before what is written
    next: a sign or a currency.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.written: list[str] = []
        self.value: int | str | None = None
        self.mark = ""
        self.skip = False

    def read(self) -> list[str]:
        for index, word in enumerate(self.words):
            if self.skip:
                self.skip = False
                continue
            before = self.words[index - 1] if index else ""
            after = self.words[index + 1] if index + 1 < len(self.words) else ""
            bare = word[1:] if word[0] in MARKS else word
            if _DIGITS.fullmatch(bare):
                self._digits(word, bare)
            elif word in _RULES:
                _RULES[word](self, word, before, after)
            else:
                self._plain(word)
        self._finish()
        return self.written

    def _write(self, text: str) -> None:
        self.written.append(self.mark + text)
        self.mark = ""
        self.value = None

    def _finish(self) -> None:
        if self.value is not None:
            self._write(str(self.value))

    def _plain(self, word: str) -> None:
        self._finish()
        self._write(word)

    def _digits(self, word: str, bare: str) -> None:
        if isinstance(self.value, str) and self.value.endswith("."):
            self.value += word
            return
        self._finish()
        if bare != word:
            self.mark = word[0]
        whole, _, fraction = bare.partition(".")
        if len(bare) > LONGEST_NUMBER or (fraction and int(fraction)):
            self.value = bare
        else:
            self.value = int(whole)

    def _zero(self, word: str, before: str, after: str) -> None:
        self.value = f"{self.value or ''}0"

    def _added(self, word: str, before: str, after: str) -> None:
        self.value = self._joined(ONES.get(word) or TENS[word], before)

    def _ended(self, word: str, before: str, after: str) -> None:
        number, suffix = ENDED[word]
        self._write(f"{self._joined(number, before)}{suffix}")

    def _joined(self, number: int, before: str) -> int | str:
        """The value with ``number`` added where its place is free, or put behind."""
        if self.value is None:
            return number
        if isinstance(self.value, str):
            if number < 10 and before in TENS:
                return f"{self.value[:-1]}{number}"
            return f"{self.value}{number}"
        free = self.value % (10 if number < 10 else 100) == 0
        if free and not (number < 20 and before in ONES):
            return self.value + number
        return f"{self.value}{number}"

    def _multiplied(self, word: str, before: str, after: str) -> None:
        factor = MULTIPLIERS[word]
        product = self._product(factor, zero_too=True)
        if product is None:
            self._finish()
        self.value = factor if product is None else product

    def _ended_multiplier(self, word: str, before: str, after: str) -> None:
        factor, suffix = ENDED_MULTIPLIERS[word]
        product = self._product(factor, zero_too=False)
        if product is None:
            self._finish()
        self._write(f"{factor if product is None else product}{suffix}")

    def _product(self, factor: int, zero_too: bool) -> int | None:
        """The value times ``factor``, or None where there is none that is whole."""
        if self.value is None:
            return None
        if isinstance(self.value, str) or (zero_too and self.value == 0):
            if len(str(self.value)) > LONGEST_NUMBER:
                return None
            try:
                product = Fraction(self.value) * factor
            except ValueError:  # "1.2." of an address
                return None
            return product.numerator if product.denominator == 1 else None
        thousands, rest = divmod(self.value, 1000)
        return 1000 * thousands + rest * factor

    def _sign(self, word: str, before: str, after: str) -> None:
        self._finish()
        if _may_be_number(after):
            self.mark = SIGNS[word]
        else:
            self._write(word)

    def _currency(self, word: str, before: str, after: str) -> None:
        if self.value is None:
            self._write(word)
        else:
            self.mark = CURRENCIES[word]
            self._finish()

    def _percent(self, word: str, before: str, after: str) -> None:
        if self.value is not None and (word == "percent" or after == "cent"):
            self.skip = word == "per"
            self._write(f"{self.value}%")
        else:
            self._plain(word)

    def _and(self, word: str, before: str, after: str) -> None:
        if not _may_be_number(after) or before not in MULTIPLIERS:
            self._plain(word)

    def _repeat(self, word: str, before: str, after: str) -> None:
        if after in ONES or after in ZEROS:
            self.value = f"{self.value or ''}{str(ONES.get(after, 0)) * REPEATS[word]}"
            self.skip = True
        else:
            self._plain(word)

    def _point(self, word: str, before: str, after: str) -> None:
        if not _may_be_number(after):
            self._plain(word)
        elif after in DIGIT_WORDS or _DIGITS.fullmatch(after):
            self.value = f"{self.value or ''}."


def _may_be_number(word: str) -> bool:
    return word in _RULES or _DIGITS.fullmatch(word) is not None


_RULES: dict[str, Callable[[_Reading, str, str, str], None]] = {
    **dict.fromkeys(ZEROS, _Reading._zero),
    **dict.fromkeys((*ONES, *TENS), _Reading._added),
    **dict.fromkeys(ENDED, _Reading._ended),
    **dict.fromkeys(MULTIPLIERS, _Reading._multiplied),
    **dict.fromkeys(ENDED_MULTIPLIERS, _Reading._ended_multiplier),
    **dict.fromkeys(SIGNS, _Reading._sign),
    **dict.fromkeys(CURRENCIES, _Reading._currency),
    **dict.fromkeys(("per", "percent"), _Reading._percent),
    **dict.fromkeys(REPEATS, _Reading._repeat),
    "and": _Reading._and,
    "point": _Reading._point,
}
