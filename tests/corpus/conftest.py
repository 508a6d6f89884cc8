"""Small recordings, written where a test wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def record() -> Callable[..., Path]:
    """Write a tone: ``record(path, seconds=1.0, rate=16000, channels=1, ...)``."""

    def write(
        path: Path,
        seconds: float = 1.0,
        rate: int = 16000,
        channels: int = 1,
        before: float = 0.0,
        after: float = 0.0,
        level: float = 0.5,
        subtype: str | None = None,
    ) -> Path:
        import soundfile

        time = np.arange(round(seconds * rate)) / rate
        tone = level * np.sin(2 * np.pi * 220 * time)
        silence = [np.zeros(round(length * rate)) for length in (before, after)]
        samples = np.concatenate([silence[0], tone, silence[1]])
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.tile(samples[:, None], channels), rate, subtype)
        return path

    return write
