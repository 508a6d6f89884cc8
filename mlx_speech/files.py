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

# What a path that cannot be written to answers with; EEXIST: its parent is a file.
_REFUSALS = (
    errno.EACCES,
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
        SpeechError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{_start(path.stem)}.{_mark()}{path.suffix}")
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
        SpeechError: the folder cannot be written, the disk is full, or ``path`` is a
            file.
    """
    path = Path(path)
    temporary = path.with_name(f".{_start(path.name)}.{_mark()}.partial")
    retired = path.with_name(f".{_start(path.name)}.{_mark()}.retired")
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


def _start(name: str) -> str:
    # A name may be as long as the file system allows, with no room for more.
    return name[:32]


def _mark() -> str:
    return uuid.uuid4().hex[:8]


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
