"""Writing files and folders so that a reader never meets half of one."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_speech.errors import SpeechError

# What a path that cannot be written to answers with; EEXIST: its parent is a file,
# EBUSY: a disk is mounted there.
_REFUSALS = (
    errno.EACCES,
    errno.EBUSY,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


@contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place on success.

    The temporary file keeps the suffix of ``path`` (libraries choose a format by
    it), is flushed to the disk before the move, and is removed when the body
    raises. A missing parent folder is made.

    Raises:
        SpeechError: the folder cannot be written, the disk is full, or ``path`` ends in
            no name, as ``.`` does.
    """
    path = Path(path)
    temporary = _beside(path, path.stem, path.suffix)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; move it into place on success.

    Every file in it is flushed before the move. An existing folder at ``path`` is
    replaced as a whole: it is renamed away first and deleted last, so that at any
    moment ``path`` is absent or complete. It comes back when the new one cannot be
    moved into its place.

    Raises:
        SpeechError: the folder cannot be written, the disk is full, ``path`` is a file,
            or it ends in no name, as ``.`` does.
    """
    path = Path(path)
    temporary = _beside(path, path.name, ".partial")
    retired = _beside(path, path.name, ".retired")
    with _explained(path):
        if path.exists() and not path.is_dir():
            raise SpeechError(
                f"`{path}` is a file, not a folder", "choose another output folder"
            )
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _flush(file)
            _flush(temporary)
            _exchange(temporary, path, retired)
            _flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def _beside(path: Path, name: str, ending: str) -> Path:
    """A hidden path beside ``path`` that nobody else has, with ``name`` in it."""
    if path.name in ("", ".."):
        raise SpeechError(
            f"`{path}` cannot be replaced as a whole", "name a file or a folder in it"
        )
    # A name may be as long as the file system allows, with no room for more.
    return path.with_name(f".{name[:32]}.{uuid.uuid4().hex[:8]}{ending}")


def _exchange(temporary: Path, path: Path, retired: Path) -> None:
    if not path.exists():
        os.replace(temporary, path)
        return
    os.replace(path, retired)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(retired, path)
        raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpeechError(
                f"no space left on the disk while writing `{path}`",
                "free some space, or choose another output folder",
            ) from error
        if error.errno in _REFUSALS:
            raise SpeechError(
                f"`{path}` cannot be written: {error.strerror}",
                "choose another place that you may write to",
            ) from error
        raise
