"""safetensors: written, read, sharded; damaged files and other models explained."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlx_speech.errors import SpeechError
from mlx_speech.hub import save as save_module
from mlx_speech.hub.load import (
    load_safetensors,
    load_strict,
    read_header,
    read_json,
    read_metadata,
)
from mlx_speech.hub.save import flatten_parameters, save_safetensors


def some_arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "b.weight": generator.standard_normal((3, 4)).astype(np.float32),
        "a": generator.standard_normal(5).astype(np.float16),
        "flags": np.array([True, False, True]),
        "count": np.array(7, np.int64),
        "none": np.zeros((0, 2), np.float32),
    }


def same(first: mx.array | np.ndarray, second: mx.array | np.ndarray) -> None:
    np.testing.assert_array_equal(np.array(first), np.array(second))
    assert np.array(first).dtype == np.array(second).dtype


def test_the_safetensors_package_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.safetensors"
    arrays = some_arrays()
    save_safetensors(
        path, {name: mx.array(value) for name, value in arrays.items()}, {"of": "é"}
    )
    theirs = load_file(path)
    assert set(theirs) == set(arrays)
    for name, value in arrays.items():
        same(theirs[name], value)
    assert read_metadata(path) == {"of": "é"}


def test_we_read_what_the_safetensors_package_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(some_arrays(), path)
    for name, value in load_safetensors(path).items():
        same(value, some_arrays()[name])
    assert read_metadata(path) == {}


def test_bfloat16_transposed_and_no_arrays_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    x = mx.arange(6, dtype=mx.float32).reshape(2, 3)
    save_safetensors(path, {"t": x.T, "h": x.astype(mx.bfloat16)})
    loaded = load_safetensors(path)
    same(loaded["t"], x.T)
    assert loaded["h"].dtype == mx.bfloat16
    same(loaded["h"].astype(mx.float32), x)
    save_safetensors(path, {})
    assert load_safetensors(path) == {}


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {name: mx.array(value) for name, value in some_arrays().items()}
    save_safetensors(tmp_path / "a.safetensors", arrays)
    save_safetensors(tmp_path / "b.safetensors", dict(reversed(list(arrays.items()))))
    first, second = (tmp_path / f"{n}.safetensors" for n in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_complex_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="`z` cannot be saved"):
        save_safetensors(tmp_path / "a.safetensors", {"z": mx.array([1j])})


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(path, {"x": mx.zeros(3)})
    before = path.read_bytes()

    def full(array: mx.array) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(save_module, "_bytes", full)
    with pytest.raises(SpeechError, match="no space left on the disk"):
        save_safetensors(path, {"x": mx.ones(3)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 4, 20, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.safetensors"
    save_file(some_arrays(), path)
    content = path.read_bytes()
    count = int(keep * len(content)) if isinstance(keep, float) else keep
    path.write_bytes(content[:count])
    with pytest.raises(SpeechError, match=f"a.safetensors` is truncated: {count} byte"):
        load_safetensors(path)


def header_file(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"not json", "header is not JSON"),
        (b"\xff\xfe{}", "header is not JSON"),
        ([1], "header is not an object"),
        ({"x": {"dtype": "F32"}}, "`x` is incomplete"),
        ({"x": ENTRY | {"shape": [3]}}, "does not fit its bytes"),
        ({"x": ENTRY | {"shape": [-2]}}, "makes no sense"),
        ({"x": ENTRY | {"shape": 2}}, "makes no sense"),
        ({"x": ENTRY | {"data_offsets": [8, 0]}}, "ends before it starts"),
        ({"x": ENTRY | {"shape": [1], "data_offsets": [0, 4]}}, "is corrupt: "),
    ],
)
def test_a_corrupt_header_is_explained(
    tmp_path: Path, header: object, message: str
) -> None:
    path = header_file(tmp_path / "a.safetensors", header, bytes(8))
    with pytest.raises(SpeechError, match=message):
        load_safetensors(path)


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"PK\x03\x04 this is a zip file and not what it is called")
    with pytest.raises(SpeechError, match="does not start with a safetensors header"):
        load_safetensors(path)
    entry = ENTRY | {"dtype": "F64", "shape": [1]}
    header_file(path, {"x": entry}, bytes(8))
    with pytest.raises(SpeechError, match="dtype F64, which MLX cannot hold"):
        load_safetensors(path)
    assert read_header(path) == {"x": entry}


def test_what_git_leaves_without_lfs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid {'0' * 64}\n")
    with pytest.raises(SpeechError, match="Git LFS's note") as told:
        load_safetensors(path)
    assert "git lfs pull" in told.value.hint


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match=r"no file `.*absent.safetensors`"):
        load_safetensors(tmp_path / "absent.safetensors")
    with pytest.raises(SpeechError, match="holds neither"):
        load_safetensors(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SpeechError, match=r"broken.json` is not JSON"):
        read_json(tmp_path / "broken.json")


def sharded(folder: Path, weight_map: dict[str, str]) -> Path:
    for shard in set(weight_map.values()):
        names = [name for name, file in weight_map.items() if file == shard]
        arrays = {name: np.full(2, len(name), np.float32) for name in names}
        save_file(arrays, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_are_joined(tmp_path: Path) -> None:
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = sharded(tmp_path, {"a": files[0], "bb": files[1], "ccc": files[0]})
    for path in (tmp_path, index):
        loaded = load_safetensors(path)
        assert {name: value.tolist() for name, value in loaded.items()} == {
            "a": [1, 1],
            "bb": [2, 2],
            "ccc": [3, 3],
        }


@pytest.mark.parametrize(
    "shard", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ""]
)
def test_a_shard_in_another_folder_is_refused(tmp_path: Path, shard: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(SpeechError, match="lies in another folder"):
        load_safetensors(tmp_path)


def test_an_index_that_lies_is_refused(tmp_path: Path) -> None:
    index = sharded(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(SpeechError, match=r"1 keys that it does not name \(b\)"):
        load_safetensors(index)
    index.write_text(json.dumps({"weight_map": {"c": "one.safetensors"}}))
    with pytest.raises(SpeechError, match="does not hold `c`"):
        load_safetensors(index)
    index.write_text(json.dumps({"weight_map": {"c": "two.safetensors"}}))
    with pytest.raises(SpeechError, match="no file"):
        load_safetensors(index)
    index.write_text("{}")
    with pytest.raises(SpeechError, match="no `weight_map`"):
        load_safetensors(index)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 3), nn.Linear(3, 2)]
        self.scale = mx.ones(1)


def test_strict_loading_takes_half_precision_into_the_module(tmp_path: Path) -> None:
    module = Pair()
    wanted = flatten_parameters(module, mx.float16)
    save_safetensors(tmp_path / "a.safetensors", wanted)
    other = Pair()
    load_strict(other, load_safetensors(tmp_path / "a.safetensors"), "a")
    loaded = flatten_parameters(other)
    assert set(loaded) == set(wanted)
    for name, value in wanted.items():
        assert loaded[name].dtype == mx.float32
        same(loaded[name], value.astype(mx.float32))


def test_a_checkpoint_of_another_architecture_says_which_keys_differ() -> None:
    module = Pair()
    before = flatten_parameters(module)
    weights = dict(before)
    del weights["scale"]
    weights["layers.0.weight"] = mx.zeros((4, 4))
    for number in range(12):
        weights[f"extra.{number:02}"] = mx.zeros(1)
    with pytest.raises(SpeechError) as caught:
        load_strict(module, weights, "voice/model.safetensors")
    message = caught.value.message
    assert "`voice/model.safetensors` holds a checkpoint of another arch" in message
    assert "1 keys missing (scale)" in message
    assert "12 keys unexpected (extra.00" in message
    assert "extra.09, ...)" in message
    assert "extra.10" not in message
    assert "layers.0.weight [4, 4] instead of [3, 2]" in message
    after = flatten_parameters(module)
    assert all(mx.array_equal(before[name], after[name]) for name in before)
