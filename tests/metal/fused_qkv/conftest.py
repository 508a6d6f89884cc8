"""The fused projection in double precision, written without MLX; fresh choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.fused_qkv_reference import Projection

Doubles = dict[str, np.ndarray]
DIGITS_PER_WORD = 8


def as_double(array: mx.array) -> np.ndarray:
    return np.array(array.astype(mx.float32)).astype(np.float64)


def numbers_of(x: mx.array, projection: Projection) -> Doubles:
    """All float arrays of a call by name; 4 bits are unpacked into "weight"."""
    found = {"x": as_double(x)}
    if projection.bits:
        packed, scales, offsets = projection.weights
        words = np.array(packed)
        columns = words.shape[1] * DIGITS_PER_WORD
        weight = np.empty((words.shape[0], columns))
        for column in range(columns):
            shift = 4 * (column % DIGITS_PER_WORD)
            digit = words[:, column // DIGITS_PER_WORD] >> np.uint32(shift) & 15
            group = column // projection.group_size
            weight[:, column] = digit * as_double(scales)[:, group]
            weight[:, column] += as_double(offsets)[:, group]
        found["weight"] = weight
    else:
        found["weight"] = as_double(projection.weights[0])
    if projection.bias is not None:
        found["bias"] = as_double(projection.bias)
    if projection.norm is not None:
        found["gamma"] = as_double(projection.norm.weight)
        found["beta"] = as_double(projection.norm.bias)
    return found


def heads_of(numbers: Doubles, n_heads: int, epsilon: float) -> list[np.ndarray]:
    """q, k and v [batch, heads, length, head channels], head by head."""
    x = numbers["x"]
    if "gamma" in numbers:
        mean = x.mean(axis=-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
        x = (x - mean) / np.sqrt(variance + epsilon)
        x = x * numbers["gamma"] + numbers["beta"]
    outputs = len(numbers["weight"])
    width = outputs // (3 * n_heads)
    arrays = []
    for part in range(3):
        heads = []
        for head in range(n_heads):
            first = (part * n_heads + head) * width
            rows = slice(first, first + width)
            bias = numbers["bias"][rows] if "bias" in numbers else 0.0
            heads.append(np.einsum("blc,oc->blo", x, numbers["weight"][rows]) + bias)
        arrays.append(np.stack(heads, axis=1))
    return arrays


@pytest.fixture(scope="session")
def doubles() -> Callable[[mx.array, Projection], Doubles]:
    return numbers_of


@pytest.fixture(scope="session")
def heads_in_double() -> Callable[[Doubles, int, float], list[np.ndarray]]:
    return heads_of


@pytest.fixture(scope="session")
def exact() -> Callable[[mx.array, Projection], list[np.ndarray]]:
    """q, k and v of a call in double precision."""

    def compute(x: mx.array, projection: Projection) -> list[np.ndarray]:
        epsilon = projection.norm.epsilon if projection.norm else 0.0
        return heads_of(numbers_of(x, projection), projection.n_heads, epsilon)

    return compute


@pytest.fixture(autouse=True)
def fresh_choices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels are used wherever they can be, and no earlier finding counts."""
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "on")
    select.forget()
