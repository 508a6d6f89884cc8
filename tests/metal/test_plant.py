"""Every kind of bug that kernels have had is found when it is planted."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.text import KernelText

# What only the author knows: where an index, a stride, an order can be wrong.
PREFIX_SUM_BY_HAND = {
    "wrong stride": ("row[t + k * THREADS] +=", "row[t + k * N] +="),
    "wrong index": ("row[i - step]", "row[i - 1]"),
    "wrong order of elements": ("row[i] = scaled", "row[N - 1 - i] = scaled"),
    "layout of the output swapped": ("y + group * N", "y + group"),
}
PREFIX_SUM_ABSENT = {
    "guard missing": "no edges: the length is a multiple of the threads",
    "sum not set at the start": "sums are kept in threadgroup memory",
    "wrong stride of a matrix": "no matrices",
    "matrix not set at the start": "no matrices",
    "SIMD operation in a branch": "no SIMD operations",
}
MATRIX_BY_HAND = {
    "wrong stride": ("b + k0 * COLUMNS", "b + k0 * K"),
    "wrong index": ("k0 + i % 8", "k0 + i % 4"),
    "wrong order of elements": ("left[i] = (row", "left[63 - i] = (row"),
    "layout of the output swapped": (
        "c[row * COLUMNS + column0 + i % 8]",
        "c[(column0 + i % 8) * M + row]",
    ),
    "wrong sign": ("tile[i] / scale", "-tile[i] / scale"),
}
MATRIX_ABSENT = {
    "barrier of a SIMD group only": "a threadgroup is one SIMD group",
    "bfloat made by itself": "the kernel is for float32",
}


def is_found(case, text: KernelText) -> bool:
    """Check and run a text as the tests of a shipped kernel do."""
    try:
        case.run(text)
        emulate.check_text(case.generated(text))
    except (emulate.KernelFault, AssertionError):
        return True
    return False


def test_every_bug_in_the_running_sums_is_found(prefix_sum: Callable) -> None:
    case = prefix_sum(mx.bfloat16, rows=3, length=128)
    assert not is_found(case, case.text)
    bugs = emulate.planted(case.text, PREFIX_SUM_BY_HAND)
    missed = [bug for bug in bugs if not is_found(case, bug.text)]
    assert not missed, [f"{bug.kind}: {bug.change}" for bug in missed]
    assert not emulate.gaps(case.text, PREFIX_SUM_BY_HAND, PREFIX_SUM_ABSENT)


def test_every_bug_in_the_matrix_product_is_found(matrix_product) -> None:
    assert not is_found(matrix_product, matrix_product.text)
    bugs = [
        bug
        for bug in emulate.planted(matrix_product.text, MATRIX_BY_HAND)
        if bug.kind not in MATRIX_ABSENT
    ]
    missed = [bug for bug in bugs if not is_found(matrix_product, bug.text)]
    assert not missed, [f"{bug.kind}: {bug.change}" for bug in missed]
    assert not emulate.gaps(matrix_product.text, MATRIX_BY_HAND, MATRIX_ABSENT)


def test_a_kind_that_was_forgotten_is_named(prefix_sum: Callable) -> None:
    text = prefix_sum().text
    assert "wrong index" in emulate.gaps(text)
    assert "wrong index" not in emulate.gaps(text, PREFIX_SUM_BY_HAND)
    with pytest.raises(KeyError, match="made up"):
        emulate.planted(text, {"made up": ("a", "b")})
    with pytest.raises(ValueError, match="no text `not there`"):
        emulate.planted(text, {"wrong index": ("not there", "b")})


def test_planting_keeps_the_numbers_of_lines(prefix_sum: Callable) -> None:
    text = prefix_sum().text
    for bug in emulate.planted(text, PREFIX_SUM_BY_HAND):
        assert bug.text != text
        if not bug.change.startswith("last:"):
            assert bug.text.source.count("\n") == text.source.count("\n")
