"""Writing safetensors files whole or not at all, and the JSON beside them.

The writer is our own and short: Python reports a full disk with its error number,
which `files.replacing_file` turns into a sentence, and the bytes of a file depend on
nothing but its arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file

DTYPE_NAMES = {
    mx.bool_: "BOOL",
    mx.uint8: "U8",
    mx.int8: "I8",
    mx.uint16: "U16",
    mx.int16: "I16",
    mx.float16: "F16",
    mx.bfloat16: "BF16",
    mx.uint32: "U32",
    mx.int32: "I32",
    mx.float32: "F32",
    mx.uint64: "U64",
    mx.int64: "I64",
}


def save_safetensors(
    path: str | Path,
    arrays: Mapping[str, mx.array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays to a safetensors file, atomically.

    Args:
        path: file to write; parent folders are made.
        arrays: arrays by name, stored in the dtypes that they have.
        metadata: free text for the header.

    Raises:
        SpeechError: a dtype that the format lacks; the folder cannot be written; the
            disk is full.
    """
    for name, array in arrays.items():
        if array.dtype not in DTYPE_NAMES:
            raise SpeechError(f"`{name}` cannot be saved: its dtype is {array.dtype}")
    # Wide elements first: every array then starts at a multiple of its element size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.size, name))
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        file.write(_header(arrays, order, metadata or {}))
        for name in order:
            file.write(_bytes(arrays[name]))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON into a folder of ``files.replacing_folder``."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def flatten_parameters(
    module: nn.Module, dtype: mx.Dtype | None = None
) -> dict[str, mx.array]:
    """All parameters of a module by dotted name.

    Args:
        module: frozen parameters are included.
        dtype: cast floating point parameters to this; None keeps them.
    """
    return cast_floats(dict(tree_flatten(module.parameters())), dtype)


def cast_floats(
    arrays: Mapping[str, mx.array], dtype: mx.Dtype | None
) -> dict[str, mx.array]:
    """The arrays with the floating point ones cast to ``dtype`` (None: as they are)."""
    if dtype is None:
        return dict(arrays)
    return {
        name: array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) else array
        for name, array in arrays.items()
    }


def _header(
    arrays: Mapping[str, mx.array], order: list[str], metadata: Mapping[str, str]
) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name in order:
        array = arrays[name]
        header[name] = {
            "dtype": DTYPE_NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(array: mx.array) -> bytes:
    if array.size == 0:
        return b""
    # Python's buffer protocol knows no bfloat16: hand out plain bytes.
    return np.asarray(mx.contiguous(array).reshape(-1).view(mx.uint8)).tobytes()
