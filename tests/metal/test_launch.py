"""The edges of a launch: strides, scalars, modes of arithmetic, the cache."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate import compilers
from mlx_speech.metal_kernels.text import KernelText


def test_strided_inputs_come_with_their_strides() -> None:
    source = (
        "const uint i = thread_position_in_grid.x;\n"
        "const int columns = x_shape[1];\n"
        "const int64_t at = int64_t(i / columns) * x_strides[0]\n"
        "    + int64_t(i % columns) * x_strides[1];\n"
        "y[i] = x[at] + float(x_ndim);\n"
    )
    x = np.arange(60, dtype=np.float32).reshape(6, 10)[::2, 1::3].T
    for contiguous in (False, True):
        kernel = KernelText("strided", ("x",), ("y",), "", source, contiguous)
        (y,) = emulate.run(kernel, [x], (9, 1, 1), (9, 1, 1), [x.shape], [mx.float32])
        assert np.array_equal(y, x + 2)
    kernel = KernelText("strided", ("x",), ("y",), "", source, False)
    with pytest.raises(ValueError, match="negative stride"):
        emulate.run(kernel, [x[::-1]], (9, 1, 1), (9, 1, 1), [x.shape], [mx.float32])


def test_scalars_and_numbers_are_references() -> None:
    kernel = KernelText(
        "scaled",
        ("x", "by"),
        ("y",),
        "",
        "const uint i = thread_position_in_grid.x;\ny[i] = x[i] * by;\n",
    )
    x = np.arange(9, dtype=np.float32)
    for by in (3.0, np.float32(3), mx.array(3.0)):
        (y,) = emulate.run(kernel, [x, by], (9, 1, 1), (9, 1, 1), [(9,)], [mx.float32])
        assert np.array_equal(y, 3 * x)


def test_complex_numbers() -> None:
    kernel = KernelText(
        "squared",
        ("x",),
        ("y",),
        "",
        "const uint i = thread_position_in_grid.x;\ny[i] = x[i] * x[i];\n",
    )
    x = np.array([1 + 2j, 3 - 1j, -2j, 0.5] * 3, np.complex64)
    (y,) = emulate.run(kernel, [x], (12, 1, 1), (4, 1, 1), [(12,)], [mx.complex64])
    assert np.allclose(y, x * x)


@pytest.mark.parametrize("size", [(0, 1, 1), (4, 1), (1.5, 1, 1)])
def test_a_wrong_grid_is_refused(prefix_sum: Callable, size: tuple) -> None:
    case = prefix_sum()
    program = emulate.Program(case.generated())
    inputs = [np.array(case.inputs[0])]
    with pytest.raises(ValueError, match="three positive integers"):
        program.run(inputs, [(3, 128)], case.output_dtypes, size, (64, 1, 1))


def test_the_modes_of_arithmetic_differ_by_rounding_only(matrix_product) -> None:
    case = matrix_product
    results = []
    for contract, flush in ((False, False), (True, False), (False, True)):
        program = emulate.Program(case.generated(), check=False, contract=contract)
        outcome = program.run(
            case.inputs,
            [case.expected.shape],
            case.output_dtypes,
            case.grid,
            case.threadgroup,
            flush_denormals=flush,
        )
        results.append(outcome.outputs[0])
    assert all(np.allclose(result, results[0], rtol=1e-5) for result in results)


def test_very_small_numbers_can_be_flushed() -> None:
    kernel = KernelText(
        "tiny",
        ("x",),
        ("y",),
        "",
        "const uint i = thread_position_in_grid.x;\ny[i] = x[i] * 0.5;\n",
    )
    x = np.full(8, 1.2e-38, np.float32)
    program = emulate.Program(emulate.prepare(kernel, [x], [mx.float32]), check=False)
    results = [
        program.run(
            [x], [(8,)], [mx.float32], (8, 1, 1), (8, 1, 1), flush_denormals=flush
        ).outputs[0]
        for flush in (False, True)
    ]
    assert (results[0] > 0).all() and (results[1] == 0).all()


def test_what_a_launch_used_is_counted(matrix_product) -> None:
    case = matrix_product
    outcome = emulate.Program(case.generated()).run(
        case.inputs,
        [case.expected.shape],
        case.output_dtypes,
        case.grid,
        case.threadgroup,
    )
    assert outcome.threadgroup_bytes == 2 * 64 * 4
    assert outcome.counts["groups"] == 4 and outcome.counts["threads"] == 128
    assert outcome.counts["matrix_products"] == 4 * 3
    assert outcome.counts["barriers"] == 4 * (2 * 3 + 1)
    assert outcome.counts["device_bytes_written"] == case.expected.size * 4


def test_compiled_kernels_are_kept_and_the_cache_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix_sum: Callable
) -> None:
    monkeypatch.setenv(compilers.CACHE_VARIABLE, str(tmp_path / "cache"))
    program = emulate.Program(prefix_sum(rows=1).generated())
    kept = {path.name for path in (tmp_path / "cache").iterdir()}
    assert {program.library.path.name, program.library.runtime.name} <= kept
    assert {name.partition("-")[0] for name in kept} <= {"runtime", "kernel", "headers"}
    before = program.library.path.stat().st_mtime_ns
    again = emulate.Program(prefix_sum(rows=1).generated())
    assert again.library.path.stat().st_mtime_ns == before


def test_the_cache_may_be_named_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix_sum: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(compilers.CACHE_VARIABLE, "near")
    program = emulate.Program(prefix_sum(rows=1).generated())
    assert program.library.path.parent == tmp_path / "near"
    assert program.library.path.is_file()


def test_a_full_cache_loses_old_kernels_and_never_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilers, "_MOST_FILES", 2)
    cache, made = tmp_path / "cache", tmp_path / "made"
    made.write_text("x")
    for name, age in (("runtime-a.so", 9), ("kernel-a.so", 9), ("kernel-b.so", 0)):
        compilers.keep(made, cache / name)
        before = time.time() - age * 24 * 3600
        os.utime(cache / name, (before, before))
    compilers.keep(made, cache / "kernel-c.so")
    assert {path.name for path in cache.iterdir()} == {
        *("runtime-a.so", "kernel-b.so", "kernel-c.so")
    }


def test_without_a_compiler_the_words_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    with pytest.raises(SpeechError, match=r"install g\+\+"):
        compilers.compiler("none-such")
