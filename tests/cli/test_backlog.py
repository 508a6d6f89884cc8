"""The queue between a microphone and a slow model."""

from __future__ import annotations

import threading
import time

import numpy as np

from mlx_speech.cli.backlog import Backlog


def sound(length: int, value: float = 0.0) -> np.ndarray:
    return np.full(length, value, np.float32)


def test_blocks_come_in_order_and_know_where_they_begin() -> None:
    backlog = Backlog(100)
    for number in range(4):
        backlog.put(sound(10, number))
    assert backlog.waiting == 40
    for number in range(4):
        block = backlog.take(0.0)
        assert block is not None
        assert (block.start, block.samples[0]) == (10 * number, number)
    assert (backlog.waiting, backlog.lost, backlog.take(0.0)) == (0, 0, None)


def test_it_waits_for_a_block_and_no_longer_than_told() -> None:
    backlog = Backlog(100)
    began = time.monotonic()
    assert backlog.take(0.05) is None
    assert time.monotonic() - began > 0.04
    threading.Timer(0.05, backlog.put, [sound(10)]).start()
    assert backlog.take(30.0) is not None
    assert time.monotonic() - began < 20


def test_a_full_one_drops_its_older_half_at_once() -> None:
    backlog = Backlog(100)
    for _ in range(10):
        backlog.put(sound(10))
    assert (backlog.waiting, backlog.lost) == (100, 0)
    backlog.put(sound(10))
    assert (backlog.waiting, backlog.lost) == (50, 60)
    for _ in range(5):
        backlog.put(sound(10))
    assert (backlog.waiting, backlog.lost) == (100, 60)
    block = backlog.take(0.0)
    assert block is not None and block.start == 60


def test_the_newest_block_is_kept_however_long_it_is() -> None:
    backlog = Backlog(100)
    backlog.put(sound(50))
    backlog.put(sound(300))
    block = backlog.take(0.0)
    assert block is not None and block.start == 50
    assert (backlog.waiting, backlog.lost) == (0, 50)


def test_between_threads_every_sample_is_heard_or_counted_as_lost() -> None:
    backlog = Backlog(50)
    heard: list[tuple[int, int]] = []

    def listen() -> None:
        while (block := backlog.take(1.0)) is not None and len(block.samples) > 1:
            heard.append((block.start, len(block.samples)))

    listener = threading.Thread(target=listen)
    listener.start()
    for number in range(3000):
        backlog.put(sound(2 + number % 5))
    backlog.put(sound(1))
    listener.join(30)
    assert sum(length for _, length in heard) + backlog.lost == 600 * (
        2 + 3 + 4 + 5 + 6
    )
    starts = [start for start, _ in heard]
    assert starts == sorted(set(starts))
