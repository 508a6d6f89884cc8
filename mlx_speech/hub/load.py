"""Reading safetensors files, and giving weights to a module without slack.

The header of a file is checked here, against the size of the file, before MLX reads
any data: a truncated or corrupt download ends in one sentence that names it.
Format: https://huggingface.co/docs/safetensors (8 bytes of header length, JSON, data).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
# No real model has a header near this; a corrupt length usually is beyond it.
# How the file begins that `git clone` leaves in the place of a large one without LFS.
LFS_POINTER = b"version "
MAX_HEADER_BYTES = 100_000_000
AGAIN = "download or copy it again"

# Name in the header -> bytes of an element. MLX cannot hold float64 and float8.
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
}


def load_safetensors(path: str | Path) -> dict[str, mx.array]:
    """Read every array of a safetensors file, or of a folder that holds a model.

    Args:
        path: a ``.safetensors`` file, a ``*.safetensors.index.json`` beside its
            shards, or a folder with ``model.safetensors`` or its index.

    Returns:
        Arrays by name, in the dtypes of the file.

    Raises:
        SpeechError: missing, unreadable, truncated or corrupt; a dtype that MLX
            lacks; an index whose shards are missing, lie elsewhere, or do not hold
            what it says.
    """
    path = Path(path)
    if path.is_dir():
        return load_safetensors(_model_file(path))
    if path.name.endswith(".index.json"):
        return _load_shards(path)
    header = read_header(path)
    for name, entry in header.items():
        if entry["dtype"] not in ITEM_BYTES:
            raise SpeechError(
                f"`{path}`: array `{name}` has dtype {entry['dtype']}, "
                "which MLX cannot hold",
                "convert the file to float32 or float16",
            )
    return _mx_load(path) if header else {}


def read_header(path: str | Path) -> dict[str, dict[str, Any]]:
    """The entries of a safetensors header, proven to fit the file.

    Returns:
        name -> {"dtype": str, "shape": list[int], "data_offsets": [start, end]},
        without the free-text metadata.

    Raises:
        SpeechError: missing, unreadable, truncated or corrupt, with the byte counts.
    """
    path = Path(path)
    entries, data_start, size = _parse_header(path)
    end = 0
    for name, entry in entries.items():
        end = max(end, _checked_end(path, name, entry))
    if data_start + end > size:
        raise SpeechError(
            f"`{path}` is truncated: {size} bytes of {data_start + end}", AGAIN
        )
    if data_start + end < size:
        raise SpeechError(
            f"`{path}` is corrupt: {size} bytes where its header says "
            f"{data_start + end}",
            AGAIN,
        )
    return entries


def read_metadata(path: str | Path) -> dict[str, str]:
    """The free-text metadata of a safetensors file (empty when it has none)."""
    path = Path(path)
    metadata = _read_json_header(path)[0].get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _corrupt(path, "its metadata is not an object")
    return {str(key): str(value) for key, value in metadata.items()}


def load_strict(
    module: nn.Module, weights: Mapping[str, mx.array], source: str | Path
) -> None:
    """Give a module exactly its parameters, cast to the dtypes that it has.

    Args:
        module: receives the arrays.
        weights: arrays by the module's parameter names.
        source: where they come from, for the message.

    Raises:
        SpeechError: a name is missing or unexpected or has another shape; the
            message counts all three kinds and names up to ten of each. The module
            is then unchanged.
    """
    own = dict(tree_flatten(module.parameters()))
    missing = sorted(set(own) - set(weights))
    unexpected = sorted(set(weights) - set(own))
    reshaped = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(set(own) & set(weights))
        if weights[name].shape != own[name].shape
    ]
    refuse_difference(source, missing, unexpected, reshaped)
    pairs = [(name, weights[name].astype(own[name].dtype)) for name in own]
    module.load_weights(pairs, strict=True)
    # Read the data now: a lazy array would keep the file open, and fail later.
    mx.eval(module.parameters())


def refuse_difference(
    source: str | Path,
    missing: list[str],
    unexpected: list[str],
    reshaped: Sequence[str] = (),
) -> None:
    """Raise the error of a checkpoint of another architecture, if there is one.

    Args:
        source: where the weights come from.
        missing, unexpected: parameter names; ``reshaped``: names with both shapes.

    Raises:
        SpeechError: any of the three is not empty; counts, and up to ten of each.
    """
    parts = [
        _count(missing, "missing"),
        _count(unexpected, "unexpected"),
        _count(list(reshaped), "with another shape"),
    ]
    if any(parts):
        raise SpeechError(
            f"`{source}` holds a checkpoint of another architecture: "
            + "; ".join(part for part in parts if part),
            "use the configuration that it was trained with",
        )


def read_json(path: str | Path) -> Any:
    """Parse a small JSON file.

    Raises:
        SpeechError: missing, unreadable or not JSON, named.
    """
    path = Path(path)
    try:
        return json.loads(_read_bytes(path).decode("utf-8"))
    except ValueError as error:
        raise SpeechError(f"`{path}` is not JSON: {error}", AGAIN) from error


def read_object(path: str | Path) -> dict[str, Any]:
    """Parse a small JSON file that holds an object.

    Raises:
        SpeechError: as ``read_json``, or it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise SpeechError(f"`{path}` does not hold a JSON object")
    return content


