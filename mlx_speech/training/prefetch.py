"""Reads the next batches in another thread while MLX computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def prefetched(
    load: Callable[[Sequence[int]], Any],
    batches: Sequence[Sequence[int]],
    ahead: int = 2,
) -> Generator[Any, None, None]:
    """``load(batch)`` for each batch, in order, at most ``ahead`` of them early.

    One thread, so ``load`` never runs twice at once; its errors arrive at the batch
    that caused them.
    """
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    waiting: deque[Future] = deque()
    remaining = iter(batches)
    try:
        while True:
            while len(waiting) < ahead:
                batch = next(remaining, None)
                if batch is None:
                    break
                waiting.append(executor.submit(load, batch))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
