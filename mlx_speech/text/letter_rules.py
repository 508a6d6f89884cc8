"""English spelling to ARPAbet by rule, for words that no dictionary lists.

Our own ordered table: at each position the first rule whose spelling and
surroundings match gives the phonemes and moves on. It has the form of the classic
letter-to-sound systems (Elovitz et al. 1976, "Letter-to-sound rules for automatic
translation of English text to phonetics"), written anew. Stress follows from the
ending and the number of syllables; vowels without stress are then reduced.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mlx_speech.text.symbols import VOWELS

_TABLE_FILE = Path(__file__).parent / "data" / "letter_rules.txt"

_CLASSES = {"V": "[aeiouy]", "C": "[bcdfghjklmnpqrstvwxz]", "E": "[eiy]"}

# Endings that place the stress, and how many syllables before the last it falls.
_STRESS_BY_ENDING = tuple(
    (re.compile(pattern), back)
    for pattern, back in (
        (r"([cst]ion|[ct]ious|cian|[ct]ial|ics?)s?$", 1),
        (r"(ity|ify|ical|graphy|logy|ian|ial|ious|eous)s?$", 2),
        (r"(ee|eer|ette|oon|esque)s?$", 0),
        (r"[aiou]s?$", 1),
    )
)
# What a vowel becomes where no stress falls; the others keep their quality. A tilde
# marks a vowel that is long because its syllable is open.
_REDUCED = {
    "AE": "AH",
    "EH": "AH",
    "AA": "AH",
    "UH": "AH",
    "EY~": "AH",
    "IY~": "IH",
    "AY~": "IH",
    "OW~": "AH",
}
# Two or more syllables before the end, the stressed vowel of an open syllable is
# short: "nation" but "national".
_SHORTENED = {"EY~": "AE", "IY~": "EH", "AY~": "IH", "OW~": "AA"}


class _Rule(NamedTuple):
    before: re.Pattern[str]
    spelling: str
    after: re.Pattern[str]
    phonemes: tuple[str, ...]


@lru_cache(maxsize=1)
def _rules() -> dict[str, list[_Rule]]:
    """The table by the first letter of the spelling, in its order."""
    rules: dict[str, list[_Rule]] = {}
    for row in _TABLE_FILE.read_text(encoding="ascii").splitlines():
        if row.startswith("#"):
            continue
        before, spelling, rest = row.split("|", 2)
        after, _, phonemes = rest.rpartition("|")
        for name, letters in _CLASSES.items():
            before = before.replace(name, letters)
            after = after.replace(name, letters)
        rule = _Rule(
            re.compile(f"(?:{before})$"),
            spelling,
            re.compile(after),
            tuple(phonemes.split()),
        )
        rules.setdefault(spelling[0], []).append(rule)
    return rules


def pronounce_by_rule(word: str) -> tuple[str, ...]:
    """ARPAbet phonemes with stress for a ``word`` of the letters a to z.

    The last rule of every letter has no context, so every word gets a reading; it
    is a guess: on words of CMUdict about one phoneme in six differs, stress aside.
    """
    phonemes: list[str] = []
    position = 0
    while position < len(word):
        for rule in _rules()[word[position]]:
            end = position + len(rule.spelling)
            if (
                word.startswith(rule.spelling, position)
                and rule.after.match(word, end)
                and rule.before.search(word[:position])
            ):
                phonemes.extend(rule.phonemes)
                position = end
                break
    return _with_stress(word, phonemes)


def _with_stress(word: str, phonemes: list[str]) -> tuple[str, ...]:
    nuclei = [i for i, phoneme in enumerate(phonemes) if phoneme.rstrip("~") in VOWELS]
    marked = list(phonemes)
    if not nuclei:
        return tuple(marked)
    stressed = _stressed_syllable(word, len(nuclei))
    for syllable, i in enumerate(nuclei):
        vowel = marked[i]
        if syllable == stressed - 2:
            marked[i] = _SHORTENED.get(vowel, vowel) + "2"
        elif syllable != stressed:
            marked[i] = _REDUCED.get(vowel, vowel) + "0"
        elif len(nuclei) - syllable > 2:
            marked[i] = _SHORTENED.get(vowel, vowel) + "1"
        else:
            marked[i] = vowel.rstrip("~") + "1"
    return tuple(marked)


def _stressed_syllable(word: str, syllables: int) -> int:
    """Index of the syllable with primary stress."""
    for ending, back in _STRESS_BY_ENDING:
        if ending.search(word):
            return max(0, syllables - 1 - back)
    return max(0, syllables - 3) if syllables > 3 else 0
