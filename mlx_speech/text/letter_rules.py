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
from typing import NamedTuple

from mlx_speech.text.symbols import VOWELS

# Each row: what stands before, the spelling, what follows, phonemes. Contexts are
# regular expressions; V, C and E stand for a vowel letter, a consonant letter and a
# front vowel letter, ^ and $ for the ends of the word.
_TABLE = """
|aa||AA
|a|$|AH
|ae||IY
|ai|r|EH
|ai||EY
|al|ks?$|AO
|al|f$|AE
|al|m$|AA
C|all|(s|ed|ing|er|ers)?$|AO L
^|al|[td]|AO L
[qw]u?|ar|[dmnpt]|AO R
|arr||EH R
|ar|e$|EH R
|ar|[iy]V?|EH R
|ar||AA R
|ass|$|AE S
w|as|$|AA Z
|au||AO
|aw||AO
|ay||EY
^w|a|(t|n|s|sh)C?|AA
w|a|[lt]|AO
qu|a|[lnst]|AA
|a|tion|EY
|a|ge$|IH
|a|te$|EY
|a|ble$|AH
|a|nge|EY
|a|ste$|EY
|a|[bcdgklmnpstvz]V|EY
|a|th(e|ing)|EY
|a|ques?$|AE
|a|[bcdfgkpt][lr]e?|EY
C|a|h|AA
|a||AE
|bb||B
m|b|$|
|b|t$|
|b||B
|cc|E|K S
|cch||K
|cc||K
|ch|[rl]|K
ar|ch|i|K
^|ch|ao|K
s|ch|[aeou]|K
|ch||CH
|ci|(a|o|ou)|SH
|ck||K
|cqu||K W
|cz||CH
^|c|z|CH
s|c|E|
|c|E|S
|c||K
|dd||D
|dge||JH
|dg|E|JH
|dj||JH
|d||D
|ear|[nlt]|ER
|ea|r|IH
|ea|d$|EH
|ea|[st]h?er|EH
|ea||IY
|eau||OW
|ee|r|IH
|ee||IY
|ei|gh|EY
c|ei||IY
|ei|n|AY
|ei||AY
|eou|s|AH
|er|e$|IH R
|err|V|EH R
|er|[iaeo]C|EH R
|er||ER
|eu|r|UH
|eu||UW
[rlj]|ew||UW
|ew||Y UW
|ey|$|IY
|ey||EY
^.?|e|$|IY
V[^aeiouy]*|e|$|
[^td]|e|d$|
|e|ly$|
|e|ment|
|e|less|
|e|ful|
V[^aeiouy]+|e|s$|
^C*|e|[bcdgklmnpstvz]V|IY
|e||EH
|ff||F
|f||F
|gg|E|G
|gg||G
|gh|$|
|gh|t|
^|gh||G
V|gh|C|
|gh||G
|gi|(a|o|ou)[nu]|JH
|gn|$|N
^|gn||N
|gn|s$|N
|gu|E|G
^|g|(e[tl]|i[rv])|G
|g|E|JH
|g||G
^|h|our|
V|h|$|
V|h|C|
r|h||
|h||HH
|ia|n?$|IY AH
|ie|$|IY
^C+|ie|d?$|AY
|ie|w|
|ie|r|IH
|ie|[sd]$|IY
|ie||IY
|igh||AY
|ign|$|AY N
|ign|[ems]|AY N
|ild|$|AY L D
|ind|$|AY N D
|ious|$|IY AH S
|ique|$|IY K
|irr||IH R
|ir|e|AY R
|ir|V|IH R
|ir||ER
|ism|$|IH Z AH M
|i|que|IY
|i|o|IY
^C*|i|[aeu]|AY
|i|[aeu]|IY
|i|ve$|IH
|i|ne$|AY
|i|ze|AY
|i|se|AY
|i|te|AY
|i|ty|AH
|i|[bcdfgklmnpstvz]e$|AY
|i|[bcdfgklmnpstvz]e[sd]$|AY
|i|[bcdfgklmnpstvz](ing|er|ers)$|AY
|i|[bdfgkpt]le|AY
|i|$|IY
|i||IH
|j||JH
^|kn||N
|kk||K
|kh||K
|k||K
C|le|$|AH L
C|les|$|AH L Z
C|led|$|AH L D
|ll||L
|l||L
^|mc|[^k]|M AH K
^|mac|[^kehi]|M AH K
|mm||M
|mn|$|M
|m||M
|nn||N
|ng|$|NG
|ng|s$|NG Z
|ng|(ing|ed|er)|NG
|ng|E|N JH
|ng||NG G
|n|k|NG
|n|x|NG
|n|q|NG
|n||N
|oar||AO R
|oa||OW
|oe|$|OW
|oe|[sd]$|OW
|oe||OW
|oi||OY
|old||OW L D
|olk||OW K
|oll|$|OW L
|olt||OW L T
|ong||AO NG
|oo|[dk]$|UH
|oor||AO R
|oo||UW
|orr||AO R
w|or|[dkmst]|ER
|or||AO R
|ost|$|OW S T
|ough|t|AO
|ough|$|OW
|oul|d|UH
|ound||AW N D
|oup||UW P
|our||AO R
|ous|$|AH S
|ou|s|AW
|ou||AW
|ow|$|OW
|ow|e?[drs]+$|OW
|ow|n?C|AW
|ow||OW
|oy||OY
^C*|o|[aeiuo]|OW
|o|$|OW
|o|es$|OW
|o|s$|OW
|o|[bcdfgklmnpstvz]e$|OW
|o|[bcdfgklmnpstvz]e[sd]$|OW
|o|[bcdfgklmnpstvz]i?V|OW
|o|[td]h$|OW
|o|[sf]t|AO
|o|ff|AO
|o|ss|AO
|o||AA
|pp||P
|ph||F
^|pn||N
^|ps||S
^|pf||F
|p||P
|que|$|K
|qu||K W
|q||K
|rr||R
|rh||R
|r||R
|sch|[^aeiouy]|SH
^|sch||SH
|sci|(e|ou)|SH
|sh||SH
V|si|on|ZH
[lnr]|si|on|SH
|ssi|on|SH
|ss||S
|sure|$|ZH ER
V|s|m$|Z
V|s|e$|Z
[bdglmnrvw]e?|s|$|Z
V|s|$|S
V|s|[ai]|S
V|s|e|Z
|s||S
|tch||CH
|th|(e|er|ing)$|DH
|th||TH
|ti|(o|a|e)n|SH
|ti|(ous|al)|SH
|tu|(r[ei]|al|ous)|CH UW
|tt||T
|t||T
g|u|[aeio]|
[rlj]|ue|$|UW
|ue|$|Y UW
|ui||UW
|ull|$|UH L
|urr||ER
|ur|e|Y UH R
|ur||ER
^p|u|[lst][lth]|UH
[rljs]|u|[bcdfgklmnpstvz]V|UW
|u|[bcdfgklmnpstvz]V|Y UW
|u|$|UW
C|u|[aeio]|UW
|u||AH
|vv||V
|v||V
|wh|o|HH
|wh||W
^|wr||R
|w|$|
|w|C|
|w||W
^|x||Z
^e|x|V|G Z
|x||K S
^|y|V|Y
V|y||Y
^C+|y|$|AY
^C*|y|[bcdfgklmnpst]e|AY
|yr|V|IH R
|yr||ER
|y|$|IY
|y||IH
|zz||Z
t|z||S
|z||Z
"""

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
# What a short vowel becomes where no stress falls; the others keep their quality.
_REDUCED = {"AE": "AH", "EH": "AH", "AA": "AH", "UH": "AH"}


class _Rule(NamedTuple):
    before: re.Pattern[str]
    spelling: str
    after: re.Pattern[str]
    phonemes: tuple[str, ...]


@lru_cache(maxsize=1)
def _rules() -> dict[str, list[_Rule]]:
    """The table by the first letter of the spelling, in its order."""
    rules: dict[str, list[_Rule]] = {}
    for row in _TABLE.strip().splitlines():
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
    is a guess, right in about three phonemes of four.
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
    nuclei = [i for i, phoneme in enumerate(phonemes) if phoneme in VOWELS]
    if not nuclei:
        return tuple(phonemes)
    stressed = nuclei[_stressed_syllable(word, len(nuclei))]
    marked = list(phonemes)
    for i in nuclei:
        if i == stressed:
            marked[i] += "1"
        else:
            marked[i] = _REDUCED.get(marked[i], marked[i]) + "0"
    return tuple(marked)


def _stressed_syllable(word: str, syllables: int) -> int:
    """Index of the syllable with primary stress."""
    for ending, back in _STRESS_BY_ENDING:
        if ending.search(word):
            return max(0, syllables - 1 - back)
    return max(0, syllables - 3) if syllables > 3 else 0
