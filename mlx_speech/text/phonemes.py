"""The English vocabulary: written text in, ids of ARPAbet phonemes out."""

from __future__ import annotations

from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.text.english import phonemize
from mlx_speech.text.normalize import unspeakable
from mlx_speech.text.symbols import ARPABET_SYMBOLS, PAUSES, intersperse

KIND = "english-phonemes"
_ID_OF = {symbol: i for i, symbol in enumerate(ARPABET_SYMBOLS)}


class EnglishPhonemeVocabulary:
    """Ids of ``ARPABET_SYMBOLS`` (78): blank 0, word boundary, pauses, phonemes.

    Args:
        add_blank: put id 0 before, between and after the symbols.
    """

    kind = KIND

    def __init__(self, add_blank: bool = True) -> None:
        self.add_blank = add_blank

    @property
    def size(self) -> int:
        """Rows that an embedding table needs."""
        return len(ARPABET_SYMBOLS)

    def encode(self, text: str) -> list[int]:
        """Turn ``text`` into ids; a missing full stop at the end is added.

        Raises:
            SpeechError: characters that English does not read, each listed once,
                braces without ARPAbet in them, or nothing to say.
        """
        foreign = unspeakable(text)
        if foreign:
            listed = " ".join(repr(symbol) for symbol in foreign)
            raise SpeechError(
                f"the English front end cannot read {listed} in {text!r}",
                "spell these out in English letters",
            )
        symbols = phonemize(text)
        if not symbols:
            raise SpeechError(
                f"nothing in {text!r} can be spoken", "give a text with words in it"
            )
        if symbols[-1] not in PAUSES:
            symbols.append(".")
        ids = [_ID_OF[symbol] for symbol in symbols]
        return intersperse(ids) if self.add_blank else ids

    def unknown_symbols(self, text: str) -> list[str]:
        """Characters of ``text`` that cannot be read, in order of appearance."""
        return unspeakable(text)

    def to_dict(self) -> dict[str, Any]:
        """Describe the vocabulary in JSON types; ``vocabulary_from_dict`` reads it."""
        return {"kind": KIND, "add_blank": self.add_blank}
