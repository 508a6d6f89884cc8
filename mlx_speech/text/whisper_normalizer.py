"""The text normalisers of the Whisper paper, for scoring transcriptions.

Radford et al. 2022, appendix C. Two transcriptions that differ only in case,
punctuation, contractions, British or American spelling, or in how numbers are written
become the same words. The results equal those of openai-whisper's
``EnglishTextNormalizer`` and ``BasicTextNormalizer``; its table of spellings is bundled
(MIT licence, ``data/WHISPER-LICENSE.txt``).
"""

from __future__ import annotations

import json
import lzma
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from mlx_speech.text.spoken_numbers import spoken_to_digits

SPELLINGS_FILE = Path(__file__).parent / "data" / "spellings.xz"

# Letters that Unicode does not take apart into a base letter and a mark.
_LETTERS = {
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "æ": "ae",
    "Æ": "AE",
    "ß": "ss",
    "ẞ": "SS",
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "th",
    "ł": "l",
    "Ł": "L",
}
_WORDS = {
    "won't": "will not",
    "can't": "can not",
    "let's": "let us",
    "ain't": "aint",
    "y'all": "you all",
    "wanna": "want to",
    "gotta": "got to",
    "gonna": "going to",
    "i'ma": "i am going to",
    "imma": "i am going to",
    "woulda": "would have",
    "coulda": "could have",
    "shoulda": "should have",
    "ma'am": "madam",
}
_TITLES = {
    "mr": "mister",
    "mrs": "missus",
    "st": "saint",
    "dr": "doctor",
    "prof": "professor",
    "capt": "captain",
    "gov": "governor",
    "ald": "alderman",
    "gen": "general",
    "sen": "senator",
    "rep": "representative",
    "pres": "president",
    "rev": "reverend",
    "hon": "honorable",
    "asst": "assistant",
    "assoc": "associate",
    "lt": "lieutenant",
    "col": "colonel",
    "jr": "junior",
    "sr": "senior",
    "esq": "esquire",
}
# In this order: what a participle decides comes before the general case.
_ENDINGS = {
    "'d been": " had been",
    "'s been": " has been",
    "'d gone": " had gone",
    "'s gone": " has gone",
    "'d done": " had done",
    "'s got": " has got",
    "n't": " not",
    "'re": " are",
    "'s": " is",
    "'d": " would",
    "'ll": " will",
    "'t": " not",
    "'ve": " have",
    "'m": " am",
}
_EXPANSIONS = [
    *((re.compile(rf"\b{word}\b"), text) for word, text in _WORDS.items()),
    *((re.compile(rf"\b{word}\b"), f"{text} ") for word, text in _TITLES.items()),
    *((re.compile(rf"{ending}\b"), text) for ending, text in _ENDINGS.items()),
]
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_HESITATIONS = re.compile(r"\b(?:hmm|mm|mhm|mmm|uh|um)\b")
_SPACE_BEFORE_APOSTROPHE = re.compile(r"\s+'")
# Not by looking around: of "1,2,3" the reference joins the first two only.
_COMMA_IN_NUMBER = re.compile(r"(\d),(\d)")
_FULL_STOP = re.compile(r"\.([^0-9]|$)")
_MARK_WITHOUT_NUMBER = re.compile(r"[.$¢€£]([^0-9])")
_PERCENT_WITHOUT_NUMBER = re.compile(r"([^0-9])%")
_SPACES = re.compile(r"\s+")
KEPT_IN_NUMBERS = ".%$¢€£"


def normalize_english(text: str) -> str:
    """English text as it is compared: lower case, words separated by one space.

    A space may be left at either end, as the reference leaves it.
    """
    text = _HESITATIONS.sub("", _without_brackets(text.lower()))
    text = _SPACE_BEFORE_APOSTROPHE.sub("'", text)
    for pattern, replacement in _EXPANSIONS:
        text = pattern.sub(replacement, text)
    text = _COMMA_IN_NUMBER.sub(r"\1\2", text)
    text = _FULL_STOP.sub(r" \1", text)
    text = _without_diacritics(text, KEPT_IN_NUMBERS)
    text = spoken_to_digits(text)
    spellings = _spellings()
    text = " ".join(spellings.get(word, word) for word in text.split())
    text = _MARK_WITHOUT_NUMBER.sub(r" \1", text)
    text = _PERCENT_WITHOUT_NUMBER.sub(r"\1 ", text)
    return _SPACES.sub(" ", text)


def normalize_any_language(text: str, remove_diacritics: bool = False) -> str:
    """Text of any language as it is compared: lower case, without punctuation.

    Args:
        text: what was said.
        remove_diacritics: take accents away, and write a few letters as others.

    Returns:
        Words separated by one space; a space may be left at either end.
    """
    text = _without_brackets(text.lower())
    if remove_diacritics:
        text = _without_diacritics(text, "")
    else:
        text = "".join(
            " " if unicodedata.category(c)[0] in "MSP" else c
            for c in unicodedata.normalize("NFKC", text)
        )
    return _SPACES.sub(" ", text.lower())


def _without_brackets(text: str) -> str:
    return _PARENTHESES.sub("", _BRACKETED.sub("", text))


def _without_diacritics(text: str, kept: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c if c in kept else _plain_letter(c) for c in decomposed)


@lru_cache(maxsize=4096)
def _plain_letter(character: str) -> str:
    if character in _LETTERS:
        return _LETTERS[character]
    category = unicodedata.category(character)
    if category == "Mn":
        return ""
    return " " if category[0] in "MSP" else character


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    return json.loads(lzma.decompress(SPELLINGS_FILE.read_bytes()))
