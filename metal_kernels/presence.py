"""Is there a device that runs Metal kernels? One answer for wrappers, choice and tests.

``select.py`` asks here and nowhere else. The emulator answers "yes" for the length of
``pretend_metal``, so that on Linux the code behind that question runs as on a Mac.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_pretended: list[str] = []


def metal_is_available() -> bool:
    """Tell whether ``mx.fast.metal_kernel`` can launch, be it on a pretended device."""
    import mlx.core as mx

    return bool(_pretended) or mx.metal.is_available()


def device_name() -> str:
    """Name what would run a kernel, for records and cache keys; "" without a device."""
    import mlx.core as mx

    if _pretended:
        return _pretended[-1]
    if not mx.metal.is_available():
        return ""
    return str(mx.device_info().get("device_name", "unknown Metal device"))


@contextmanager
def pretend_metal(name: str) -> Iterator[None]:
    """Answer that a Metal device called ``name`` is there, until the block ends."""
    _pretended.append(name)
    try:
        yield
    finally:
        _pretended.remove(name)
