"""English text to IPA as espeak's American voice writes it, without espeak.

The VITS release and VITS-LJS were trained on that notation: a stress mark directly
before the vowel, words between spaces, pause marks kept. Our phonemes come from
CMUdict, so some vowels differ from espeak's; the symbols are all ones it uses.
"""

from __future__ import annotations

from mlx_speech.text.english import phonemize
from mlx_speech.text.symbols import PAUSES, WORD_BOUNDARY

_CONSONANTS = {
    "B": "b",
    "CH": "tʃ",
    "D": "d",
    "DH": "ð",
    "F": "f",
    "G": "\u0261",
    "HH": "h",
    "JH": "dʒ",
    "K": "k",
    "L": "l",
    "M": "m",
    "N": "n",
    "NG": "ŋ",
    "P": "p",
    "R": "ɹ",
    "S": "s",
    "SH": "ʃ",
    "T": "t",
    "TH": "θ",
    "V": "v",
    "W": "w",
    "Y": "j",
    "Z": "z",
    "ZH": "ʒ",
}
# By code point where a letter of ASCII looks the same.
_VOWELS = {
    "AA": "\u0251\u02d0",
    "AE": "æ",
    "AH": "ʌ",
    "AO": "ɔ\u02d0",
    "AW": "aʊ",
    "AY": "a\u026a",
    "EH": "ɛ",
    "ER": "ɜ\u02d0",
    "EY": "e\u026a",
    "IH": "\u026a",
    "IY": "i\u02d0",
    "OW": "oʊ",
    "OY": "ɔ\u026a",
    "UH": "ʊ",
    "UW": "u\u02d0",
}
# Without stress these are other sounds.
_UNSTRESSED = {"AH": "ə", "ER": "ɚ", "IY": "i"}
_STRESS_MARKS = {"0": "", "1": "\u02c8", "2": "ˌ"}
# Letters that English spelling has none of.
_IPA_ONLY = frozenset(
    letter
    for table in (_CONSONANTS, _VOWELS, _UNSTRESSED, _STRESS_MARKS)
    for letters in table.values()
    for letter in letters
    if not letter.isascii()
) - {"æ"}


def is_ipa(text: str) -> bool:
    """Whether ``text`` is transcribed already; ``café`` and ``naïve`` are not."""
    return not _IPA_ONLY.isdisjoint(text)


def english_to_ipa(text: str) -> str:
    """Transcribe ``text``; the pause of a spaced hyphen becomes an em dash.

    Raises:
        SpeechError: braces hold something that is not ARPAbet.
    """
    return "".join(_to_ipa(symbol) for symbol in phonemize(text))


def _to_ipa(symbol: str) -> str:
    if symbol == WORD_BOUNDARY or symbol in PAUSES:
        # The release has a symbol for the long dash, none for the hyphen.
        return "\N{EM DASH}" if symbol == "-" else symbol
    if symbol in _CONSONANTS:
        return _CONSONANTS[symbol]
    vowel, stress = symbol[:-1], symbol[-1]
    if stress == "0" and vowel in _UNSTRESSED:
        return _UNSTRESSED[vowel]
    return _STRESS_MARKS[stress] + _VOWELS[vowel]
