"""Batches of utterances of like length, so that little of a batch is padding.

The bucket sampler of the VITS reference, without its dropping: there, lengths outside
the boundaries are left out and short buckets are filled by repeating.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from mlx_speech.errors import SpeechError

# Without boundaries, one bucket holds the items of this many batches: wide enough
# that an item meets new neighbours every epoch, narrow enough that padding stays low.
BATCHES_PER_BUCKET = 4


def padded_length(length: int, multiple: int) -> int:
    """``length`` rounded up to a multiple, at least one multiple.

    Padding every batch to such a length keeps the number of distinct shapes small,
    which matters where memory is cached per shape.
    """
    return max(-(-length // multiple), 1) * multiple


class BucketBatches:
    """The batches of every epoch, a function of (seed, epoch) alone.

    Every item comes exactly once per epoch, so that losses weigh all items alike:
    the last batch of a bucket may be short.

    Args:
        lengths: of the items, in frames.
        batch_size: items in a full batch. Larger than the data, it is reduced and
            ``note`` says so.
        boundaries: ascending upper limits of the buckets, in frames; longer items
            share one more bucket. None makes buckets of four batches each by rank.
        seed: another seed, another order.

    Attributes:
        batch_size: the size in use.
        note: one line for the user when ``batch_size`` was reduced, else None.

    Raises:
        SpeechError: no items, or a batch size below 1.
        ValueError: a length below 1, or boundaries that do not ascend.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        boundaries: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise SpeechError(
                f"a batch size of {batch_size} is not possible", "take 1 or more"
            )
        if not len(lengths):
            raise SpeechError("there are no utterances to make batches of")
        if min(lengths) < 1:
            raise ValueError("every length must be at least one frame")
        self.note: str | None = None
        if batch_size > len(lengths):
            self.note = (
                f"the batch size is reduced from {batch_size} to {len(lengths)}: "
                "there are no more utterances"
            )
            batch_size = len(lengths)
        self.batch_size = batch_size
        self._seed = seed
        self._buckets = (
            _by_rank(lengths, batch_size * BATCHES_PER_BUCKET)
            if boundaries is None
            else _by_boundaries(lengths, list(boundaries))
        )

    def __len__(self) -> int:
        """Batches per epoch, the same in every epoch."""
        return sum(-(-len(bucket) // self.batch_size) for bucket in self._buckets)

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch (from 0): lists of indices into ``lengths``."""
        generator = np.random.default_rng([self._seed, epoch])
        batches = []
        for bucket in self._buckets:
            order = [bucket[place] for place in generator.permutation(len(bucket))]
            batches += [
                order[start : start + self.batch_size]
                for start in range(0, len(order), self.batch_size)
            ]
        return [batches[place] for place in generator.permutation(len(batches))]


def _by_rank(lengths: Sequence[int], size: int) -> list[list[int]]:
    ranked = sorted(range(len(lengths)), key=lambda item: (lengths[item], item))
    return [ranked[start : start + size] for start in range(0, len(ranked), size)]


def _by_boundaries(lengths: Sequence[int], boundaries: list[int]) -> list[list[int]]:
    if boundaries != sorted(set(boundaries)):
        raise ValueError(f"bucket boundaries must ascend: {boundaries}")
    buckets: list[list[int]] = [[] for _ in range(len(boundaries) + 1)]
    for item, length in enumerate(lengths):
        buckets[bisect_left(boundaries, length)].append(item)
    return [bucket for bucket in buckets if bucket]
