"""The tests of the three kernels notice planted bugs and mutants.

All barrier mutants and ten others of each kernel run here; two hundred others of each
(of the two for decoding, that is all) by
``pytest -m slow tests/metal/fused_qkv/test_faults.py``: half an hour on a busy machine.
Survivors are explained in metal_kernels/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate.lint import lint
from mlx_speech.metal_kernels.emulate.mutate import (
    Mutant,
    judge,
    mutants,
    score,
    survivors,
)
from mlx_speech.metal_kernels.emulate.plant import WITHOUT_MATRICES, gaps
from mlx_speech.metal_kernels.fused_qkv_launch import (
    DECODE,
    DECODE_4BIT,
    PREFILL,
    kernel_text,
    launch,
)
from mlx_speech.metal_kernels.fused_qkv_reference import Projection
from mlx_speech.metal_kernels.fused_qkv_samples import draw_input, draw_projection
from mlx_speech.metal_kernels.text import KernelText

SEED = 4
OTHERS = 10


@dataclass(frozen=True)
class Sizes:
    """Odd in everything: partial blocks of rows, of outputs and of channels."""

    rows: tuple[int, int]
    channels: int
    heads: tuple[int, int]
    group: int = 0


SIZES = {
    DECODE: Sizes((2, 3), 132, (3, 7)),
    DECODE_4BIT: Sizes((2, 3), 288, (3, 7), 32),
    PREFILL: Sizes((2, 21), 150, (2, 13)),
}
TOLERANCES = {mx.float32: 5e-7, mx.bfloat16: 5e-3}

LAYOUT = (
    "(head * length + row % length) * head_channels",
    "(head + row % length * n_heads) * head_channels",
)
BY_HAND = {
    DECODE: {
        "layout of the output swapped": LAYOUT,
        "wrong stride": ("n * CHANNELS + k", "n * (CHANNELS + 4) + k"),
        "wrong index": [
            ("min(first_row + r, n_rows - 1)", "min(first_row, n_rows - 1)"),
            ("lane == r * OUTPUTS + o", "lane == r + o * OUTPUTS"),
        ],
        "wrong order of elements": (
            "first_row + lane / OUTPUTS",
            "first_row + lane % uint(BLOCK_ROWS)",
        ),
    },
    DECODE_4BIT: {
        "layout of the output swapped": LAYOUT,
        "wrong stride": ("n * (CHANNELS / DIGITS)", "n * (CHANNELS / DIGITS + 1)"),
        "wrong index": [
            ("first / GROUP", "word / GROUP"),
            ("beta[first + d]", "beta[d]"),
        ],
        "wrong order of elements": ("(4 * d)", "(28 - 4 * d)"),
    },
    PREFILL: {
        "layout of the output swapped": LAYOUT,
        "wrong stride": ("weight[n * CHANNELS + c]", "weight[n * DEPTH + c]"),
        "wrong index": [
            ("gamma[c]", "gamma[c % DEPTH]"),
            ("simd / 2 * 16", "simd * 8"),
        ],
        "wrong order of elements": (
            "tile[i / OUTPUTS * OUTPUT_STRIDE + i % OUTPUTS]",
            "tile[i % ROWS * OUTPUT_STRIDE + i / ROWS]",
        ),
        "SIMD operation in a branch": (
            "const float mean = simd_sum(total)",
            "float mean = 0.0f;\n    if (lane < 16) mean = simd_sum(total)",
        ),
    },
}
# What metal_kernels/README.md explains: change and line.
EXPLAINED = {
    ("4 becomes 5", "constexpr uint OUTPUTS = 4;"),
    ("0 becomes 1", "if (lane == 0) {"),
    ("0.0f becomes 1.0f", "float mine = 0.0f;"),
    ("1.0f becomes 2.0f", "float4 scale = float4(1.0f);"),
    ("0.0f becomes 1.0f", "float4 shift = float4(0.0f);"),
    ("4 becomes 3", "constexpr uint PADDING = 4;"),
    ("4 becomes 5", "constexpr uint PADDING = 4;"),
    ("4 becomes 5", "simdgroup_matrix<float, 8, 8> totals[2][4];"),
    ("index plus 1", "simdgroup_matrix<float, 8, 8> totals[2][4];"),
    ("4 becomes 5", "simdgroup_matrix<float, 8, 8> sums[2][4];"),
    ("index plus 1", "simdgroup_matrix<float, 8, 8> sums[2][4];"),
    ("< becomes <=", "for (uint span = 0; span < uint(CHANNELS); span += SPAN) {"),
    ("+ becomes -", "const uint end = min(span + SPAN, uint(CHANNELS));"),
    (
        "< becomes <=",
        "for (uint i = thread_index; i < OUTPUTS * DEPTH; i += THREADS) {",
    ),
}
ABSENT = {DECODE: WITHOUT_MATRICES, DECODE_4BIT: WITHOUT_MATRICES, PREFILL: {}}

Check = Callable[[KernelText], None]
each_kernel = pytest.mark.parametrize("kernel", [DECODE, DECODE_4BIT, PREFILL])


@pytest.fixture
def check_of(
    exact: Callable[[mx.array, Projection], list[np.ndarray]],
) -> Callable[[str], Check]:
    """What the other tests do, on odd sizes, for any text of a kernel."""

    def make(kernel: str) -> Check:
        sizes = SIZES[kernel]
        calls = []
        for dtype in TOLERANCES:
            x = draw_input((*sizes.rows, sizes.channels), dtype, seed=5)
            projection = draw_projection(
                sizes.channels,
                *sizes.heads,
                dtype,
                bias=True,
                norm=True,
                group_size=sizes.group,
                seed=5,
            )
            calls.append((dtype, x, projection, exact(x, projection)))

        def check(text: KernelText) -> None:
            for dtype, x, projection, expected in calls:
                with emulate.dropin(seed=SEED, rewrite=lambda _: text) as launches:
                    found = launch(kernel, x, projection)
                if findings := lint(launches.done[0].generated):
                    raise emulate.KernelFault(kernel, findings)
                scale = max(np.abs(array).max() for array in expected)
                for one, other in zip(found, expected, strict=True):
                    gap = np.abs(np.array(one.astype(mx.float32)) - other).max()
                    assert gap / scale <= TOLERANCES[dtype]

        return check

    return make


@each_kernel
def test_the_kernel_itself_passes(
    kernel: str, check_of: Callable[[str], Check]
) -> None:
    check_of(kernel)(kernel_text(kernel))


@each_kernel
def test_every_planted_bug_is_noticed(
    kernel: str, check_of: Callable[[str], Check], missed_bugs: Callable
) -> None:
    text, by_hand = kernel_text(kernel), BY_HAND[kernel]
    assert gaps(text, by_hand, ABSENT[kernel]) == []
    assert missed_bugs(text, by_hand, check_of(kernel)) == []


@each_kernel
def test_barrier_mutants_and_ten_others_are_noticed(
    kernel: str, check_of: Callable[[str], Check]
) -> None:
    candidates = mutants(kernel_text(kernel), SEED, others=OTHERS)
    assert sum(mutant.kind == "barrier" for mutant in candidates) >= 4
    verdicts = judge(candidates, check_of(kernel))
    assert unexplained(survivors(verdicts)) == []


@pytest.mark.slow
@each_kernel
def test_two_hundred_mutants_are_noticed_but_those_that_are_explained(
    kernel: str, check_of: Callable[[str], Check]
) -> None:
    verdicts = judge(mutants(kernel_text(kernel), 0, others=200), check_of(kernel))
    assert unexplained(survivors(verdicts)) == []
    assert score(verdicts) >= 0.95


def unexplained(left: list[Mutant]) -> list[str]:
    return [
        str(mutant)
        for mutant in left
        if mutant.kind == "barrier"
        or (mutant.change, mutant.line.strip()) not in EXPLAINED
    ]
