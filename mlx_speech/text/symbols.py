"""The symbol inventories that text becomes before a model reads it.

Two of them: the ARPAbet phonemes of the CMU Pronouncing Dictionary, which our own
English front end writes, and the 178 characters of the VITS release (Kim, Kong and
Son 2021), whose checkpoints index their embedding table by them.
"""

from __future__ import annotations

from collections.abc import Sequence

BLANK = "_"
WORD_BOUNDARY = " "
PAUSES = (",", ".", "?", "!", ";", ":", "-")

_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
CONSONANTS = tuple(_CONSONANTS.split())
VOWELS = tuple(_VOWELS.split())
# Stress as CMUdict writes it: 0 none, 1 primary, 2 secondary.
STRESSED_VOWELS = tuple(vowel + stress for vowel in VOWELS for stress in "012")

PHONEMES = CONSONANTS + STRESSED_VOWELS
ARPABET_SYMBOLS = (BLANK, WORD_BOUNDARY, *PAUSES, *PHONEMES)

_VITS_PUNCTUATION = ';:,.!?¡¿—…"«»“” '
_LATIN_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IPA = (
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎ"
    "ʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'\u0329'ᵻ"
)
# The apostrophe stands twice in the release; its id is that of the second.
VITS_SYMBOLS = (
    BLANK,
    *_VITS_PUNCTUATION,
    *_LATIN_CAPITALS,
    *_LATIN_CAPITALS.lower(),
    *_IPA,
)


def intersperse(ids: Sequence[int], blank: int = 0) -> list[int]:
    """Put ``blank`` before, between and after ``ids``: n become 2 n + 1."""
    spread = [blank] * (2 * len(ids) + 1)
    spread[1::2] = ids
    return spread
