"""Element types: one table of names, sizes, and words in Metal, NumPy and CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ElementType:
    """How one MLX dtype is called elsewhere.

    Args:
        name: MLX's name.
        metal: the word in the signature that MLX writes.
        numpy: storage on the host; bfloat16 is kept as its 16 bits.
        cuda: the word in CUDA.
        cell: bytes that one memory check covers; the parts of a complex number are
            written apart.
    """

    name: str
    metal: str
    numpy: type[np.generic]
    cuda: str
    cell: int


_ROWS = (
    ElementType("bool", "bool", np.bool_, "bool", 1),
    ElementType("uint8", "uint8_t", np.uint8, "uint8_t", 1),
    ElementType("uint16", "uint16_t", np.uint16, "uint16_t", 2),
    ElementType("uint32", "uint32_t", np.uint32, "uint32_t", 4),
    ElementType("uint64", "uint64_t", np.uint64, "uint64_t", 8),
    ElementType("int8", "int8_t", np.int8, "int8_t", 1),
    ElementType("int16", "int16_t", np.int16, "int16_t", 2),
    ElementType("int32", "int32_t", np.int32, "int32_t", 4),
    ElementType("int64", "int64_t", np.int64, "int64_t", 8),
    ElementType("float16", "float16_t", np.float16, "__half", 2),
    ElementType("bfloat16", "bfloat16_t", np.uint16, "__nv_bfloat16", 2),
    ElementType("float32", "float", np.float32, "float", 4),
    ElementType("complex64", "complex64_t", np.complex64, "complex64_t", 4),
)
_BY_NAME = {row.name: row for row in _ROWS}


def element_type(dtype: Any) -> ElementType:
    """Look a dtype up.

    Args:
        dtype: of MLX (``mx.float16``), of NumPy, or MLX's name of it.

    Raises:
        ValueError: Metal has no such element type (float64 among them).
    """
    name = dtype if isinstance(dtype, str) else str(dtype)
    if name.startswith("<class"):
        name = np.dtype(dtype).name
    name = name.removeprefix("mlx.core.").removesuffix("_")
    if name not in _BY_NAME:
        raise ValueError(f"no Metal element type for dtype {dtype!r}")
    return _BY_NAME[name]


def to_bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16 (ties to even); returned as uint16 bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)


def from_bfloat16_bits(bits: np.ndarray) -> np.ndarray:
    """Widen bfloat16, given as uint16 bits, to float32 without loss."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def host_array(value: Any) -> tuple[np.ndarray, ElementType]:
    """Take an array of MLX or NumPy apart into host storage and its element type.

    A Python number becomes a 0-d array of the type that ``mx.array`` gives it.

    Raises:
        ValueError: an element type that Metal does not have.
    """
    import mlx.core as mx

    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value), element_type(value.dtype.name)
    array = value if isinstance(value, mx.array) else mx.array(value)
    kind = element_type(array.dtype)
    if kind.name == "bfloat16":
        return np.array(array.view(mx.uint16)), kind
    return np.array(array), kind
