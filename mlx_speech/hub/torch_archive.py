"""The containers of torch checkpoints: zip archives and the older single stream.

Both hold one pickle and the raw bytes of every storage. Here only bytes are fetched;
`torch_pickle` decides which objects the pickle may make. Nothing is ever extracted to
the disk, and no storage is read before somebody asks for it.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from mlx_speech.errors import SpeechError

ZIP_MAGIC = b"PK\x03\x04"
# What the standard library raises for a damaged or unusual zip file.
BAD_ZIP = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError)
STORAGE_KEY = re.compile(r"[A-Za-z0-9_]{1,64}")


class StorageReader(Protocol):
    """Gives the bytes of a storage by its key."""

    def read(self, key: str, nbytes: int) -> bytes:
        """Exactly ``nbytes`` bytes, or a SpeechError."""


class ZipArchive:
    """A checkpoint that torch >= 1.6 wrote: a zip file without compression.

    Args:
        path: for messages.
        file: opened for reading, seekable.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(file)
        except BAD_ZIP as error:
            raise SpeechError(
                f"`{path}` is truncated or corrupt: {error}", "download it again"
            ) from error
        names = self._zip.namelist()
        for name in names:
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts or "\\" in name:
                raise SpeechError(f"`{path}` holds a member outside of it: `{name}`")
        if any(name.endswith("/constants.pkl") for name in names):
            raise SpeechError(
                f"`{path}` is a TorchScript program, not a checkpoint",
                "give the file with the weights",
            )
        roots = [
            name[: -len("data.pkl")] for name in names if name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise SpeechError(
                f"`{path}` is a zip file but no torch checkpoint: "
                f"{len(roots)} members called data.pkl",
                "give a .pth, .pt or .bin file that torch.save wrote",
            )
        self._root = roots[0]
        if f"{self._root}byteorder" in names:
            order = self._member(f"{self._root}byteorder")
            if order != b"little":
                raise SpeechError(f"`{path}` was written with byte order {order!r}")

    def pickle(self) -> BinaryIO:
        """The stream with the pickled object."""
        return io.BytesIO(self._member(f"{self._root}data.pkl"))

    def read(self, key: str, nbytes: int) -> bytes:
        """The bytes of one storage."""
        if not STORAGE_KEY.fullmatch(key):
            raise SpeechError(f"`{self.path}` names a strange storage: {key!r}")
        content = self._member(f"{self._root}data/{key}")
        if len(content) != nbytes:
            raise SpeechError(
                f"`{self.path}`: storage {key} has {len(content)} bytes "
                f"where its pickle says {nbytes}",
                "download it again",
            )
        return content

    def _member(self, name: str) -> bytes:
        try:
            info = self._zip.getinfo(name)
            # torch never compresses; what is compressed may unpack to anything.
            if info.compress_type != zipfile.ZIP_STORED:
                raise SpeechError(f"`{self.path}`: member `{name}` is compressed")
            return self._zip.read(info)
        except KeyError as error:
            raise SpeechError(
                f"`{self.path}` lacks its member `{name}`", "download it again"
            ) from error
        except BAD_ZIP as error:
            raise SpeechError(
                f"`{self.path}` is corrupt at `{name}`: {error}", "download it again"
            ) from error


class StreamStorages:
    """The storages behind the pickles of a checkpoint from torch < 1.6.

    Args:
        path: for messages.
        file: stands behind the list of keys.
        sizes: key -> (number of elements, bytes of each), in the file's order.
    """

    def __init__(
        self, path: Path, file: BinaryIO, sizes: dict[str, tuple[int, int]]
    ) -> None:
        self.path = path
        self._content: dict[str, bytes] = {}
        left = os.fstat(file.fileno()).st_size - file.tell()
        for key, (count, item) in sizes.items():
            left -= 8 + count * item
            if left < 0:
                raise SpeechError(
                    f"`{path}` is truncated in storage {key}", "download it again"
                )
            if int.from_bytes(file.read(8), "little") != count:
                raise SpeechError(
                    f"`{path}`: storage {key} differs in size from its pickle"
                )
            self._content[key] = file.read(count * item)

    def read(self, key: str, nbytes: int) -> bytes:
        """The bytes of one storage."""
        if key not in self._content:
            raise SpeechError(f"`{self.path}` lacks its storage {key}")
        return self._content[key]


class RestoredMagic(io.RawIOBase):
    """A file whose first two bytes read as "PK" again.

    GPT-SoVITS writes its version number over them in the voices of its later models.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        start = self._file.tell()
        content = self._file.read(len(buffer))
        if start < 2:
            patch = ZIP_MAGIC[start:2]
            content = patch[: len(content)] + content[len(patch) :]
        buffer[: len(content)] = content
        return len(content)