def _model_file(folder: Path) -> Path:
    for name in (SINGLE_NAME, INDEX_NAME):
        if (folder / name).is_file():
            return folder / name
    raise SpeechError(
        f"`{folder}` holds neither `{SINGLE_NAME}` nor `{INDEX_NAME}`",
        "give the folder of a model in safetensors format",
    )


def _load_shards(index: Path) -> dict[str, mx.array]:
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise _corrupt(index, "it has no `weight_map`")
    shards: dict[str, dict[str, mx.array]] = {}
    for shard in sorted({str(value) for value in weight_map.values()}):
        # A name with a folder in it could point out of the model's folder.
        if Path(shard).name != shard or "\\" in shard or shard in ("", ".", ".."):
            raise SpeechError(
                f"`{index}` names the shard `{shard}`, which lies in another folder",
                "shards must lie beside their index",
            )
        shards[shard] = load_safetensors(index.parent / shard)
    arrays = {}
    for name, shard in weight_map.items():
        if name not in shards[str(shard)]:
            raise SpeechError(f"`{index}`: the shard `{shard}` does not hold `{name}`")
        arrays[name] = shards[str(shard)][name]
    extra = sorted(name for shard in shards.values() for name in shard.keys() - arrays)
    if extra:
        raise SpeechError(
            f"the shards of `{index}` hold {_count(extra, 'that it does not name')}"
        )
    return arrays


def _read_json_header(path: Path) -> tuple[dict[str, Any], int, int]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8:
                raise SpeechError(f"`{path}` is truncated: {size} bytes", AGAIN)
            if length.to_bytes(8, "little") == LFS_POINTER:
                raise SpeechError(
                    f"`{path}` is no weights but Git LFS's note where they are",
                    "run `git lfs install` and `git lfs pull` in its repository",
                )
            if length > MAX_HEADER_BYTES:
                raise _corrupt(path, "it does not start with a safetensors header")
            if 8 + length > size:
                raise SpeechError(
                    f"`{path}` is truncated: {size} bytes, its header alone takes "
                    f"{8 + length}",
                    AGAIN,
                )
            text = file.read(length)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        header = json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise _corrupt(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _corrupt(path, "its header is not an object")
    return header, 8 + length, size


def _parse_header(path: Path) -> tuple[dict[str, dict[str, Any]], int, int]:
    header, data_start, size = _read_json_header(path)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not isinstance(entry, dict) or {"dtype", "shape", "data_offsets"} - set(
            entry
        ):
            raise _corrupt(path, f"the entry of `{name}` is incomplete")
    return header, data_start, size


def _checked_end(path: Path, name: str, entry: Mapping[str, Any]) -> int:
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_are_counts(shape) and _are_counts(offsets)) or len(offsets) != 2:
        raise _corrupt(path, f"the entry of `{name}` makes no sense")
    if offsets[0] > offsets[1]:
        raise _corrupt(path, f"the entry of `{name}` ends before it starts")
    item = ITEM_BYTES.get(entry["dtype"])
    if item is not None and offsets[1] - offsets[0] != item * prod(shape):
        raise _corrupt(path, f"`{name}` {shape} does not fit its bytes {offsets}")
    return offsets[1]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and value >= 0 for value in values
    )


def _mx_load(path: Path) -> dict[str, mx.array]:
    try:
        # "safetensors" is the format whatever the file's suffix is.
        arrays = mx.load(str(path), format="safetensors")
    except RuntimeError as error:
        raise _corrupt(path, str(error)) from error
    assert isinstance(arrays, dict)
    return arrays


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SpeechError:
    if isinstance(error, FileNotFoundError):
        return SpeechError(f"no file `{path}`", "check the path")
    return SpeechError(f"`{path}` cannot be read: {error.strerror}", "check the path")


def _corrupt(path: Path, why: str) -> SpeechError:
    return SpeechError(f"`{path}` is corrupt: {why}", AGAIN)


def _count(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > 10 else ""
    return f"{len(names)} keys {what} ({', '.join(names[:10])}{more})"
