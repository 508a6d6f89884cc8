"""Which clock measures a model on this device, and how."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from mlx_speech.nn.conv import current_device


def clock_name() -> str:
    """The clock of this device: "processor" on a CPU, else "wall"."""
    return "processor" if current_device() == "cpu" else "wall"


def median_seconds(
    work: Callable[[], object], repeats: int, warm_up: bool = True
) -> float:
    """Median seconds of ``work`` on the clock of this device.

    Args:
        work: computes everything before it returns.
        repeats: runs that are measured.
        warm_up: run it once before, unmeasured.
    """
    clock = time.process_time if clock_name() == "processor" else time.perf_counter
    if warm_up:
        work()
    found = []
    for _ in range(repeats):
        start = clock()
        work()
        found.append(clock() - start)
    return statistics.median(found)
