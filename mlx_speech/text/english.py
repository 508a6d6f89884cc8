"""English text to ARPAbet phonemes.

Words come from the bundled dictionary; a regular ending (plural, past, possessive,
-ing, -ly ...) is taken off a word that is not listed and put back on the phonemes of
its stem; a compound of two listed words is read as the two; what remains is read by
the letter rules. Text in braces is taken as phonemes: ``{T AH0 M EY1 T OW0}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from mlx_speech.errors import SpeechError
from mlx_speech.text.letter_rules import pronounce_by_rule
from mlx_speech.text.lexicon import look_up
from mlx_speech.text.normalize import normalize
from mlx_speech.text.symbols import PAUSES, PHONEMES, STRESSED_VOWELS, WORD_BOUNDARY

_TOKEN = re.compile(r"\{[^{}]*\}|'?[a-z][a-z']*|[,.?!;:-]")
_SIBILANTS = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
_VOICELESS = frozenset(("P", "T", "K", "F", "TH", "S", "SH", "CH"))
_PHONEMES = frozenset(PHONEMES)
_VOWELS = frozenset(STRESSED_VOWELS)
_SHORTEST_PART = 3


def phonemize(text: str) -> list[str]:
    """Turn English ``text`` into symbols of ``ARPABET_SYMBOLS``.

    Words are separated by the word boundary; a pause mark follows its word directly.
    Characters that no rule can read are left out (``unspeakable`` lists them).

    Raises:
        SpeechError: braces hold something that is not ARPAbet.
    """
    tokens = _TOKEN.findall(normalize(text))
    symbols: list[str] = []
    for i, token in enumerate(tokens):
        if token in PAUSES:
            # A pause needs something before it, and the first mark of a run wins.
            if symbols and symbols[-1] not in PAUSES:
                symbols.append(token)
            continue
        phonemes = _token_phonemes(token, tokens[i + 1] if i + 1 < len(tokens) else "")
        if not phonemes:
            continue
        if symbols:
            symbols.append(WORD_BOUNDARY)
        symbols.extend(phonemes)
    return symbols


def pronounce(word: str) -> tuple[str, ...]:
    """ARPAbet phonemes of one lower-case ``word`` of a to z and apostrophes."""
    return _listed_or_derived(word) or pronounce_by_rule(word.replace("'", ""))


def _token_phonemes(token: str, following: str) -> tuple[str, ...]:
    if token.startswith("{"):
        return _inline_phonemes(token)
    if token == "the" and following.isalpha():
        # Speakers say "thee" before a vowel; the dictionary lists one form only.
        vowel = pronounce(following)[:1] and pronounce(following)[0] in _VOWELS
        return ("DH", "IY0") if vowel else ("DH", "AH0")
    return pronounce(token)


def _inline_phonemes(token: str) -> tuple[str, ...]:
    phonemes = tuple(token.strip("{}").upper().split())
    foreign = [phoneme for phoneme in phonemes if phoneme not in _PHONEMES]
    if foreign:
        raise SpeechError(
            f"{' '.join(foreign)} in {token} is not an ARPAbet phoneme",
            "write phonemes as the CMU dictionary does, such as {HH AH0 L OW1}",
        )
    return phonemes


@lru_cache(maxsize=65536)
def _listed_or_derived(word: str) -> tuple[str, ...] | None:
    listed = look_up(word)
    if listed is None and word != word.strip("'"):
        listed = look_up(word.strip("'"))
    return listed or _inflected(word) or _compound(word)


def _inflected(word: str) -> tuple[str, ...] | None:
    """Phonemes of ``word`` as a listed stem and a regular ending."""
    for ending, attach in _ENDINGS:
        if not word.endswith(ending) or len(word) - len(ending) < _SHORTEST_PART:
            continue
        for stem in _stems(word, ending):
            phonemes = look_up(stem)
            if phonemes is not None:
                return attach(phonemes)
    return None


def _stems(word: str, ending: str) -> list[str]:
    """Spellings that ``word`` may have had before ``ending`` was added."""
    stem = word[: -len(ending)]
    stems = [stem]
    if ending in ("es", "ed", "er", "est") and stem.endswith("i"):
        stems.append(stem[:-1] + "y")
    if ending in ("ed", "ing", "er", "ers", "est"):
        stems.append(stem + "e")
        if len(stem) > _SHORTEST_PART and stem[-1] == stem[-2]:
            stems.append(stem[:-1])
    if ending in ("ly", "ness") and stem.endswith("i"):
        stems.append(stem[:-1] + "y")
    return stems


def _plural(stem: tuple[str, ...]) -> tuple[str, ...]:
    if stem[-1] in _SIBILANTS:
        return (*stem, "AH0", "Z")
    return (*stem, "S" if stem[-1] in _VOICELESS else "Z")


def _past(stem: tuple[str, ...]) -> tuple[str, ...]:
    if stem[-1] in ("T", "D"):
        return (*stem, "AH0", "D")
    return (*stem, "T" if stem[-1] in _VOICELESS else "D")


def _adverb(stem: tuple[str, ...]) -> tuple[str, ...]:
    # "full" and "fully" share their l.
    return (*stem[:-1], "L", "IY0") if stem[-1] == "L" else (*stem, "L", "IY0")


def _adding(*phonemes: str) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    return lambda stem: (*stem, *phonemes)


# Longest first, so that "ers" is tried before "s".
_ENDINGS: tuple[tuple[str, Callable[[tuple[str, ...]], tuple[str, ...]]], ...] = (
    ("ness", _adding("N", "AH0", "S")),
    ("less", _adding("L", "AH0", "S")),
    ("ment", _adding("M", "AH0", "N", "T")),
    ("ing", _adding("IH0", "NG")),
    ("ers", _adding("ER0", "Z")),
    ("est", _adding("AH0", "S", "T")),
    ("ful", _adding("F", "AH0", "L")),
    ("es", _plural),
    ("ed", _past),
    ("er", _adding("ER0")),
    ("ly", _adverb),
    ("s'", _plural),
    ("'s", _plural),
    ("s", _plural),
)


def _compound(word: str) -> tuple[str, ...] | None:
    """Phonemes of two listed words written as one, the longest first part winning."""
    for cut in range(len(word) - _SHORTEST_PART, _SHORTEST_PART - 1, -1):
        first, second = look_up(word[:cut]), look_up(word[cut:])
        if first is not None and second is not None:
            return (*first, *(phoneme.replace("1", "2") for phoneme in second))
    return None
