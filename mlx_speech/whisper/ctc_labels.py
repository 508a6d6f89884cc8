"""What the encoder spells while it is trained with CTC: characters or phonemes.

The labels serve the training alone. They are finer than the tokens that the decoder
writes, so that each of them is heard often, and they come in the order of the sound.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from mlx_speech.text.english import phonemize
from mlx_speech.text.symbols import CONSONANTS, VOWELS

CTC_LABELS = ("characters", "phonemes")
_STRESSES = "012"


class CtcLabels:
    """Numbers the labels of transcripts; 0 is CTC's blank.

    Args:
        kind: "phonemes" (ARPAbet without stress; English) or "characters" (letters and
            figures, case folded).
        texts: all transcripts, whose characters are numbered.
    """

    def __init__(self, kind: str, texts: Iterable[str]) -> None:
        self.kind = kind
        if kind == "phonemes":
            symbols = [*CONSONANTS, *VOWELS]
        else:
            symbols = sorted({symbol for text in texts for symbol in _letters(text)})
        self._numbers = {symbol: 1 + place for place, symbol in enumerate(symbols)}

    @property
    def classes(self) -> int:
        """Labels, and the blank."""
        return 1 + len(self._numbers)

    def encode(self, text: str) -> list[int]:
        """The labels of one transcript; pauses and unknown characters have none."""
        if self.kind == "phonemes":
            symbols = [symbol.rstrip(_STRESSES) for symbol in phonemize(text)]
        else:
            symbols = _letters(text)
        return [self._numbers[each] for each in symbols if each in self._numbers]

    def positions(self, text: str) -> int:
        """Positions that a transcript needs at least: a blank parts equal labels."""
        labels = self.encode(text)
        return len(labels) + sum(one == other for one, other in pairwise(labels))


def _letters(text: str) -> list[str]:
    return [symbol for symbol in text.casefold() if symbol.isalnum()]
