"""A writer of torch checkpoints made of opcodes, so that the tests need no torch.

And one of models in the cache of Hugging Face.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A function with its arguments."""

    function: Global
    arguments: tuple


@dataclass(frozen=True)
class Instance:
    """An object made without a constructor, then given its attributes."""

    kind: Global
    state: Any


@dataclass(frozen=True)
class Edit:
    """Any object whose state is then set."""

    target: Any
    state: Any


@dataclass(frozen=True)
class Reference:
    """A persistent identifier."""

    identifier: tuple


def opcodes(value: Any) -> bytes:
    """The body of a protocol 2 pickle."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        content = value.to_bytes(16, "little", signed=True)
        return b"\x8a" + bytes([len(content)]) + content
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, dict):
        pairs = b"".join(opcodes(k) + opcodes(v) for k, v in value.items())
        return b"}(" + pairs + b"u"
    if isinstance(value, Global):
        return b"c" + f"{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return opcodes(value.function) + opcodes(value.arguments) + b"R"
    if isinstance(value, Instance):
        return opcodes(value.kind) + b")\x81" + opcodes(value.state) + b"b"
    if isinstance(value, Edit):
        return opcodes(value.target) + opcodes(value.state) + b"b"
    assert isinstance(value, Reference)
    return opcodes(value.identifier) + b"Q"


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


@dataclass
class CheckpointWriter:
    """Collects storages, then writes them with a pickle as torch.save would."""

    storages: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def storage(self, array: np.ndarray, kind: str = "FloatStorage") -> Reference:
        key = str(len(self.storages))
        self.storages[key] = array.tobytes()
        self.counts[key] = array.size
        kind_name = Global("torch", kind)
        return Reference(("storage", kind_name, key, "cpu", array.size))

    def view(
        self, storage: Reference, offset: int, shape: tuple, strides: tuple
    ) -> Call:
        hooks = Call(Global("collections", "OrderedDict"), ())
        function = Global("torch._utils", "_rebuild_tensor_v2")
        return Call(function, (storage, offset, shape, strides, False, hooks))

    def tensor(self, array: np.ndarray, kind: str = "FloatStorage") -> Call:
        array = np.require(array, requirements="C")
        steps = tuple(step // array.itemsize for step in array.strides)
        return self.view(self.storage(array, kind), 0, array.shape, steps)

    def save(self, path: Path, value: Any, root: str = "archive") -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{root}/data.pkl", pickled(value))
            archive.writestr(f"{root}/byteorder", "little")
            for key, content in self.storages.items():
                archive.writestr(f"{root}/data/{key}", content)
            archive.writestr(f"{root}/version", "3\n")
        return path

    def save_stream(self, path: Path, value: Any) -> Path:
        sizes = {"protocol_version": 1001, "little_endian": True}
        parts = [0x1950A86A20F9469CFC6C, 1001, sizes, value, list(self.storages)]
        content = b"".join(map(pickled, parts))
        for key, raw in self.storages.items():
            content += struct.pack("<q", self.counts[key]) + raw
        path.write_bytes(content)
        return path


@pytest.fixture(scope="session")
def torch_tools() -> SimpleNamespace:
    """What the tests build checkpoints from."""
    return SimpleNamespace(
        Global=Global,
        Call=Call,
        Instance=Instance,
        Edit=Edit,
        Reference=Reference,
        Writer=CheckpointWriter,
        pickled=pickled,
    )


@pytest.fixture(scope="session")
def put_in_cache() -> Callable[..., Path]:
    """Lay files out as the Hugging Face cache does; the snapshot's folder."""

    def put(cache: Path, repo: str, files: dict[str, bytes], commit: str) -> Path:
        root = cache / f"models--{repo.replace('/', '--')}"
        snapshot = root / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (root / "blobs").mkdir()
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(commit)
        for number, (name, content) in enumerate(files.items()):
            blob = root / "blobs" / str(number)
            blob.write_bytes(content)
            (snapshot / name).symlink_to(blob)
        return snapshot

    return put
