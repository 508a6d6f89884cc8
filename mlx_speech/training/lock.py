"""One training at a time in a run's folder.

The lock is a file in the folder that the kernel locks (``flock``), so it is released
however the process ends. The file itself goes with a training that ends in an orderly
way; one that a killed training left is free and disturbs nobody.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlx_speech.errors import SpeechError

LOCK_NAME = ".training.lock"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep every other training out of the folder ``root``, which is made if absent.

    Raises:
        SpeechError: another process (or another part of this one) holds the lock, or
            the folder cannot be locked.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = _take(root / LOCK_NAME)
    except BlockingIOError as error:
        raise _in_use(root) from error
    except OSError as error:
        raise SpeechError(
            f"the run folder `{root}` cannot be locked: {error.strerror}",
            "choose another output folder, on a local disk",
        ) from error
    try:
        yield
    finally:
        # Before the lock is released: nobody else may hold this file then. Where it
        # cannot be removed it stays, like that of a killed training.
        with suppress(OSError):
            (root / LOCK_NAME).unlink()
        os.close(descriptor)


def require_unlocked(root: Path) -> None:
    """Say whether a training is going on in ``root``, and change nothing.

    Raises:
        SpeechError: one is.
    """
    try:
        with (root / LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _in_use(root) from error
    except OSError:
        # Nothing to lock, or no way to: `locked` is where that is an error.
        return


def _take(path: Path) -> int:
    """Open and lock the file; the descriptor holds the lock until it is closed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        # The former holder may have removed the file since it was opened.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _in_use(root: Path) -> SpeechError:
    return SpeechError(
        f"another training is using the run folder `{root}`",
        "wait for it or stop it, or choose another output folder",
    )
