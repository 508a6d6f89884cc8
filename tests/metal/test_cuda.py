"""The same text compiles as CUDA; what nvcc refuses is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate import cuda_twin
from mlx_speech.metal_kernels.text import KernelText

needs_nvcc = pytest.mark.skipif(
    shutil.which("nvcc") is None, reason="needs nvcc of the CUDA toolkit"
)


@needs_nvcc
def test_good_kernels_compile_and_their_resources_are_read(
    prefix_sum: Callable, matrix_product
) -> None:
    used = emulate.compile_cuda(prefix_sum(mx.bfloat16, length=128).generated())
    assert 8 <= used.registers <= 64
    assert (used.shared_bytes, used.spilled_bytes) == (128 * 4, 0)
    used = emulate.compile_cuda(matrix_product.generated())
    assert used.shared_bytes == 2 * 8 * 8 * 4


@needs_nvcc
def test_shapes_scalars_and_atomics_compile() -> None:
    kernel = KernelText(
        "mixed",
        ("x", "scale"),
        ("y",),
        "",
        "const uint3 at = thread_position_in_grid;\n"
        "if (at.x < uint(x_shape[0])) {\n"
        "    atomic_fetch_add_explicit(&y[at.x % 4], float(x[at.x]) * scale, "
        "memory_order_relaxed);\n}\n",
        atomic_outputs=True,
    )
    generated = emulate.generate(
        kernel, [((64,), "float16"), ((), "float32")], ["float32"]
    )
    assert emulate.compile_cuda(generated).registers > 0


@needs_nvcc
def test_what_nvcc_refuses_is_told(prefix_sum: Callable) -> None:
    case = prefix_sum()
    text = replace(case.text, source=case.text.source + "unknown_function();\n")
    with pytest.raises(emulate.KernelFault, match="unknown_function"):
        emulate.compile_cuda(case.generated(text))


def test_metal_s_words_are_gone_and_the_parts_make_the_unit(
    prefix_sum: Callable,
) -> None:
    text = emulate.cuda_text(prefix_sum(mx.float16).generated())
    assert "__shared__ float row[N];" in text.source
    assert "device T" not in text.source and "threadgroup float" not in text.source
    assert "__device__ inline float scaled" in text.header
    assert "EMU_VECTORS_GO_HERE" not in text.header
    assert text.header in text.unit and text.source in text.unit
    assert "using T = __half;" in text.unit and "constexpr int N = 128;" in text.unit


def test_without_nvcc_the_words_say_so(
    prefix_sum: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_twin.shutil, "which", lambda name: None)
    with pytest.raises(SpeechError, match="nvcc is not here"):
        emulate.compile_cuda(prefix_sum().generated())
