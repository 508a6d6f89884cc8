"""Reading torch checkpoints without torch and without running what they contain.

A pickle is a program: it may name any function and call it. The unpickler here knows
a short list of names (tensors, storages, plain containers, and the settings class of
the VITS family as data) and refuses every other with its name, before anything is
called. Tensors come out as numpy arrays with the strides that they had.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.hub.torch_archive import (
    ZIP_MAGIC,
    RestoredMagic,
    StorageReader,
    StreamStorages,
    ZipArchive,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
# Class of the storage in the pickle -> dtype of its bytes.
STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# Views may repeat elements, as `expand` does. More than the storage holds are refused
# above this size: a file of a kilobyte could ask for all of the memory.
MOST_REPEATED = 2**16
MOST_AXES = 32
# What a damaged or hand-made pickle raises in the standard unpickler.
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


def load_torch_checkpoint(
    path: str | Path, only: Collection[str] | None = None
) -> dict[str, Any]:
    """Read a checkpoint that ``torch.save`` wrote, as nested dicts of numpy arrays.

    Accepted: the zip format, the stream of torch < 1.6, and voices of GPT-SoVITS
    whose first two bytes are overwritten. Tensors that share a storage share memory;
    bfloat16 comes as float32; objects of ``utils.HParams`` come as dicts. Arrays may
    be read-only.

    Args:
        path: a .pth, .pt, .ckpt or .bin file.
        only: keep these keys of the outermost dictionary; the storages of the others
            (an optimiser's, say) are never read.

    Raises:
        SpeechError: missing, truncated or corrupt; not a torch checkpoint; its
            outermost object is no dictionary; or it asks for anything that is not
            plain data, which is named and not run.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = _read(path, file)
            if not isinstance(content, dict):
                raise SpeechError(
                    f"`{path}` holds a {type(content).__name__}, not a dictionary"
                )
            if only is not None:
                content = {key: content[key] for key in content if key in only}
            return _plain(content, {})
    except OSError as error:
        raise SpeechError(
            f"`{path}` cannot be read: {error.strerror}", "check the path"
        ) from error
    except RecursionError as error:
        raise SpeechError(f"`{path}` nests its objects without end") from error


class _Sealed:
    """An object that a pickle may hold but not edit."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"an edit of a {type(self).__name__}")


class _Name(_Sealed):
    """What a permitted name stands for."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value


class _Call(_Name):
    """A permitted function: the stand-ins below instead of torch's own."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        return _CALLS[self.value](*args)


class _Storage(_Sealed):
    """Bytes of one storage, fetched when the first tensor needs them."""

    __slots__ = ("_array", "count", "dtype", "key", "reader")

    def __init__(
        self, dtype: str, key: str, count: int, reader: StorageReader | None
    ) -> None:
        self.dtype, self.key, self.count, self.reader = dtype, key, count, reader
        self._array: np.ndarray | None = None

    @property
    def item_bytes(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    def array(self) -> np.ndarray:
        if self._array is None:
            assert self.reader is not None
            content = self.reader.read(self.key, self.count * self.item_bytes)
            if self.dtype == "bfloat16":
                bits = np.frombuffer(content, "<u2").astype(np.uint32) << 16
                self._array = bits.view(np.float32)
            else:
                self._array = np.frombuffer(content, self.dtype)
        return self._array


class _Tensor(_Sealed):
    """A view of a storage, checked to stay inside it."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(
        self,
        storage: _Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or not all(
            isinstance(n, int) and n >= 0 for n in numbers
        ):
            raise pickle.UnpicklingError(f"a tensor of shape {shape}, {strides}")
        # Empty axes count as one, since the others may still be of any size.
        elements = math.prod(max(n, 1) for n in shape)
        if len(shape) > MOST_AXES or elements > max(storage.count, MOST_REPEATED):
            raise pickle.UnpicklingError(
                f"a tensor of shape {shape} from the {storage.count} elements of "
                f"storage {storage.key}"
            )
        last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and offset + last >= storage.count:
            raise pickle.UnpicklingError(
                f"a tensor of shape {shape} beyond the {storage.count} elements of "
                f"storage {storage.key}"
            )
        self.storage, self.offset = storage, offset
        self.shape, self.strides = shape, strides

    def array(self) -> np.ndarray:
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.array().dtype)
        flat = self.storage.array()[self.offset :]
        # The step of an axis of one element is never taken, so it may be any number.
        steps = tuple(
            step * flat.itemsize if n > 1 else 0
            for n, step in zip(self.shape, self.strides, strict=True)
        )
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_autograd: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_CALLS: dict[str, Callable[..., Any]] = {
    "tensor": _rebuild_tensor,
    "parameter": lambda tensor, *_autograd: tensor,
    "size": lambda sizes: tuple(sizes),
    "device": lambda *names: ":".join(str(name) for name in names),
}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Call("tensor"),
    ("torch._utils", "_rebuild_parameter"): _Call("parameter"),
    ("torch", "Size"): _Call("size"),
    ("torch", "device"): _Call("device"),
    **{("torch", name): _Name(dtype) for name, dtype in STORAGE_DTYPES.items()},
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, list, dict, tuple)
    },
}


