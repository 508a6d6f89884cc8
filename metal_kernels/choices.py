"""What was found out about kernels, and what a run decided: two small JSON files.

The user's cache holds, for each device, version of MLX and of macOS, whether a kernel
agreed with the MLX operations there and how long both took. A training's file holds its
choices, so that it computes the same way after it was resumed.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file
from mlx_speech.metal_kernels.presence import device_name

logger = logging.getLogger("mlx_speech")

CACHE_VARIABLE = "MLX_SPEECH_CACHE"
_FORMAT = 1


@dataclass(frozen=True)
class KernelKey:
    """Which kernel, compiled for what, on which sizes.

    Attributes:
        kernel: name of the kernel's file.
        variant: what its text is compiled for, for example "float16 norm". Agreement
            with the MLX operations is checked once for each.
        shape: the sizes that its speed depends on. Both ways are timed for each.
        digest: of the kernel's text; another text has to prove itself again.
    """

    kernel: str
    variant: str
    shape: tuple[int, ...]
    digest: str

    @property
    def check_name(self) -> str:
        """The name of a self-check in the files."""
        return f"{self.kernel}|{self.variant}|{self.digest}"

    @property
    def name(self) -> str:
        """The name of a choice in the files."""
        return f"{self.check_name}|{'x'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, medians of several."""

    kernel: float
    operations: float


def device_identity() -> str:
    """The device and the versions of MLX and macOS, as both files name them.

    Apple's compiler of kernels comes with macOS: another one has to prove itself again.
    """
    system = f", macOS {platform.mac_ver()[0]}" if platform.mac_ver()[0] else ""
    return f"{device_name()}, mlx {version('mlx')}{system}"


def cache_folder() -> Path:
    """Where findings are kept: ``MLX_SPEECH_CACHE``, or where the system has caches."""
    wanted = os.environ.get(CACHE_VARIABLE)
    return Path(wanted) if wanted else system_cache()


def system_cache() -> Path:
    """The folder of this package where the system has caches."""
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "mlx-speech"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mlx-speech"


class Findings:
    """Self-checks and timings of one ``device_identity``, kept in a file.

    A file that cannot be read counts as empty, one that cannot be written is said in
    one line: then everything is found out again by the next process.

    Args:
        path: of the file; it may be absent.
        device: as ``device_identity`` gives it.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        self.device = device
        self._mine: dict[str, dict[str, Any]] = {"checks": {}, "timings": {}}
        self._merge(self._read())

    def check(self, key: KernelKey) -> str | None:
        """What a kernel's self-check found wrong, "" if nothing; None: not checked."""
        found = self._mine["checks"].get(key.check_name)
        return found if isinstance(found, str) else None

    def timing(self, key: KernelKey) -> Timing | None:
        """How long both ways took on the key's sizes; None: not timed."""
        found = self._mine["timings"].get(key.name)
        if not isinstance(found, list) or len(found) != 2:
            return None
        kernel, operations = found
        if not isinstance(kernel, float) or not isinstance(operations, float):
            return None
        return Timing(kernel, operations)

    def record_check(self, key: KernelKey, problem: str) -> None:
        """Keep the outcome of a self-check ("" if the kernel passed)."""
        self._mine["checks"][key.check_name] = problem
        self._write()

    def record_timing(self, key: KernelKey, timing: Timing) -> None:
        """Keep a timing."""
        self._mine["timings"][key.name] = [timing.kernel, timing.operations]
        self._write()

    def _read(self) -> dict[str, Any]:
        return _object(_read_json(self.path).get("devices"))

    def _merge(self, devices: Mapping[str, Any]) -> None:
        theirs = _object(devices.get(self.device))
        for part, mine in self._mine.items():
            self._mine[part] = {**_object(theirs.get(part)), **mine}

    def _write(self) -> None:
        # Another process may have written meanwhile: its findings are kept.
        devices = self._read()
        self._merge(devices)
        content = {
            "format": _FORMAT,
            "devices": {**devices, self.device: self._mine},
        }
        try:
            _write_json(self.path, content)
        except SpeechError as error:
            logger.warning("what was found out about kernels is not kept: %s", error)


class RunChoices:
    """The choices of one training, made at its start or at the first use of a shape.

    Args:
        path: of the run's file.
        mode: the mode of a new run; a resumed one has that of its file.
        resume: whether to take what the file holds. A run without a file was made
            before there were kernels, and goes on with MLX operations.

    Attributes:
        mode: "off", "on" or "auto".
        device: where the run was started.
    """

    def __init__(self, path: Path, mode: str, resume: bool) -> None:
        self.path = path
        self.mode = mode
        self.device = device_identity()
        self._choices: dict[str, bool] = {}
        if resume and path.exists():
            stored = _read_json(path)
            try:
                self.mode = str(stored["mode"])
                self.device = str(stored["device"])
                self._choices = {k: bool(v) for k, v in stored["choices"].items()}
            except (KeyError, AttributeError) as error:
                raise SpeechError(
                    f"`{path}` does not hold the kernel choices of a run",
                    "restore the file, or start the run again",
                ) from error
        elif resume:
            self.mode = "off"
        self._write()

    def get(self, key: KernelKey) -> bool | None:
        """What was decided for a key; None: nothing yet."""
        return self._choices.get(key.name)

    def record(self, key: KernelKey, choice: bool) -> None:
        """Keep a choice; it is in the file when this returns."""
        self._choices[key.name] = choice
        self._write()

    def _write(self) -> None:
        content = {
            "format": _FORMAT,
            "mode": self.mode,
            "device": self.device,
            "choices": dict(sorted(self._choices.items())),
        }
        _write_json(self.path, content)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file of ours; empty when there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    usable = isinstance(content, dict) and content.get("format") == _FORMAT
    return content if usable else {}


def _object(value: Any) -> dict[str, Any]:
    """The value where it is what a file of ours holds there, else an empty object."""
    return value if isinstance(value, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
