"""Sound between a device, which never waits, and a model, which may be slow.

Only so much may wait: a model that is slower than speech would otherwise be later with
every minute, and no caption would be of what is said now.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Block:
    """A piece of sound.

    Attributes:
        start: samples that came before it, those that were dropped included.
        samples: float32 [samples].
    """

    start: int
    samples: np.ndarray


class Backlog:
    """A queue of blocks that holds so much sound and no more; safe between threads.

    When it is full, its older half is dropped: one gap, and then quiet for a while.
    Only as much as was too much would crumble all that is said into gaps.

    Args:
        longest: samples that may wait.

    Attributes:
        waiting: samples that wait.
        lost: samples that were dropped.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._blocks: deque[Block] = deque()
        self._changed = threading.Condition()
        self._end = 0
        self.waiting = 0
        self.lost = 0

    def put(self, samples: np.ndarray) -> None:
        """Append a block, float32 [samples]; never waits."""
        with self._changed:
            self._blocks.append(Block(self._end, samples))
            self._end += len(samples)
            self.waiting += len(samples)
            if self.waiting > self._longest:
                self._drop_older_half()
            self._changed.notify()

    def take(self, seconds: float) -> Block | None:
        """The oldest block; wait so long for one, and give None if there is none."""
        with self._changed:
            if not self._blocks:
                self._changed.wait(seconds)
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self.waiting -= len(block.samples)
            return block

    def _drop_older_half(self) -> None:
        # The newest block stays, or nothing would tell of the gap.
        while self.waiting > self._longest // 2 and len(self._blocks) > 1:
            dropped = len(self._blocks.popleft().samples)
            self.waiting -= dropped
            self.lost += dropped
