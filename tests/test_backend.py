"""Which BLAS MLX uses on Linux, how to choose it, and that results do not depend on it.

A library is loaded once in a process's life, so each case runs in a process of its own.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_speech import backend

on_linux = pytest.mark.skipif(
    platform.system() != "Linux", reason="nothing is loaded on other systems"
)
has_openblas = pytest.mark.skipif(
    platform.system() != "Linux" or not ctypes.util.find_library("openblas"),
    reason="needs libopenblas on Linux",
)

# What a process reports about itself once mlx_speech is imported.
REPORT = """
import json, os, sys
from mlx_speech import backend
mlx_was_imported = "mlx.core" in sys.modules
state = backend.prepare()
print(json.dumps({
    "library": state.library,
    "note": state.note,
    "same": backend.prepare() is state,
    "mlx_was_imported": mlx_was_imported,
    "threads": os.environ.get("OPENBLAS_NUM_THREADS"),
    "compile_off": os.environ.get("MLX_DISABLE_COMPILE"),
}))
"""
MULTIPLY = """
import sys
import numpy as np
import mlx_speech
import mlx.core as mx
from mlx_speech import backend

def matrix(*shape, seed):
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))

a, b = matrix(300, 257, seed=1), matrix(257, 311, seed=2)
x, w = matrix(3, 50, 16, seed=3), matrix(8, 5, 16, seed=4)
np.savez(
    sys.argv[1],
    product=a @ b,
    transposed=b.T @ a.T,
    batched=matrix(4, 9, 33, seed=5) @ matrix(4, 33, 7, seed=6),
    vector=a @ b[:, 0],
    convolution=mx.conv1d(x, w),
    fused=mx.addmm(a[:, :1], a, b),
    gflops=backend.matmul_gflops(repeats=3),
)
"""


def run(code: str, *arguments: str, **environment: str | None) -> str:
    """Run Python code in a new process; None removes a variable."""
    variables: dict[str, str | None] = {
        **os.environ,
        "MLX_SPEECH_OPENBLAS": None,
        "MLX_DISABLE_COMPILE": None,
        "OPENBLAS_NUM_THREADS": None,
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def report(code: str = REPORT, **environment: str | None) -> dict[str, Any]:
    return json.loads(run(code, **environment))


@has_openblas
def test_openblas_is_loaded_before_mlx() -> None:
    found = report()
    assert "openblas" in found["library"]
    assert found["note"] == ""
    assert found["mlx_was_imported"] is False
    assert found["same"] is True


@has_openblas
def test_one_blas_thread_is_used_unless_told_otherwise() -> None:
    assert report()["threads"] == "1"
    assert report(OPENBLAS_NUM_THREADS="3")["threads"] == "3"


@on_linux
def test_it_can_be_switched_off() -> None:
    found = report(MLX_SPEECH_OPENBLAS="off")
    assert found["library"] == ""
    assert "switched off by MLX_SPEECH_OPENBLAS=off" in found["note"]


@has_openblas
def test_a_library_can_be_chosen_by_its_path(tmp_path: Path) -> None:
    loaded = "import mlx_speech\nprint(open('/proc/self/maps').read())"
    paths = {line.split(" ")[-1] for line in run(loaded).splitlines()}
    (original,) = (path for path in paths if "libopenblas" in path)
    chosen = tmp_path / "my blas.so"
    chosen.symlink_to(original)
    found = report(MLX_SPEECH_OPENBLAS=str(chosen))
    assert found["library"] == str(chosen)
    assert found["note"] == ""


@on_linux
@pytest.mark.parametrize("wanted", ["nonsense", "/no/such/library.so", "libc.so.6"])
def test_a_wrong_library_is_named_and_no_other_is_taken(wanted: str) -> None:
    found = report(MLX_SPEECH_OPENBLAS=wanted)
    assert found["library"] == ""
    assert found["note"] == f"MLX_SPEECH_OPENBLAS={wanted} is not a BLAS library"


@on_linux
def test_mlx_imported_first_is_said() -> None:
    found = report("import mlx.core\n" + REPORT)
    assert found["library"] == ""
    assert "import mlx_speech first" in found["note"]


@on_linux
def test_a_note_is_logged_and_nothing_is_printed() -> None:
    quiet = "import mlx_speech"
    assert run(quiet, MLX_SPEECH_OPENBLAS="off") == ""
    logged = (
        "import logging, sys\n"
        "logging.basicConfig(level='INFO', stream=sys.stdout, format='%(message)s')\n"
        "import mlx_speech"
    )
    said = run(logged, MLX_SPEECH_OPENBLAS="off").splitlines()
    assert said == ["OpenBLAS is switched off by MLX_SPEECH_OPENBLAS=off"]


def test_a_missing_openblas_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, mode: int) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(backend, "_state", None)
    monkeypatch.setattr(backend.platform, "system", lambda: "Linux")
    monkeypatch.setattr(backend.ctypes, "CDLL", refuse)
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    monkeypatch.delenv(backend.OPENBLAS_VARIABLE, raising=False)
    state = backend.prepare()
    assert state.library == ""
    assert "OpenBLAS was not found" in state.note
    assert "apt install libopenblas0" in state.note


@has_openblas
def test_results_do_not_depend_on_the_blas(tmp_path: Path) -> None:
    """Within float32 rounding; and the fast one is in use, not only loaded."""
    results = {}
    for name, variable in (("fast", None), ("slow", "off")):
        path = tmp_path / f"{name}.npz"
        run(MULTIPLY, str(path), MLX_SPEECH_OPENBLAS=variable)
        results[name] = dict(np.load(path))
    speeds = {name: float(arrays.pop("gflops")) for name, arrays in results.items()}
    for name, fast in results["fast"].items():
        slow = results["slow"][name]
        scale = np.abs(slow).max()
        assert np.abs(fast - slow).max() < 2e-6 * scale, name
    # 20 to 60 times on a quiet machine.
    assert speeds["fast"] > 3 * speeds["slow"]


@on_linux
def test_compilation_is_off_on_a_cpu_unless_told_otherwise() -> None:
    expected = None if os.path.exists("/dev/nvidia0") else "1"
    assert report()["compile_off"] == expected
    assert report(MLX_DISABLE_COMPILE="0")["compile_off"] == "0"
    # Whichever BLAS is in use.
    assert report(MLX_SPEECH_OPENBLAS="off")["compile_off"] == expected


def test_compilation_stays_on_with_an_nvidia_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exists = os.path.exists
    monkeypatch.setattr(
        backend.os.path, "exists", lambda path: path == "/dev/nvidia0" or exists(path)
    )
    monkeypatch.setattr(backend, "_state", None)
    monkeypatch.setattr(backend.platform, "system", lambda: "Linux")
    monkeypatch.setenv(backend.OPENBLAS_VARIABLE, "off")
    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    backend.prepare()
    assert "MLX_DISABLE_COMPILE" not in os.environ


def test_nothing_is_done_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> ctypes.CDLL:
        raise AssertionError("no library may be loaded")

    monkeypatch.setattr(backend, "_state", None)
    monkeypatch.setattr(backend.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(backend.ctypes, "CDLL", refuse)
    names = ("MLX_DISABLE_COMPILE", "OPENBLAS_NUM_THREADS", backend.OPENBLAS_VARIABLE)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert backend.prepare() == backend.BlasState("", "")
    assert not set(names) & set(os.environ)


def test_the_device_is_named_and_measured() -> None:
    assert backend.device_name()
    assert backend.matmul_gflops(size=64, repeats=2) > 0
    assert backend.peak_memory_bytes() > 64 * 64 * 4


def test_importing_is_quick() -> None:
    """Half a second, of which a tenth is used; the best of three on a busy machine."""
    code = (
        "import time; start = time.process_time(); import mlx_speech;"
        "print(time.process_time() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.5


LIMIT = """
import mlx_speech
import mlx.core as mx
from mlx_speech import backend

