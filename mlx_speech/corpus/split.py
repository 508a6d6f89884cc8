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

MOST_SHARE = 0.5


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
        share: above 0, at most 0.5.
        seed: another seed, another choice.

    Returns:
        ``(training, validation)``, neither of them empty.

    Raises:
        SpeechError: a share outside the range, or fewer than two utterances to
            divide.
    """
    check_validation_share(share)
    if len(utterances) < 2:
        raise SpeechError(
            f"{len(utterances)} recording(s) cannot be divided into training and "
            "validation",
            "add recordings: either part needs one at least",
        )
    places = {each.identifier: _place(each.identifier, seed) for each in utterances}
    ranked = sorted(places, key=lambda identifier: (places[identifier], identifier))
    below = sum(place < share for place in places.values())
    most = min(math.ceil(2 * share * len(utterances)), len(utterances) - 1)
    held_out = set(ranked[: max(1, min(below, most))])
    training = [each for each in utterances if each.identifier not in held_out]
    validation = [each for each in utterances if each.identifier in held_out]
    return training, validation


def check_validation_share(share: float) -> None:
    """Refuse a share that would leave either part empty, or training the smaller one.

    Raises:
        SpeechError: the share is not in (0, 0.5].
    """
    # Written so that NaN is refused too.
    if not 0 < share <= MOST_SHARE:
        raise SpeechError(
            f"`validation_share` must be above 0 and at most {MOST_SHARE}, not {share}",
            "hold out 0.05 of the recordings, for example",
        )


def _place(identifier: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{identifier}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
