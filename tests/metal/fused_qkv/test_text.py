"""The text of every shipped variant: MLX completes it so, and a compiler takes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import mlx.core as mx
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate.oracle import mlx_text
from mlx_speech.metal_kernels.fused_qkv_launch import (
    DECODE,
    DECODE_4BIT,
    FLOATS,
    PREFILL,
    kernel_digest,
    kernel_text,
    launch,
)
from mlx_speech.metal_kernels.fused_qkv_samples import draw_input, draw_projection
from mlx_speech.metal_kernels.launch import dtype_name
from mlx_speech.metal_kernels.text import KernelText

KERNELS = (DECODE, DECODE_4BIT, PREFILL)
# Shape and group size: the smallest of each kernel, and one of four rows or more.
SHAPES = {
    DECODE: (((1, 1, 8), 0), ((2, 3, 36), 0)),
    DECODE_4BIT: (((1, 1, 32), 32), ((1, 2, 64), 64), ((1, 5, 256), 128)),
    PREFILL: (((1, 9, 8), 0), ((2, 21, 37), 0)),
}
HEADS = (1, 3)  # heads and head channels: fewer outputs are not taken


@dataclass(eq=False)
class Recorder:
    """Stands in for ``mx.fast.metal_kernel`` and keeps what it was called with."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, **kernel: Any) -> Callable[..., list[mx.array]]:
        def call(**arguments: Any) -> list[mx.array]:
            self.calls.append(arguments)
            shapes, dtypes = arguments["output_shapes"], arguments["output_dtypes"]
            return [mx.zeros(s, d) for s, d in zip(shapes, dtypes, strict=True)]

        return call


@contextmanager
def recording() -> Iterator[Recorder]:
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx.fast, "metal_kernel", recorder)
        yield recorder


def calls_of(
    kernel: str, dtype: mx.Dtype, options: Sequence[tuple[bool, bool]]
) -> Iterator[dict[str, Any]]:
    """What the wrapper hands to MLX for each shape and each (norm, bias)."""
    for (shape, group), (norm, bias) in product(SHAPES[kernel], options):
        projection = draw_projection(
            shape[2], *HEADS, dtype, bias=bias, norm=norm, group_size=group
        )
        with recording() as recorder:
            launch(kernel, draw_input(shape, dtype), projection)
        yield from recorder.calls


def completed(kernel: str, call: dict[str, Any]) -> emulate.GeneratedText:
    return emulate.prepare(
        kernel_text(kernel), call["inputs"], call["output_dtypes"], call["template"]
    )


ALL_OPTIONS = list(product((True, False), repeat=2))
each_variant = pytest.mark.parametrize(
    ("kernel", "dtype"),
    list(product(KERNELS, FLOATS)),
    ids=lambda value: value if isinstance(value, str) else dtype_name(value),
)


@each_variant
def test_the_text_is_what_mlx_hands_to_the_compiler(
    kernel: str, dtype: mx.Dtype
) -> None:
    for call in calls_of(kernel, dtype, ALL_OPTIONS):
        expected = mlx_text(
            kernel_text(kernel),
            [(array.shape, array.dtype) for array in call["inputs"]],
            call["output_shapes"],
            call["output_dtypes"],
            call["template"],
        )
        assert completed(kernel, call).text == expected


@each_variant
def test_a_compiler_takes_the_text(kernel: str, dtype: mx.Dtype) -> None:
    options = ALL_OPTIONS if dtype == mx.float32 else ALL_OPTIONS[:1]
    for call in calls_of(kernel, dtype, options):
        generated = completed(kernel, call)
        emulate.check_text(generated, compile_too=False)
        # None of them lies in constant memory, of which the text has no pointers.
        spaces = {b.name: b.space for b in generated.buffers if b.kind == "input"}
        assert spaces.pop("epsilon") == "constant"
        assert set(spaces.values()) == {"device"}


@each_variant
def test_threads_and_grids_are_those_of_the_text(kernel: str, dtype: mx.Dtype) -> None:
    threads, rows, outputs = (128, 32, 64) if kernel == PREFILL else (256, 4, 32)
    for call in calls_of(kernel, dtype, ALL_OPTIONS[:1]):
        assert call["threadgroup"] == (threads, 1, 1)
        batch, length, _ = call["inputs"][0].shape
        block = rows
        if kernel != PREFILL:
            block = min(rows, batch * length)
            assert dict(call["template"])["BLOCK_ROWS"] == block
        tiles = -(-9 // outputs), -(-batch * length // block)
        assert call["grid"] == (tiles[0] * threads, tiles[1], 1)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize(
    ("kernel", "dtype", "registers"),
    [
        # A hint only: an Apple core has room for 128 registers of 256 threads.
        (DECODE, mx.float16, 64),
        (DECODE_4BIT, mx.bfloat16, 128),
        (PREFILL, mx.float32, 96),
    ],
)
def test_the_text_compiles_as_cuda_within_its_resources(
    kernel: str, dtype: mx.Dtype, registers: int
) -> None:
    *_, call = calls_of(kernel, dtype, ALL_OPTIONS[:1])
    used = emulate.compile_cuda(completed(kernel, call))
    assert used.spilled_bytes == 0
    assert used.registers <= registers
    assert used.shared_bytes <= 8960


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_digest_follows_the_text(kernel: str) -> None:
    assert kernel_digest(kernel) == kernel_digest(kernel)
    assert len({kernel_digest(name) for name in KERNELS}) == len(KERNELS)
    text = kernel_text(kernel)
    assert isinstance(text, KernelText)
    assert "row_statistics" in text.header
