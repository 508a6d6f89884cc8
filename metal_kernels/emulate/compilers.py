"""Finding a C++ compiler, and a cache folder of compiled code."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file
from mlx_speech.metal_kernels.choices import system_cache

# Both may be set by a user: a compiler command, and the folder of compiled kernels.
COMPILER_VARIABLE = "MLX_SPEECH_CXX"
CACHE_VARIABLE = "MLX_SPEECH_EMULATOR_CACHE"
_MOST_FILES = 4000
_KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Compiler:
    """A C++17 compiler.

    Args:
        command: how it is called.
        clang: whether it is one by nature; Apple's ``g++`` is.
    """

    command: tuple[str, ...]
    clang: bool

    def run(self, arguments: Sequence[str], folder: Path) -> tuple[bool, str]:
        """Compile; answer whether it went well, and what was said."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr


def zig_command() -> tuple[str, ...] | None:
    """How to call the clang of the PyPI package ``ziglang``, when it is there.

    Good for checking types. Before it links anything it builds a C++ library for
    minutes, so kernels run with another compiler.
    """
    if find_spec("ziglang") is None:
        return None
    return (sys.executable, "-m", "ziglang", "c++")


def compiler(command: str | None = None) -> Compiler:
    """Choose the compiler that makes kernels run.

    Args:
        command: its name; by default that of ``MLX_SPEECH_CXX``, else the first of g++
            and clang++.

    Raises:
        SpeechError: there is none.
    """
    return _compiler(command or os.environ.get(COMPILER_VARIABLE, ""))


@functools.cache
def _compiler(asked: str) -> Compiler:
    if asked:
        choices = [tuple(asked.split())]
    else:
        choices = [(name,) for name in ("g++", "clang++") if shutil.which(name)]
    for choice in choices:
        if shutil.which(choice[0]):
            said = subprocess.run(
                [*choice, "--version"], capture_output=True, text=True, check=False
            ).stdout
            return Compiler(choice, "clang" in said.lower())
    raise SpeechError(
        f"no C++ compiler is here{f' called {asked}' if asked else ''}",
        f"install g++ or clang++, or set {COMPILER_VARIABLE}",
    )


def cache_folder() -> Path:
    """Folder of compiled kernels; may be deleted at any time."""
    if asked := os.environ.get(CACHE_VARIABLE):
        # Compilers run elsewhere.
        return Path(asked).expanduser().absolute()
    folder = system_cache() / "emulator"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A home that cannot be written to: a folder of this user's own.
        folder = Path(tempfile.gettempdir()) / f"mlx-speech-emulator-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise SpeechError(
                f"`{folder}` belongs to somebody else",
                f"set {CACHE_VARIABLE} to a folder of yours",
            ) from None
    return folder


def cache_key(*parts: str | bytes) -> str:
    """Name what was made from ``parts``."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:24]


def keep(made: Path, target: Path) -> None:
    """Move a finished file into the cache; when that is full, tidy up."""
    with replacing_file(target) as place:
        shutil.copyfile(made, place)
    kernels = list(target.parent.glob("kernel-*"))
    if len(kernels) <= _MOST_FILES:
        return
    # Another process may be about to load what is young, and links with the runtime.
    oldest = time.time() - _KEPT_SECONDS
    for path in kernels:
        try:
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # another process was tidying up
