"""Kernels that are right run to the right numbers, whatever the order of threads."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.text import KernelText

REVERSE = KernelText(
    "reverse_rows",
    ("x",),
    ("y",),
    "inline float square(float a) { return a * a; }\n",
    """\
threadgroup float row[64];
const uint i = thread_position_in_grid.x;
const uint t = thread_position_in_threadgroup.x;
row[t] = square(float(x[i])) * 1.0;
threadgroup_barrier(mem_flags::mem_threadgroup);
y[i] = T(row[63 - t] + simd_sum(row[t]));
""",
)


def expected(x: np.ndarray) -> np.ndarray:
    squares = np.square(x.astype(np.float64)).reshape(-1, 64)
    sums = squares.reshape(-1, 2, 32).sum(-1, keepdims=True)
    return squares[:, ::-1].ravel() + np.broadcast_to(sums, (len(sums), 2, 32)).ravel()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(mx.float32, 1e-6), (mx.float16, 1e-3), (mx.bfloat16, 5e-3)],
)
def test_barriers_and_simd_groups(
    dtype: mx.Dtype, tolerance: float, check: bool, seed: int
) -> None:
    values = np.random.default_rng(seed).standard_normal(192).astype(np.float32)
    x = mx.array(values).astype(dtype)
    (y,) = emulate.run(
        REVERSE,
        [x],
        (192, 1, 1),
        (64, 1, 1),
        [(192,)],
        [dtype],
        [("T", dtype)],
        check=check,
        seed=seed,
    )
    reference = expected(np.array(x.astype(mx.float32)))
    assert np.abs(y - reference).max() / reference.max() < tolerance


def test_a_missing_barrier_is_named_with_its_line() -> None:
    wrong = KernelText(
        "wrong",
        ("x",),
        ("y",),
        "",
        REVERSE.source.replace(
            "threadgroup_barrier(mem_flags::mem_threadgroup);", ""
        ).replace("square", ""),
    )
    x = np.ones(64, np.float32)
    with pytest.raises(emulate.KernelFault) as caught:
        emulate.run(
            wrong,
            [x],
            (64, 1, 1),
            (64, 1, 1),
            [(64,)],
            [mx.float32],
            [("T", mx.float32)],
        )
    assert "race" in caught.value.kinds
    places = {finding.place for finding in caught.value.findings}
    assert "wrong, source line 6" in places
    assert any("row[63 - t]" in finding.line for finding in caught.value.findings)
