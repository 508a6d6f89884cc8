"""Shared by all tests: one BLAS thread, no compiled CPU kernels, a hint when absent."""

from __future__ import annotations

import os

# Both are read when the libraries start, so they are set before any import of ours.
# mx.compile on a CPU runs a C++ compiler per kernel: minutes, and no gain.
os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    import mlx_speech.cli  # noqa: F401
except ImportError:
    import pytest

    pytest.exit("mlx-speech is not installed: run `pip install -e '.[test]'`", 4)
