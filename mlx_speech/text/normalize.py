"""English text as it is written to words as they are said.

``normalize`` gives lower-case words of a to z and apostrophes, the pause marks
``, . ? ! ; : -`` and untouched ``{phonemes}``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from mlx_speech.text import abbreviations as short
from mlx_speech.text.lexicon import look_up
from mlx_speech.text.written_numbers import STEPS as NUMBER_STEPS
from mlx_speech.text.written_numbers import times

# By code point where a character has a twin that looks like it.
_FOLDED = {
    **dict.fromkeys("\u2018\u2019\u201b\u2032\u00b4`", "'"),
    **dict.fromkeys("“”„‟«»″", '"'),
    **dict.fromkeys("\u2013\u2014\u2015", " - "),
    **dict.fromkeys("\u2010\u2011\u2212", "-"),
    **dict.fromkeys("•·", ", "),
    **dict.fromkeys("¿¡\ufeff\u200b\u00ad™®", ""),
    "©": " copyright ",
    "…": "... ",
    "\u00d7": " times ",
    "÷": " divided by ",
    "½": " 1/2",
    "¼": " 1/4",
    "¾": " 3/4",
    # Letters that do not decompose into a plain one and an accent.
    "ß": "ss",
    "æ": "ae",
    "Æ": "Ae",
    "œ": "oe",
    "Œ": "Oe",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "ð": "th",
    "þ": "th",
    "Þ": "Th",
    "\u0131": "i",
}
_SYMBOL_WORDS = {
    "&": " and ",
    "@": " at ",
    "%": " percent ",
    "+": " plus ",
    "=": " equals ",
    "°": " degrees ",
    "#": " number ",
    "/": " slash ",
    "\\": " backslash ",
    "$": " dollars ",
    "£": " pounds ",
    "€": " euros ",
    "¥": " yen ",
    "<": " less than ",
    ">": " greater than ",
    **dict.fromkeys('_*"', " "),
    **dict.fromkeys("()[]", ", "),
}
_READABLE = frozenset("{},.?!;:-'") | frozenset(_SYMBOL_WORDS)
_LONGEST_INITIALISM = 5
_SENTENCE_END = re.compile(r"\W*$|\s+[A-Z]")


def _any_of(table: Iterable[str], following: str = "") -> re.Pattern[str]:
    """Matches every form of ``table`` that has its full stop and ``following``."""
    forms = "|".join(re.escape(f) for f in sorted(table, key=len, reverse=True))
    return re.compile(rf"(?<![\w.'])(?i:({forms}))\.{following}")


_LEADING = _any_of(short.LEADING)
_TRAILING = _any_of(short.TRAILING)
_BY_POSITION = _any_of(short.BY_POSITION)
_BEFORE_NAME = _any_of(short.BEFORE_NAME, r"\s?(?=[A-Z])")
_BEFORE_NUMBER = _any_of(short.BEFORE_NUMBER, r"\s?(?=\d)")


def normalize(text: str) -> str:
    """Write out English ``text``; characters that nothing reads are left out."""
    # Every second part is in braces.
    parts = re.split(r"(\{[^{}]*\})", text)
    parts[0::2] = [_written_out(part) for part in parts[0::2]]
    parts[1::2] = [" ".join(part.split()) for part in parts[1::2]]
    return _before_pauses(" ".join(part for part in parts if part))


def unspeakable(text: str) -> list[str]:
    """Characters of ``text`` that nothing here reads, each once, in order."""
    return [symbol for symbol in dict.fromkeys(text) if not _is_readable(symbol)]


def _is_readable(symbol: str) -> bool:
    return all(
        character in _READABLE
        or character.isspace()
        or (character.isascii() and character.isalnum())
        for character in _fold(symbol)
    )


def _written_out(text: str) -> str:
    text = _fold(text)
    for step in (times, _abbreviations, *NUMBER_STEPS, _initialisms, _symbols):
        text = step(text)
    return _only_words_and_pauses(text.lower())


def _fold(text: str) -> str:
    """Plain quotes, dashes and letters for typographic and accented ones."""
    text = "".join(_FOLDED.get(character, character) for character in text)
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _abbreviations(text: str) -> str:
    """``Mr. Bell``, ``Elm St.``, ``No. 5``; a sentence keeps its full stop."""

    def trailing(match: re.Match[str]) -> str:
        stop = "." if _SENTENCE_END.match(text_after(match)) else ""
        return short.TRAILING[match[1].lower()] + stop

    def by_position(match: re.Match[str]) -> str:
        title, place = short.BY_POSITION[match[1].lower()]
        after = text_after(match)
        follows_name = short.NAME_IN_SENTENCE.search(text_before(match))
        if re.match(r"\s+[A-Z]", after) and not follows_name:
            return title
        return place + ("." if _SENTENCE_END.match(after) else "")

    def text_after(match: re.Match[str]) -> str:
        return match.string[match.end() :]

    def text_before(match: re.Match[str]) -> str:
        return match.string[: match.start()]

    text = _LEADING.sub(lambda m: short.LEADING[m[1].lower()], text)
    text = _TRAILING.sub(trailing, text)
    text = _BY_POSITION.sub(by_position, text)
    text = _BEFORE_NAME.sub(lambda m: f"{short.BEFORE_NAME[m[1].lower()]} ", text)
    return _BEFORE_NUMBER.sub(lambda m: f"{short.BEFORE_NUMBER[m[1].lower()]} ", text)


def _initialisms(text: str) -> str:
    """``U.S.A.``, ``BBC``, ``CDs``, ``html`` letter by letter; ``NASA`` as a word."""
    shouted = text.upper() == text

    def dotted(match: re.Match[str]) -> str:
        stop = "." if _SENTENCE_END.match(match.string[match.end() :]) else ""
        return _spelled(match[0].replace(".", "")) + stop

    def capitals(match: re.Match[str]) -> str:
        letters, plural = match[1], match[2]
        word = letters.lower()
        spelled = look_up(word) is None or (letters in short.SPELLED and not shouted)
        if not spelled or (shouted and _has_vowel(word)):
            return match[0]
        return _spelled(letters) + ("'s" if plural else "")

    def consonants(match: re.Match[str]) -> str:
        return match[0] if look_up(match[0]) else _spelled(match[0])

    text = re.sub(r"\b(?:[A-Za-z]\.){2,}(?!\w)", dotted, text)
    # Initials before a name have full stops that end nothing: "John F. Kennedy".
    text = re.sub(
        r"\b(?:[A-HJ-Z]\. )+(?=[A-Z][a-z])", lambda m: m[0].replace(".", ""), text
    )
    text = re.sub(rf"\b([A-Z]{{2,{_LONGEST_INITIALISM}}})('?s)?\b", capitals, text)
    return re.sub(
        rf"\b[bcdfghjklmnpqrstvwxz]{{2,{_LONGEST_INITIALISM}}}\b", consonants, text
    )


def _has_vowel(word: str) -> bool:
    return re.search("[aeiouy]", word) is not None


def _spelled(letters: str) -> str:
    # The letter a alone would be read as the article.
    return " ".join("ay" if c == "a" else c for c in letters.lower())


def _symbols(text: str) -> str:
    text = re.sub(r"(?<=[A-Za-z])\.(?=[A-Za-z])", " dot ", text)
    text = re.sub(r"#(?=[A-Za-z])", " hashtag ", text)
    return "".join(_SYMBOL_WORDS.get(character, character) for character in text)


def _only_words_and_pauses(text: str) -> str:
    text = re.sub(r"[^a-z',.?!;:\s-]", " ", text)
    # A hyphen between spaces, or a double one, is a pause; another joins two words.
    text = re.sub(r"\s-+\s|--+", " \N{EM DASH} ", text)
    text = text.replace("-", " ").replace("\N{EM DASH}", "-")
    return " ".join(_before_pauses(text).split())


def _before_pauses(text: str) -> str:
    return re.sub(r"\s+(?=[,.?!;:])", "", text)
