"""A vocabulary of written characters, as Hugging Face's ``VitsTokenizer`` has it.

MMS voices read letters, VITS-LJS reads IPA characters made by a phonemizer; both
are a table from one character to one id with id 0 as the blank between symbols
(Kim, Kong and Son 2021, section 2.5 of the released code's data preparation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from mlx_speech.errors import SpeechError
from mlx_speech.text.symbols import BLANK, VITS_SYMBOLS, intersperse

KIND = "characters"
# Romanian voices of MMS were trained on the cedilla form of this letter.
_ROMANIAN = str.maketrans("ț", "ţ")


class CharacterVocabulary:
    """One id per character.

    Args:
        symbols: id of each symbol; ids start at 0 and id 0 doubles as the blank.
        add_blank: put id 0 before, between and after the characters.
        lowercase: lower characters that the table does not hold as written.
        unknown: what :meth:`encode` does with a character outside the table:
            ``"refuse"`` raises, ``"drop"`` leaves it out and strips outer spaces
            (what ``VitsTokenizer`` does with ``normalize=True``).
        language: ISO 639-3 code; only ``"ron"`` changes anything.
        roman_only: the table expects romanised text (``is_uroman``); characters
            outside ASCII are refused instead of dropped.
    """

    kind = KIND

    def __init__(
        self,
        symbols: Mapping[str, int],
        add_blank: bool = True,
        lowercase: bool = True,
        unknown: Literal["refuse", "drop"] = "refuse",
        language: str | None = None,
        roman_only: bool = False,
    ) -> None:
        if not symbols or min(symbols.values()) < 0:
            raise SpeechError(
                "the character vocabulary is empty or has a negative id",
                "give every character an id of 0 or more",
            )
        if unknown not in ("refuse", "drop"):
            raise SpeechError(
                f"`unknown` of a character vocabulary is {unknown!r}",
                'use "refuse" or "drop"',
            )
        self.symbols = dict(symbols)
        self.add_blank = add_blank
        self.lowercase = lowercase
        self.unknown: Literal["refuse", "drop"] = unknown
        self.language = language
        self.roman_only = roman_only

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> CharacterVocabulary:
        """Make a table of the lower-case characters of ``texts``; id 0 is the blank."""
        found = sorted({character for text in texts for character in text.lower()})
        return cls({symbol: i for i, symbol in enumerate([BLANK, *found])})

    @property
    def size(self) -> int:
        """Rows that an embedding table needs: the largest id plus one."""
        return max(self.symbols.values()) + 1

    def encode(self, text: str) -> list[int]:
        """Turn ``text`` into ids.

        Raises:
            SpeechError: characters outside the table, each listed once, or no
                character left.
        """
        characters = self._prepare(text)
        foreign = self._refused(characters)
        if foreign:
            listed = " ".join(repr(symbol) for symbol in foreign)
            raise SpeechError(
                f"the vocabulary has no symbol for {listed} in {text!r}",
                "romanise the text first"
                if self.roman_only
                else "change the text, or use a vocabulary that holds these symbols",
            )
        kept = [c for c in characters if c in self.symbols]
        if self.unknown == "drop":
            kept = list("".join(kept).strip())
        if not kept:
            raise SpeechError(
                f"nothing in {text!r} can be spoken with this vocabulary",
                "give text in the language of the voice",
            )
        ids = [self.symbols[character] for character in kept]
        return intersperse(ids) if self.add_blank else ids

    def unknown_symbols(self, text: str) -> list[str]:
        """Characters of ``text`` outside the table, in order of first appearance."""
        missing = (c for c in self._prepare(text) if c not in self.symbols)
        return list(dict.fromkeys(missing))

    def to_dict(self) -> dict[str, Any]:
        """Describe the vocabulary in JSON types; ``vocabulary_from_dict`` reads it."""
        return {
            "kind": KIND,
            "symbols": self.symbols,
            "add_blank": self.add_blank,
            "lowercase": self.lowercase,
            "unknown": self.unknown,
            "language": self.language,
            "roman_only": self.roman_only,
        }

    def _prepare(self, text: str) -> str:
        if self.lowercase:
            text = "".join(c if c in self.symbols else c.lower() for c in text)
        if self.language == "ron":
            text = text.translate(_ROMANIAN)
        return text

    def _refused(self, characters: str) -> list[str]:
        missing = dict.fromkeys(c for c in characters if c not in self.symbols)
        if self.unknown == "refuse":
            return list(missing)
        return [c for c in missing if self.roman_only and not c.isascii()]


def vits_vocabulary() -> CharacterVocabulary:
    """The 178 symbols of the VITS release; text must be IPA as espeak writes it."""
    table = {symbol: i for i, symbol in enumerate(VITS_SYMBOLS)}
    return CharacterVocabulary(table, lowercase=False)
