"""Is there a device that runs Metal kernels? One answer for wrappers, choice and tests.

``select.py`` asks here and nowhere else. The emulator answers "yes" for the length of
``pretend_metal``, so that on Linux the code behind that question runs as on a Mac.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from mlx_speech import backend

_pretended: list[str] = []


def metal_is_available() -> bool:
    """Tell whether ``mx.fast.metal_kernel`` can launch, be it on a pretended device."""
    return bool(_pretended) or backend.on_metal()


def device_name() -> str:
    """Name what would run a kernel, for records and cache keys; "" without a device."""
    if _pretended:
        return _pretended[-1]
    return _real_device_name() if backend.on_metal() else ""


@functools.cache
def _real_device_name() -> str:
    return backend.device_name()


@contextmanager
def pretend_metal(name: str) -> Iterator[None]:
    """Answer that a Metal device called ``name`` is there, until the block ends."""
    _pretended.append(name)
    try:
        yield
    finally:
        _pretended.remove(name)
