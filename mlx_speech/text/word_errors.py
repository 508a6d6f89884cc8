"""Word error rate: how many words of a transcription are wrong.

Substitutions, deletions and insertions of the alignment with the fewest of them
(Levenshtein), divided by the words that were said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mlx_speech.text.whisper_normalizer import normalize_english


@dataclass(frozen=True)
class WordErrors:
    """Errors, and what they are a share of. Those of several texts add up.

    Attributes:
        substitutions: words heard as another.
        deletions: words not heard.
        insertions: words heard that nobody said.
        words: words that were said.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0

    @property
    def errors(self) -> int:
        """All of them."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors a word; above 1 with many insertions, infinite if nothing was said."""
        if self.words:
            return self.errors / self.words
        return float("inf") if self.errors else 0.0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
        )


def word_errors(
    said: Iterable[str],
    heard: Iterable[str],
    normalize: Callable[[str], str] = normalize_english,
) -> WordErrors:
    """Errors over a set of texts.

    Args:
        said: the true texts.
        heard: the transcriptions, one for each.
        normalize: applied to both before they are split at white space.

    Raises:
        ValueError: not as many transcriptions as texts.
    """
    total = WordErrors()
    for true, found in zip(said, heard, strict=True):
        total += count_errors(normalize(true).split(), normalize(found).split())
    return total


def count_errors(said: Sequence[str], heard: Sequence[str]) -> WordErrors:
    """Errors between two sequences of words, or of characters.

    Of the alignments with the fewest errors, one with the most substitutions counts.
    Memory grows with the length of one sequence, time with the product of both.
    """
    numbers = {word: i for i, word in enumerate(dict.fromkeys((*said, *heard)))}
    found = np.array([numbers[word] for word in heard], dtype=np.int64)
    # An error costs `unit`; one that is no substitution one more, which decides ties
    # and, at the end, tells the kinds apart.
    unit = len(said) + len(heard) + 1
    ramp = (unit + 1) * np.arange(len(found) + 1)
    costs = ramp
    for word in said:
        through = np.concatenate(
            [costs[:1] + unit + 1, costs[:-1] + unit * (found != numbers[word])]
        )
        best = np.minimum(through, costs + unit + 1)
        # The cheapest way to any place, insertions after it included.
        costs = np.minimum.accumulate(best - ramp) + ramp
    errors, unpaired = divmod(int(costs[-1]), unit)
    surplus = len(said) - len(heard)
    return WordErrors(
        substitutions=errors - unpaired,
        deletions=(unpaired + surplus) // 2,
        insertions=(unpaired - surplus) // 2,
        words=len(said),
    )
