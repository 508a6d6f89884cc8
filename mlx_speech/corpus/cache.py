"""Features computed once per recording and kept on the disk.

An entry's name is a hash of the audio file's bytes and of the settings, so renaming a
recording costs nothing, and changing either never yields an old feature. Entries are
written atomically: two processes may share a folder, and one may be killed at any
moment. An entry begins with the digest of the rest (an npz); one that does not fit it
is damaged, and computed again.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlx_speech.corpus.readers import Utterance
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file

ABANDONED_AFTER_SECONDS = 3600
SUFFIX = ".features"
_PREFIX = "feature."  # np.savez has parameters of its own that a name must not meet


class FeatureCache:
    """A folder of features.

    Args:
        folder: made when the first entry is written. Half-written files that a kill
            left behind more than an hour ago are removed.

    Attributes:
        hits: entries read so far.
        misses: entries computed so far, damaged ones among them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.hits = 0
        self.misses = 0
        self._contents: dict[tuple[Path, int, int], str] = {}
        self._sweep()

    def get(
        self,
        utterance: Utterance,
        settings: Mapping[str, object],
        compute: Callable[[Utterance], Mapping[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """The features of one utterance, from the disk or computed now.

        Args:
            utterance: its audio's content is part of the key; its text is not.
            settings: everything else that the features depend on, as values that
                JSON can hold (a ``MelSpec.to_dict()``, a version number, the text).
            compute: makes the features: names to numeric arrays of any shape.

        Returns:
            What ``compute`` returns, with dtypes kept.

        Raises:
            SpeechError: the audio cannot be read, or the folder cannot be written.
            TypeError: settings that JSON cannot hold, or features that are not
                numeric arrays.
        """
        path = self.entry_path(utterance, settings)
        stored = _read(path)
        if stored is not None:
            self.hits += 1
            return stored
        self.misses += 1
        features = {
            name: np.asarray(value) for name, value in compute(utterance).items()
        }
        for name, value in features.items():
            if value.dtype.hasobject:
                raise TypeError(f"feature `{name}` is not a numeric array")
        entry = _pack(features)
        with replacing_file(path) as temporary:
            temporary.write_bytes(entry)
        return features

    def shapes(
        self,
        utterance: Utterance,
        settings: Mapping[str, object],
        compute: Callable[[Utterance], Mapping[str, np.ndarray]],
    ) -> dict[str, tuple[int, ...]]:
        """The shapes of what :meth:`get` returns; of a stored entry no data is read.

        A start with thousands of recordings needs their lengths only. Takes and raises
        what :meth:`get` does.
        """
        stored = _read_shapes(self.entry_path(utterance, settings))
        if stored is not None:
            return stored
        features = self.get(utterance, settings, compute)
        return {name: value.shape for name, value in features.items()}

    def entry_path(self, utterance: Utterance, settings: Mapping[str, object]) -> Path:
        """Where the entry of an utterance lies, whether it exists or not."""
        described = json.dumps(settings, sort_keys=True, ensure_ascii=True)
        key = hashlib.sha256(
            f"{self._content(utterance.audio_path)}\n{described}".encode()
        ).hexdigest()
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def _content(self, path: Path) -> str:
        """The hash of a file's bytes; a file that did not change is read once."""
        try:
            status = path.stat()
            known = (path, status.st_size, status.st_mtime_ns)
            if known not in self._contents:
                digest = hashlib.sha256()
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                self._contents[known] = digest.hexdigest()
        except OSError as error:
            raise SpeechError(
                f"`{path}` cannot be read: {error.strerror}",
                "check the recordings with `mlx-speech check-data`",
            ) from error
        return self._contents[known]

    def _sweep(self) -> None:
        oldest = time.time() - ABANDONED_AFTER_SECONDS
        for path in self.folder.glob(f"*/.*{SUFFIX}"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # another process swept it
                continue
            except PermissionError:  # a shared, read-only cache stays as it is
                return


def _pack(features: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    named: dict[str, Any] = {_PREFIX + name: each for name, each in features.items()}
    np.savez(buffer, **named)
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """A whole entry, or None when it is absent or damaged."""
    try:
        entry = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    digest, content = entry[:32], entry[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name.removeprefix(_PREFIX): stored[name] for name in stored.files}


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """From the headers of an entry's arrays; None when it is absent or cut short."""
    shapes = {}
    try:
        # The list of a zip file stands at its end, so a cut file has none.
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as array:
                    np.lib.format.read_magic(array)
                    shape, _, _ = np.lib.format.read_array_header_1_0(array)
                shapes[member.removeprefix(_PREFIX).removesuffix(".npy")] = shape
    except (FileNotFoundError, NotADirectoryError, zipfile.BadZipFile, ValueError):
        return None
    return shapes
