"""Goldens and the measure of agreement that the audio tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

GOLDENS = Path(__file__).parent.parent / "goldens"


@pytest.fixture(scope="session")
def goldens() -> Callable[[str], dict[str, np.ndarray]]:
    """Load ``tests/goldens/NAME.npz``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDENS / f"{name}.npz") as file:
            return {key: file[key] for key in file.files}

    return load


@pytest.fixture(scope="session")
def error() -> Callable[[object, np.ndarray], float]:
    """Largest difference from the reference, relative to its largest value."""

    def measure(value: object, reference: np.ndarray) -> float:
        value = np.asarray(value)
        assert value.shape == reference.shape
        return float(np.abs(value - reference).max() / np.abs(reference).max())

    return measure


@pytest.fixture(scope="session")
def weights() -> Callable[[tuple[int, ...]], np.ndarray]:
    """The factors of the weighted sums whose gradients the goldens hold."""

    def make(shape: tuple[int, ...]) -> np.ndarray:
        values = np.cos(0.37 * np.arange(np.prod(shape)))
        return values.reshape(shape).astype(np.float32)

    return make


@pytest.fixture
def tone() -> np.ndarray:
    """Half a second of 440 Hz at 16 kHz, float32."""
    time = np.arange(8000) / 16000
    return (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
