"""Two small kernels that are right and use what kernels use: tests break them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate.mutate import Mutant
from mlx_speech.metal_kernels.emulate.plant import ByHand, planted
from mlx_speech.metal_kernels.text import KernelText


@dataclass(frozen=True)
class Case:
    """A kernel, arrays for it, and what it must give."""

    text: KernelText
    inputs: Sequence[Any]
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    output_dtypes: Sequence[mx.Dtype]
    template: Sequence[tuple[str, Any]]
    expected: np.ndarray
    tolerance: float

    def generated(self, text: KernelText | None = None) -> emulate.GeneratedText:
        return emulate.prepare(
            text or self.text, self.inputs, self.output_dtypes, self.template
        )

    def run(self, text: KernelText | None = None, **options: Any) -> None:
        """Run a text in place of the own one; fails as a test of the kernel would."""
        (output,) = emulate.run(
            text or self.text,
            self.inputs,
            self.grid,
            self.threadgroup,
            [self.expected.shape],
            self.output_dtypes,
            self.template,
            **options,
        )
        error = np.abs(output - self.expected).max() / np.abs(self.expected).max()
        assert error < self.tolerance


# Sums up each row from the left: log2(N) steps in threadgroup memory.
PREFIX_SUM = KernelText(
    "prefix_sum",
    ("x",),
    ("y",),
    "inline float scaled(float a) { return a * 0.5f; }\n",
    """\
threadgroup float row[N];
const uint t = thread_position_in_threadgroup.x;
const uint group = threadgroup_position_in_grid.x;
const device T* in = x + group * N;
device T* out = y + group * N;
for (uint i = t; i < uint(N); i += THREADS) {
    row[i] = scaled(float(in[i]));
}
threadgroup_barrier(mem_flags::mem_threadgroup);
for (uint step = 1; step < uint(N); step *= 2) {
    float before[N / THREADS];
    for (uint k = 0; k < uint(N / THREADS); ++k) {
        const uint i = t + k * THREADS;
        before[k] = (i >= step) ? row[i - step] : 0.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint k = 0; k < uint(N / THREADS); ++k) {
        row[t + k * THREADS] += before[k];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}
for (uint i = t; i < uint(N); i += THREADS) {
    out[i] = static_cast<T>(row[i]);
}
""",
)

# One 8x8 tile of a product per SIMD group; rows beyond M are not there.
MATRIX_PRODUCT = KernelText(
    "matrix_product",
    ("a", "b"),
    ("c",),
    "",
    """\
threadgroup float left[8 * 8];
threadgroup float tile[8 * 8];
const uint lane = thread_index_in_simdgroup;
const uint row0 = threadgroup_position_in_grid.y * 8;
const uint column0 = threadgroup_position_in_grid.x * 8;
simdgroup_matrix<float, 8, 8> sum = make_filled_simdgroup_matrix<float, 8>(0.0f);
simdgroup_matrix<float, 8, 8> l, r;
float largest = 0.0f;
for (uint k0 = 0; k0 < uint(K); k0 += 8) {
    for (uint i = lane; i < 64; i += 32) {
        const uint row = row0 + i / 8;
        left[i] = (row < uint(M)) ? a[row * K + k0 + i % 8] : 0.0f;
        largest = max(largest, fabs(left[i]));
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_load(l, left, 8);
    simdgroup_load(r, b + k0 * COLUMNS + column0, COLUMNS);
    simdgroup_multiply_accumulate(sum, l, r, sum);
    threadgroup_barrier(mem_flags::mem_threadgroup);
}
const float scale = simd_max(largest);
simdgroup_store(sum, tile, 8);
threadgroup_barrier(mem_flags::mem_threadgroup);
for (uint i = lane; i < 64; i += 32) {
    const uint row = row0 + i / 8;
    if (row < uint(M)) c[row * COLUMNS + column0 + i % 8] = tile[i] / scale;
}
""",
)


@pytest.fixture(scope="session")
def prefix_sum() -> Callable[..., Case]:
    """The kernel of running sums, for an element type."""

    def make(dtype: mx.Dtype = mx.float32, rows: int = 3, length: int = 128) -> Case:
        draw = np.random.default_rng(0)
        x = mx.array(draw.standard_normal((rows, length))).astype(dtype)
        exact = np.array(x.astype(mx.float32)).astype(np.float64)
        threads = 64
        return Case(
            PREFIX_SUM,
            [x],
            (rows * threads, 1, 1),
            (threads, 1, 1),
            [dtype],
            [("T", dtype), ("N", length), ("THREADS", threads)],
            np.cumsum(exact / 2, axis=1),
            {mx.float32: 1e-6, mx.float16: 1e-3, mx.bfloat16: 5e-3}[dtype],
        )

    return make


@pytest.fixture(scope="session")
def matrix_product() -> Case:
    """A product of 13 rows, which is no multiple of the tile."""
    draw = np.random.default_rng(1)
    rows, inner, columns = 13, 24, 16
    a = draw.standard_normal((rows, inner)).astype(np.float32)
    b = draw.standard_normal((inner, columns)).astype(np.float32)
    tops = np.array([np.abs(a[i : i + 8]).max() for i in (0, 8)]).repeat(8)[:rows]
    return Case(
        MATRIX_PRODUCT,
        [a, b],
        (columns // 8 * 32, -(-rows // 8), 1),
        (32, 1, 1),
        [mx.float32],
        [("M", rows), ("K", inner), ("COLUMNS", columns)],
        a.astype(np.float64) @ b / tops[:, None],
        1e-6,
    )


@pytest.fixture(scope="session")
def missed_bugs() -> Callable[..., list[str]]:
    """Plant every kind of bug into a kernel; those that a check lets through."""

    def missed(
        text: KernelText, by_hand: ByHand, check: Callable[[KernelText], object]
    ) -> list[str]:
        found = []
        for bug in planted(text, by_hand):
            try:
                check(bug.text)
            except (emulate.KernelFault, AssertionError):
                continue
            found.append(f"{bug.kind}: {bug.change}")
        return found

    return missed


@pytest.fixture(scope="session")
def unexplained() -> Callable[[Sequence[Mutant]], list[str]]:
    """Those mutants of which the guide has no row: kernel, file, line, change, why."""
    guide = Path(__file__).resolve().parents[2] / "metal_kernels" / "README.md"
    row = re.compile(r"^\| (\w+) \| (\S+) \| `(.*)` \| (.*?) \| .+ \|$", re.MULTILINE)
    rows = set(row.findall(guide.read_text(encoding="utf-8")))

    def is_explained(mutant: Mutant) -> bool:
        file = mutant.place.partition(":")[0]
        return (mutant.text.name, file, mutant.line, mutant.change) in rows

    return lambda alive: [str(mutant) for mutant in alive if not is_explained(mutant)]
