"""Buckets and the validation split: complete, repeatable, stable as data grows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlx_speech.corpus import (
    BucketBatches,
    Utterance,
    padded_length,
    split_validation,
)
from mlx_speech.errors import SpeechError

LENGTHS = np.random.default_rng(0).integers(20, 1000, 203).tolist()


@pytest.mark.parametrize("boundaries", [None, [100, 300, 500]])
@pytest.mark.parametrize("batch_size", [1, 8, 203])
def test_every_item_comes_once_per_epoch(
    boundaries: list[int] | None, batch_size: int
) -> None:
    buckets = BucketBatches(LENGTHS, batch_size, boundaries)
    for epoch in range(3):
        batches = buckets.batches(epoch)
        assert sorted(item for batch in batches for item in batch) == list(range(203))
        assert max(map(len, batches)) <= batch_size
        assert len(batches) == len(buckets)
    assert buckets.note is None


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    one, two = (BucketBatches(LENGTHS, 8, seed=5) for _ in range(2))
    for epoch in (7, 0):
        two.batches(epoch)
    assert one.batches(3) == two.batches(3)
    assert one.batches(3) != one.batches(4)
    assert one.batches(3) != BucketBatches(LENGTHS, 8, seed=6).batches(3)


def test_batches_hold_items_of_like_length() -> None:
    def padding(batches: list[list[int]]) -> float:
        padded = sum(max(LENGTHS[i] for i in batch) * len(batch) for batch in batches)
        return padded / sum(LENGTHS) - 1

    shuffled = np.random.default_rng(1).permutation(203).tolist()
    unsorted = [shuffled[start : start + 8] for start in range(0, 203, 8)]
    assert padding(unsorted) > 0.5
    for epoch in range(5):
        assert padding(BucketBatches(LENGTHS, 8).batches(epoch)) < 0.15


def test_neighbours_change_between_epochs() -> None:
    buckets = BucketBatches(LENGTHS, 8)
    groups = [{frozenset(batch) for batch in buckets.batches(e)} for e in range(2)]
    assert not groups[0] & groups[1]


def test_boundaries_keep_lengths_apart() -> None:
    boundaries = [100, 300, 500]
    for batch in BucketBatches(LENGTHS, 8, boundaries).batches(0):
        places = {int(np.searchsorted(boundaries, LENGTHS[item])) for item in batch}
        assert len(places) == 1


def test_a_batch_larger_than_the_data_is_reduced_with_a_note() -> None:
    buckets = BucketBatches([10, 20, 30], 16)
    assert buckets.batch_size == 3
    assert buckets.note is not None
    assert "from 16 to 3" in buckets.note
    assert [sorted(batch) for batch in buckets.batches(0)] == [[0, 1, 2]]


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(SpeechError, match="batch size of 0"):
        BucketBatches([1], 0)
    with pytest.raises(SpeechError, match="no utterances"):
        BucketBatches([], 4)
    with pytest.raises(ValueError, match="one frame"):
        BucketBatches([3, 0], 4)
    with pytest.raises(ValueError, match="ascend"):
        BucketBatches([3], 4, [5, 2])


def test_lengths_are_padded_upwards() -> None:
    padded = [padded_length(n, 32) for n in (0, 1, 31, 32, 33, 64)]
    assert padded == [32, 32, 32, 32, 64, 64]


def named(count: int) -> list[Utterance]:
    return [Utterance(f"clip-{i}", Path(f"{i}.wav"), "words") for i in range(count)]


@pytest.mark.parametrize("count", [2, 3, 20, 500])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_divides_the_corpus(count: int, share: float, seed: int) -> None:
    corpus = named(count)
    training, validation = split_validation(corpus, share, seed)
    assert training
    assert 1 <= len(validation) <= max(1, np.ceil(2 * share * count))
    assert [u for u in corpus if u in training] == training
    assert [u for u in corpus if u not in training] == validation


def test_the_split_has_about_its_share_and_follows_the_seed() -> None:
    corpus = named(4000)
    _, first = split_validation(corpus, 0.1, seed=0)
    _, second = split_validation(corpus, 0.1, seed=1)
    assert len(first) == pytest.approx(400, abs=60)
    assert first == split_validation(corpus, 0.1, seed=0)[1]
    assert len({u.identifier for u in first} & {u.identifier for u in second}) < 80


def test_an_added_recording_moves_no_other() -> None:
    corpus = named(300)
    _, before = split_validation(corpus[:200], 0.1)
    _, after = split_validation(corpus[::-1], 0.1)
    old = {u.identifier for u in corpus[:200]}
    assert {u.identifier for u in before} == {u.identifier for u in after} & old


def test_one_recording_cannot_be_divided() -> None:
    with pytest.raises(SpeechError, match="cannot be divided") as caught:
        split_validation(named(1), 0.1)
    assert "0.1" not in caught.value.hint and "share" not in caught.value.hint


@pytest.mark.parametrize("share", [0, -0.1, 0.51, float("nan")])
def test_a_share_that_leaves_too_little_is_refused(share: float) -> None:
    with pytest.raises(SpeechError, match=f"above 0 and at most 0.5, not {share}"):
        split_validation(named(4), share)
