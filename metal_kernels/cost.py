"""Predicted times of kernels and their rivals on Apple GPUs: a roofline, unmeasured.

A call takes as long as the slowest of its parts: bytes through the memory, bytes
through the caches, bytes through threadgroup memory, arithmetic; and then a constant
for each launch. Memory bandwidths are those that Apple publishes. Cores are those of
the largest chip of each name; clocks, the widths on the chip and the constant for a
launch are what others have measured or estimated
(github.com/philipturner/metal-benchmarks), and the shares that programs reach are
assumptions. So the figures are good for telling which way is ahead when they differ by
a factor, and for nothing finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Bytes per core and clock.
_THREADGROUP_WIDTH = 64
_CACHE_WIDTH = 32
# Arithmetic of a core and clock: 128 lanes, a product and a sum each.
_CORE_FLOPS = 256
# What good programs reach of bandwidth and arithmetic.
_BANDWIDTH_SHARE = 0.85
_FLOPS_SHARE = 0.7
# Of launches that follow each other in one command buffer; order of magnitude only.
_LAUNCH_MICROSECONDS = 2.5


@dataclass(frozen=True)
class Chip:
    """A GPU.

    Attributes:
        name: of the chip.
        bandwidth: of the memory, GB/s, as published.
        cores: of the GPU.
        gigahertz: its clock, as reported by others.
    """

    name: str
    bandwidth: float
    cores: int
    gigahertz: float


CHIPS = (
    Chip("M1", 68, 8, 1.28),
    Chip("M1 Max", 400, 32, 1.30),
    Chip("M2", 100, 10, 1.40),
    Chip("M3", 100, 10, 1.38),
    Chip("M4", 120, 10, 1.47),
    Chip("M4 Max", 546, 40, 1.58),
    Chip("M5", 153, 10, 1.58),
)


@dataclass(frozen=True)
class Cost:
    """What one way of computing something moves and counts.

    Attributes:
        name: of the way, as tables call it.
        memory_bytes: read and written in memory: arrays that are larger than a cache,
            and the first reading of small ones.
        flops: floating point operations.
        launches: kernels started one after the other.
        cache_bytes: read again, or written and read back, within the caches.
        threadgroup_bytes: read and written in threadgroup memory.
        flops_share: what the way is assumed to reach of the chip's arithmetic.
    """

    name: str
    memory_bytes: float
    flops: float
    launches: int
    cache_bytes: float = 0.0
    threadgroup_bytes: float = 0.0
    flops_share: float = _FLOPS_SHARE


@dataclass(frozen=True)
class Prediction:
    """A predicted time, and what it is limited by."""

    microseconds: float
    limit: str


def predict(cost: Cost, chip: Chip) -> Prediction:
    """How long a way would take on a chip, by the roofline of this module."""
    core_clocks = chip.cores * chip.gigahertz * 1e3  # per microsecond
    parts = {
        "memory": cost.memory_bytes / (chip.bandwidth * 1e3 * _BANDWIDTH_SHARE),
        "arithmetic": cost.flops / (core_clocks * _CORE_FLOPS * cost.flops_share),
        "cache": cost.cache_bytes / (core_clocks * _CACHE_WIDTH),
        "threadgroup": cost.threadgroup_bytes / (core_clocks * _THREADGROUP_WIDTH),
    }
    slowest = max(parts, key=lambda part: parts[part])
    launching = cost.launches * _LAUNCH_MICROSECONDS
    limit = "launches" if launching > parts[slowest] else slowest
    return Prediction(parts[slowest] + launching, limit)


def cost_table(costs: Sequence[Cost], chips: Sequence[Chip] = CHIPS) -> list[str]:
    """Costs and predicted microseconds as lines of a Markdown table."""
    head = ["", "MB", "MFLOP", "launches", *(f"{chip.name}, us" for chip in chips)]
    lines = [_row(head), _row(["---"] * len(head))]
    for cost in costs:
        predictions = [f"{predict(cost, chip).microseconds:.0f}" for chip in chips]
        moved = f"{cost.memory_bytes / 1e6:.1f}"
        counted = f"{cost.flops / 1e6:.0f}"
        lines.append(
            _row([cost.name, moved, counted, str(cost.launches), *predictions])
        )
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
