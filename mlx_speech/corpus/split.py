"""Which utterances are held out: decided per utterance by a hash of its name.

A file added to the corpus later is decided on its own and moves no other file, so a
longer corpus never trains on what an earlier run held out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from mlx_speech.corpus.readers import Utterance
from mlx_speech.errors import SpeechError


def split_validation(
    utterances: Sequence[Utterance], share: float = 0.05, seed: int = 0
) -> tuple[list[Utterance], list[Utterance]]:
    """Divide a corpus into a training and a validation part.

    Every identifier (with the seed) hashes to a number in [0, 1); those below
    ``share`` are held out, so the part's size is ``share`` only on average. Two
    guards, for small corpora: when none falls below, the lowest one is taken; when
    more than twice the share do, the lowest ones are. Only these guards can let an
    added file move another.

    Args:
        utterances: the corpus; the parts keep its order.
        share: between 0 and 0.5; 0 holds nothing out.
        seed: another seed, another choice.

    Returns:
        ``(training, validation)``, neither of them empty unless ``share`` is 0.

    Raises:
        SpeechError: a share outside the range, or fewer than two utterances to
            divide.
    """
    if not 0 <= share <= 0.5:
        raise SpeechError(
            f"a validation share of {share} is not between 0 and 0.5",
            "hold out 0.05 of the recordings, for example",
        )
    if share == 0:
        return list(utterances), []
    if len(utterances) < 2:
        raise SpeechError(
            f"{len(utterances)} recording(s) cannot be divided into training and "
            "validation",
            "add recordings, or set the validation share to 0",
        )
    places = {each.identifier: _place(each.identifier, seed) for each in utterances}
    ranked = sorted(places, key=lambda identifier: (places[identifier], identifier))
    below = sum(place < share for place in places.values())
    most = min(math.ceil(2 * share * len(utterances)), len(utterances) - 1)
    held_out = set(ranked[: max(1, min(below, most))])
    training = [each for each in utterances if each.identifier not in held_out]
    validation = [each for each in utterances if each.identifier in held_out]
    return training, validation


def _place(identifier: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{identifier}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
