"""What else the numbers of a run depend on: versions, BLAS, device."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mlx_speech import __version__, backend


def describe_environment() -> dict[str, str]:
    """Names and values that a checkpoint records."""
    return {
        "mlx_speech": __version__,
        "mlx": version("mlx"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": backend.device_name(),
        "blas": backend.prepare().library or "MLX's own",
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed, as "name: old -> new", sorted by name."""
    return [
        f"{name}: {then.get(name)} -> {now.get(name)}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
