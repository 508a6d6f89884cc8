"""Numbers as English words: cardinals, ordinals, years, decimals, money, digits."""

from __future__ import annotations

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = ("thousand", "million", "billion", "trillion", "quadrillion")
ONES = tuple(_ONES.split())
TENS = ("", "", *_TENS.split())
# Beyond the named scales a number is read digit by digit.
LARGEST = 10 ** (3 * (len(_SCALES) + 1))
_MOST_DIGITS = len(str(LARGEST))

_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
# Name of one unit, of several, of its hundredth, of several hundredths.
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
}


def cardinal(number: int) -> str:
    """``1204`` -> "one thousand two hundred four"; digits from 10**18 on."""
    if number < 0:
        return f"minus {cardinal(-number)}"
    if number >= LARGEST:
        return digits(str(number))
    if number < 1000:
        return _below_thousand(number)
    words = []
    for power in range(len(_SCALES), 0, -1):
        count, number = divmod(number, 1000**power)
        if count:
            words.append(f"{_below_thousand(count)} {_SCALES[power - 1]}")
    if number:
        words.append(_below_thousand(number))
    return " ".join(words)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        words.append(TENS[rest // 10])
        rest %= 10
        if rest:
            words.append(ONES[rest])
    elif rest or not hundreds:
        words.append(ONES[rest])
    return " ".join(words)


def whole_number(text: str) -> str:
    """A written whole number, "1,204", as the words of :func:`cardinal`."""
    figures = text.replace(",", "")
    # Python refuses to turn thousands of digits into a number.
    return digits(figures) if len(figures) > _MOST_DIGITS else cardinal(int(figures))


def ordinal(number: int) -> str:
    """``23`` -> "twenty third"."""
    return ordinal_of_words(cardinal(number))


def ordinal_of_words(words: str) -> str:
    """Ordinal of a cardinal in words: "twenty three" -> "twenty third"."""
    *before, last = words.split()
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    elif last.endswith("y"):
        last = f"{last[:-1]}ieth"
    else:
        last = f"{last}th"
    return " ".join([*before, last])


def year(number: int) -> str:
    """``1984`` -> "nineteen eighty four", ``2005`` -> "two thousand five"."""
    century, rest = divmod(number, 100)
    if not 1000 <= number <= 9999 or number % 1000 < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    if rest < 10:
        return f"{cardinal(century)} oh {ONES[rest]}"
    return f"{cardinal(century)} {cardinal(rest)}"


def plural(words: str) -> str:
    """Plural of the last number word: "nineteen ninety" -> "nineteen nineties"."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith("x") else f"{words}s"


def digits(text: str) -> str:
    """``"007"`` -> "zero zero seven"; anything but a digit is left out."""
    return " ".join(ONES[int(digit)] for digit in text if digit.isdigit())


def number(text: str) -> str:
    """A written number, "1,204" or "3.14" or "007", as words."""
    whole, point, fraction = text.replace(",", "").partition(".")
    if len(whole) > 1 and whole.startswith("0"):
        words = digits(whole)
    else:
        words = whole_number(whole or "0")
    return f"{words} point {digits(fraction)}" if point and fraction else words


def money(symbol: str, amount: str, scale: str = "") -> str:
    """An amount as words.

    ``("$", "3.50")`` -> "three dollars and fifty cents", ``("£", "2", "million")`` ->
    "two million pounds".
    """
    one, several, hundredth, hundredths = CURRENCIES[symbol]
    if scale:
        return f"{number(amount)} {scale} {several}"
    whole, _, fraction = amount.replace(",", "").partition(".")
    if fraction and len(fraction) != 2:
        return f"{number(amount)} {several}"
    units, cents = whole.lstrip("0"), int(fraction or "0")
    parts = []
    if units or not cents:
        words = whole_number(units or "0")
        parts.append(f"{words} {one if units == '1' else several}")
    if cents:
        parts.append(f"{cardinal(cents)} {hundredth if cents == 1 else hundredths}")
    return " and ".join(parts)
