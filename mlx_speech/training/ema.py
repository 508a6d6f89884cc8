"""Exponential moving average of a network's parameters (Polyak averaging)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_speech.errors import SpeechError


class ExponentialMovingAverage:
    """Keeps ``average = average + (1 - decay) * (parameter - average)``.

    In this form an average equals a parameter that does not move, to the bit, so
    frozen parts stay as they are.

    Args:
        module: the network to follow.
        decay: 0 follows at once, 1 never moves; 0.999 is usual for long runs.
        warm_up: use ``min(decay, (1 + n) / (10 + n))`` at update n, so that a short
            run is not dominated by its starting point.

    Attributes:
        state: ``{"updates": count, "average": {path: array}}``; what checkpoints hold.
    """

    def __init__(self, module: nn.Module, decay: float, warm_up: bool = False) -> None:
        if not 0.0 <= decay < 1.0:
            raise SpeechError(f"the average's decay must be in [0, 1), not {decay}")
        self.module = module
        self.decay = decay
        self.warm_up = warm_up
        self.state: dict[str, Any] = {
            "updates": mx.array(0, mx.uint32),
            "average": dict(tree_flatten(module.parameters())),
        }

    def update(self) -> None:
        """Move towards the module's present parameters; lazy."""
        updates = self.state["updates"] + 1
        rate = mx.array(1.0 - self.decay, mx.float32)
        if self.warm_up:
            count = updates.astype(mx.float32)
            rate = mx.maximum(rate, 1.0 - (1.0 + count) / (10.0 + count))
        average = self.state["average"]
        moved = {}
        for path, value in dict(tree_flatten(self.module.parameters())).items():
            old = average[path]
            moved[path] = old + rate.astype(old.dtype) * (value - old)
        self.state = {"updates": updates, "average": moved}

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[nn.Module]:
        """``module`` carries the averages inside the block, its own values after it."""
        own = module.parameters()
        module.update(tree_unflatten(list(self.state["average"].items())))
        try:
            yield module
        finally:
            module.update(own)
