"""What MLX runs on: a fast BLAS on Linux, device facts, speed, peak memory.

MLX's Linux wheel links the reference BLAS, which is 20 to 60 times slower than
OpenBLAS. The dynamic loader takes the first definition of a symbol, so OpenBLAS
loaded with global visibility *before* ``mlx.core`` replaces it without any patch.
``mlx_speech/__init__.py`` calls :func:`prepare` first for this reason. On macOS
nothing is done: MLX uses Metal and Accelerate there.

There, too, ``mx.compile`` starts a C++ compiler for each fused kernel: minutes for a
training step, and no faster afterwards. So ``MLX_DISABLE_COMPILE`` is set, unless there
is an NVIDIA GPU or it has a value already.

``MLX_SPEECH_OPENBLAS`` is ``off``, or the path of a library to load instead of the
system's. One BLAS thread is used unless ``OPENBLAS_NUM_THREADS`` says otherwise:
MLX's CPU stream is one thread too, and more lose time on a busy machine.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from mlx_speech.errors import SpeechError

logger = logging.getLogger("mlx_speech")

OPENBLAS_VARIABLE = "MLX_SPEECH_OPENBLAS"
_CANDIDATES = ("libopenblas.so.0", "libopenblas.so")
Mode = TypeVar("Mode", bound=str)


@dataclass(frozen=True)
class BlasState:
    """How matrix products are computed in this process.

    Attributes:
        library: path or name of the BLAS that was loaded, or "" for MLX's own.
        note: why, in words, when the fast library is not in use; else "".
    """

    library: str
    note: str


_state: BlasState | None = None


def prepare() -> BlasState:
    """Load OpenBLAS before MLX on Linux; idempotent, quick, never raises."""
    global _state
    if _state is None:
        _state = _load_openblas()
        if _state.note:
            logger.info("%s", _state.note)
    return _state


def _load_openblas() -> BlasState:
    if platform.system() != "Linux":
        return BlasState("", "")
    if not os.path.exists("/dev/nvidia0"):
        os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
    wanted = os.environ.get(OPENBLAS_VARIABLE, "")
    if wanted == "off":
        return BlasState("", f"OpenBLAS is switched off by {OPENBLAS_VARIABLE}=off")
    if "mlx.core" in sys.modules:
        return BlasState(
            "",
            "mlx was imported before mlx_speech, so its slow BLAS is in use; "
            "import mlx_speech first",
        )
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in [wanted] if wanted else _candidates():
        try:
            library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        if not hasattr(library, "cblas_sgemm"):
            continue
        return BlasState(name, "")
    if wanted:
        return BlasState("", f"{OPENBLAS_VARIABLE}={wanted} is not a BLAS library")
    return BlasState(
        "",
        "OpenBLAS was not found, so MLX's slow BLAS is in use; "
        "install it with `apt install libopenblas0`",
    )


def _candidates() -> Iterator[str]:
    yield from _CANDIDATES
    # Last, since it starts other programs, a compiler among them.
    if found := ctypes.util.find_library("openblas"):
        yield found


def use_threads(count: int) -> bool:
    """Let matrix products run on so many threads, whatever the variable says.

    Returns:
        Whether that has an effect: OpenBLAS computes them.
    """
    library = prepare().library
    if not library:
        return False
    setter = getattr(ctypes.CDLL(library), "openblas_set_num_threads", None)
    if setter is None:
        return False
    setter(count)
    return True


def mode_from_environment(variable: str, modes: tuple[Mode, ...]) -> Mode:
    """The mode that an environment variable asks for, "auto" where it is not set.

    Args:
        variable: its name.
        modes: the words that it may have, "auto" among them.

    Raises:
        SpeechError: it has another value.
    """
    value = os.environ.get(variable, "auto")
    for mode in modes:
        if value == mode:
            return mode
    raise SpeechError(
        f"{variable} is {value!r}", f"set it to one of {', '.join(modes)}"
    )


def check_seed(seed: int) -> None:
    """Refuse a seed that MLX's random numbers cannot begin with.

    Raises:
        SpeechError: it is below 0, or 2^63 or more.
    """
    if not 0 <= seed < 2**63:
        raise SpeechError(f"the seed {seed} is out of range", "choose 0 to 2^63 - 1")


def on_metal() -> bool:
    """True when MLX's default device is an Apple GPU."""
    import mlx.core as mx

    return mx.metal.is_available() and mx.default_device() == mx.Device(mx.gpu)


def device_name() -> str:
    """The device that MLX computes on, in words a person knows."""
    import mlx.core as mx

    if on_metal():
        return str(mx.device_info().get("device_name", "Apple GPU"))
    if mx.default_device() == mx.Device(mx.gpu):
        return "GPU"
    return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"


def matmul_gflops(size: int = 512, repeats: int = 5) -> float:
    """Measured speed of a float32 matrix product, in GFLOP/s (best of ``repeats``)."""
    import mlx.core as mx

    a = mx.random.normal((size, size), key=mx.random.key(0))
    mx.eval(a, a @ a)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(a @ a)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def peak_memory_bytes() -> int:
    """Peak memory that MLX's allocator has held in this process."""
    import mlx.core as mx

    return int(mx.get_peak_memory())


_memory_limit: int | None = None


def limit_memory(limit_bytes: int) -> None:
    """Keep the memory of MLX near a limit, for this process.

    Buffers that wait for reuse are given back beyond a quarter of the limit, and all of
    them before the limit is passed. It is no wall: what the model and the current step
    need is allocated all the same. Whisper takes so many windows at once as fit.

    Raises:
        ValueError: a limit below one byte.
    """
    global _memory_limit
    if limit_bytes < 1:
        raise ValueError(f"a memory limit of {limit_bytes} bytes is none")
    import mlx.core as mx

    mx.set_memory_limit(limit_bytes)
    _memory_limit = limit_bytes
    limit_waiting_buffers()


def limit_waiting_buffers() -> None:
    """Let buffers that wait for reuse take a quarter of the budget, for this process.

    MLX's own bound is all the memory that it may take, which on a Mac of 8 GB would
    leave too little to other programs.
    """
    import mlx.core as mx

    mx.set_cache_limit(memory_budget() // 4)


def memory_limit() -> int | None:
    """The limit in bytes that :func:`limit_memory` set; None: there is none."""
    return _memory_limit


def memory_budget() -> int:
    """Bytes that a model and its work should fit in.

    The limit that was set, or half of what MLX allows itself on this machine: about
    4 GB of a Mac's 8 GB, the rest being the system's and other programs'.
    """
    import mlx.core as mx

    if _memory_limit is not None:
        return _memory_limit
    return int(mx.get_memory_limit()) // 2
