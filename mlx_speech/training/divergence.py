"""When a run has failed: NaN, infinity, or a loss that explodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

import mlx.core as mx
import numpy as np


class DivergenceWatch:
    """Looks at every step's values.

    The rule, for each metric with ``loss`` in its name: its level is the median of
    the first ``LEVEL_STEPS`` values of the run (1.0 if the median's size is smaller).
    The loss has exploded when its size was above ``factor`` times the level in
    ``patience`` steps in a row. A single high step is normal in adversarial training
    and stops nothing. Any NaN or infinity stops at once.

    Args:
        factor: 0 switches the explosion rule off.
        patience: steps in a row.
        state: what an earlier watch had learnt (``.state`` of it).
    """

    LEVEL_STEPS = 20

    def __init__(
        self, factor: float, patience: int, state: Mapping[str, Any] | None = None
    ) -> None:
        state = state or {}
        self.factor = factor
        self.patience = patience
        self._first = {k: list(v) for k, v in state.get("first", {}).items()}
        self._high = dict(state.get("high", {}))

    @property
    def state(self) -> dict[str, Any]:
        """What has been learnt; JSON can hold it."""
        return {
            "first": {name: list(values) for name, values in self._first.items()},
            "high": dict(self._high),
        }

    def check(self, metrics: Mapping[str, float]) -> str:
        """Why the run must stop, naming the term and its value; "" when healthy."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                return f"`{name}` became {value}"
        for name, value in metrics.items():
            if self.factor and "loss" in name:
                problem = self._check_size(name, abs(value))
                if problem:
                    return problem
        return ""

    def _check_size(self, name: str, size: float) -> str:
        first = self._first.setdefault(name, [])
        if len(first) < self.LEVEL_STEPS:
            first.append(size)
            return ""
        level = max(median(first), 1.0)
        high = self._high.get(name, 0) + 1 if size > self.factor * level else 0
        self._high[name] = high
        if high < self.patience:
            return ""
        return (
            f"`{name}` exploded: {size:.4g}, more than {self.factor:g} times its "
            f"level of {level:.4g}, for {high} steps"
        )


def first_non_finite(arrays: Mapping[str, mx.array]) -> str:
    """Name of the first floating-point array with NaN or infinity in it, or ""."""
    flags = {
        name: mx.all(mx.isfinite(array))
        for name, array in arrays.items()
        if mx.issubdtype(array.dtype, mx.floating)
    }
    if not flags:
        return ""
    names = list(flags)
    healthy = np.asarray(mx.stack(list(flags.values())))
    return "" if healthy.all() else names[int(np.argmin(healthy))]
