"""Made-up languages: logits that depend on nothing but what was sampled before.

They end early or late, prefer times or words, and cost no model, so that a search can
meet in hundreds of cases what random models hardly do: transcripts that end while
others go on, full lists of candidates, and those that have to be filled up.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

# Bytes, special tokens of two languages, and times; as the small vocabularies of the
# tests have them.
EOT, NO_TIMESTAMPS, FIRST_TIME = 256, 265, 266
TIMES = 301
SIZE = FIRST_TIME + TIMES
LATEST_FIRST = 50
CASES = range(120)


def case(number: int) -> dict[str, Any]:
    """What is searched, and how."""
    draw = random.Random(f"search {number}")
    windows = draw.choice([1, 1, 2, 4])
    return {
        "windows": windows,
        "beams": draw.choice([1, 2, 3, 5]),
        "patience": draw.choice([1.0, 1.0, 0.6, 2.0, 3.0]),
        "penalty": draw.choice([None, 0.0, 0.3, 1.0]),
        "limit": draw.choice([1, 2, 5, 12, 24]),
        "timestamps": draw.random() < 0.5,
        "samples": draw.choice([1, 3]),
        "temperature": draw.choice([0.2, 0.7, 1.0]),
        # How much the end, and times, are preferred.
        "end": draw.choice([0.0, 2.0, 4.0, 6.0]),
        "time": draw.choice([-3.0, -1.0, 0.0]),
        "scale": draw.choice([1.0, 2.0]),
    }


def logits(number: int, window: int, sampled: Sequence[int]) -> np.ndarray:
    """float32 [SIZE] of the token after ``sampled``, before any rule."""
    chosen = case(number)
    seed = zlib.crc32(f"{number} {window} {list(sampled)}".encode())
    found = np.random.default_rng(seed).standard_normal(SIZE) * chosen["scale"]
    # In some places the end is likely, in others not at all.
    found[EOT] += chosen["end"] * (0.2 + seed % 97 / 97)
    found[FIRST_TIME:] += chosen["time"]
    return found.astype(np.float32)


def guessed(
    number: int, window: int, sampled: Sequence[int], share: float
) -> np.ndarray:
    """Logits of a draft that thinks as the model does in a share of the places."""
    place = zlib.crc32(f"draft {number} {window} {list(sampled)}".encode()) % 1000
    if place < 1000 * share:
        return logits(number, window, sampled)
    return logits(number, window + 100, sampled)