backend.limit_memory(40_000_000)
for size in range(1_000_000, 9_000_000, 1_000_000):
    mx.eval(mx.zeros((size,)) + 1)
print(mx.get_cache_memory(), mx.set_memory_limit(1), mx.set_cache_limit(1))
"""


def test_buffers_are_given_back_beyond_a_quarter_of_the_limit() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LIMIT], capture_output=True, text=True, check=True
    )
    cached, limit, cache_limit = map(int, result.stdout.split())
    assert (limit, cache_limit) == (40_000_000, 10_000_000)
    assert cached <= 10_000_000


BUDGET = """
import mlx_speech
import mlx.core as mx
from mlx_speech import backend

own = mx.get_memory_limit()
print(own, backend.memory_limit(), backend.memory_budget())
backend.limit_waiting_buffers()
print(mx.set_cache_limit(1))
backend.limit_memory(own)
print(backend.memory_limit(), backend.memory_budget())
"""


def test_half_of_the_machine_is_there_for_a_model_or_all_that_was_granted() -> None:
    result = subprocess.run(
        [sys.executable, "-c", BUDGET], capture_output=True, text=True, check=True
    )
    own, limit, budget, waiting, granted, all_of_it = result.stdout.split()
    assert limit == "None"
    assert int(budget) == int(own) // 2 > 0
    assert int(waiting) == int(budget) // 4
    assert granted == all_of_it == own


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        backend.limit_memory(0)