class _Unpickler(pickle.Unpickler):
    """Permits the names above and ``utils.HParams``; see the module."""

    def __init__(self, path: Path, file: BinaryIO, reader: StorageReader | None):
        super().__init__(file, encoding="utf-8")
        self._path = path
        self._reader = reader
        self.storages: dict[str, _Storage] = {}
        # One class for each file: a pickle can set attributes on a class.
        self.settings_class = type("HParams", (_Settings,), {})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("utils", "HParams"):
            return self.settings_class
        if (module, name) not in _ALLOWED:
            raise SpeechError(
                f"`{self._path}` was refused: it asks for `{module}.{name}`, "
                "which is not plain data",
                "nothing of it was run; use a checkpoint from a source you trust, "
                "or convert it to safetensors",
            )
        return _ALLOWED[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        if not isinstance(identifier, tuple) or identifier[:1] != ("storage",):
            raise pickle.UnpicklingError(f"an unknown reference {identifier!r}")
        kind, key, _location, count = identifier[1:5]
        if len(identifier) > 5 and identifier[5] is not None:
            raise pickle.UnpicklingError("a storage that is a view of another")
        valid = isinstance(kind, _Name) and isinstance(key, str)
        if not valid or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError(f"a strange storage {key!r}")
        if key not in self.storages:
            self.storages[key] = _Storage(kind.value, key, count, self._reader)
        storage = self.storages[key]
        if (storage.dtype, storage.count) != (kind.value, count):
            raise pickle.UnpicklingError(f"two descriptions of storage {key}")
        return storage


class _Settings:
    """Data of a ``utils.HParams`` object: attributes, no behaviour."""


def _read(path: Path, file: BinaryIO) -> Any:
    start = file.read(4)
    file.seek(0)
    if start == ZIP_MAGIC:
        return _read_zip(path, file)
    if start[2:] == ZIP_MAGIC[2:] and start[:2].isdigit():
        return _read_zip(path, RestoredMagic(file))  # type: ignore[arg-type]
    if start[:1] == b"\x80":
        return _read_stream(path, file)
    raise SpeechError(
        f"`{path}` is not a torch checkpoint",
        "give a .pth, .pt or .bin file that torch.save wrote",
    )


def _read_zip(path: Path, file: BinaryIO) -> Any:
    archive = ZipArchive(path, file)
    return _unpickle(path, _Unpickler(path, archive.pickle(), archive))


def _read_stream(path: Path, file: BinaryIO) -> Any:
    for expected in (LEGACY_MAGIC, LEGACY_PROTOCOL):
        if _unpickle(path, _Unpickler(path, file, None)) != expected:
            raise SpeechError(
                f"`{path}` is a pickle, but not one that torch.save wrote",
                "give a .pth, .pt or .bin file that torch.save wrote",
            )
    _unpickle(path, _Unpickler(path, file, None))  # the writer's sizes of C types
    unpickler = _Unpickler(path, file, None)
    content = _unpickle(path, unpickler)
    keys = _unpickle(path, _Unpickler(path, file, None))
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(
        unpickler.storages
    ):
        raise SpeechError(f"`{path}` is corrupt: its list of storages is incomplete")
    sizes = {
        key: (unpickler.storages[key].count, unpickler.storages[key].item_bytes)
        for key in keys
    }
    reader = StreamStorages(path, file, sizes)
    for storage in unpickler.storages.values():
        storage.reader = reader
    return content


def _unpickle(path: Path, unpickler: _Unpickler) -> Any:
    try:
        return unpickler.load()
    except BROKEN as error:
        raise SpeechError(
            f"`{path}` is truncated or corrupt: {error}", "download it again"
        ) from error


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Replace stand-ins by data; ``done`` keeps shared objects from multiplying."""
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Tensor | _Storage):
        plain: Any = value.array()
    elif isinstance(value, _Settings):
        plain = _plain(vars(value), done)
    elif isinstance(value, dict):
        plain = {key: _plain(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        plain = type(value)([_plain(item, done) for item in value])
    elif isinstance(value, _Name):
        plain = value.value
    else:
        return value
    done[id(value)] = plain
    return plain
