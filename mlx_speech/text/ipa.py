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
_VOWELS = {
    "AA": "ɑː",
    "AE": "æ",
    "AH": "ʌ",
    "AO": "ɔː",
    "AW": "aʊ",
    "AY": "a\u026a",
    "EH": "ɛ",
    "ER": "ɜː",
    "EY": "e\u026a",
    "IH": "\u026a",
    "IY": "iː",
    "OW": "oʊ",
    "OY": "ɔ\u026a",
    "UH": "ʊ",
    "UW": "uː",
}
# Without stress these three are other sounds.
_UNSTRESSED = {"AH": "ə", "ER": "ɚ", "IY": "i"}
_STRESS_MARKS = {"0": "", "1": "ˈ", "2": "ˌ"}


def english_to_ipa(text: str) -> str:
    """``"hello, world"`` -> ``"həlˈoʊ, wˈɜːld"``.

    Raises:
        SpeechError: braces hold something that is not ARPAbet.
    """
    return "".join(_to_ipa(symbol) for symbol in phonemize(text))


def _to_ipa(symbol: str) -> str:
    if symbol == WORD_BOUNDARY or symbol in PAUSES:
        return symbol
    if symbol in _CONSONANTS:
        return _CONSONANTS[symbol]
    vowel, stress = symbol[:-1], symbol[-1]
    if stress == "0" and vowel in _UNSTRESSED:
        return _UNSTRESSED[vowel]
    return _STRESS_MARKS[stress] + _VOWELS[vowel]
