"""Every class of fault is found, told at its line; what only looks like one is not."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate.compilers import compiler
from mlx_speech.metal_kernels.text import KernelText

HEAD = """\
threadgroup float row[64];
const uint i = thread_position_in_grid.x;
const uint t = thread_position_in_threadgroup.x;
"""
FENCE = "threadgroup_barrier(mem_flags::mem_threadgroup);"


def launch(
    source: str,
    *,
    threads: int = 128,
    group: int = 64,
    seed: int = 0,
    **options: object,
) -> np.ndarray:
    """Run a body over 128 values, one thread for each."""
    kernel = KernelText("tiny", ("x",), ("y",), "", HEAD + source)
    x = np.arange(128, dtype=np.float32)
    (y,) = emulate.run(
        kernel,
        [x],
        (threads, 1, 1),
        (group, 1, 1),
        [(128,)],
        [mx.float32],
        seed=seed,
        **options,
    )
    return y


# The faulty body, the kind that must be told, and the line of it (from 1).
FAULTS = {
    "read after write": (
        "row[t] = x[i];\ny[i] = row[63 - t];\n",
        "race",
        2,
    ),
    "write after read": (
        f"row[t] = x[i];\n{FENCE}\nfloat a = row[63 - t];\nrow[t] = a;\ny[i] = a;\n",
        "race",
        4,
    ),
    "write after write": (
        f"row[t / 2] = x[i];\nrow[32 + t / 2] = x[i];\n{FENCE}\ny[i] = row[t];\n",
        "race",
        1,
    ),
    "fence of other memory": (
        "row[t] = x[i];\nthreadgroup_barrier(mem_flags::mem_device);\n"
        "y[i] = row[63 - t];\n",
        "race",
        3,
    ),
    "no fence at all": (
        "row[t] = x[i];\nthreadgroup_barrier(mem_flags::mem_none);\n"
        "y[i] = row[63 - t];\n",
        "race",
        3,
    ),
    "barrier of a SIMD group only": (
        "row[t] = x[i];\nsimdgroup_barrier(mem_flags::mem_threadgroup);\n"
        "y[i] = row[63 - t];\n",
        "race",
        3,
    ),
    "device memory behind a fence of the other": (
        f"y[i] = x[i];\n{FENCE}\ny[i] = y[i] + y[i ^ 1];\n",
        "race",
        3,
    ),
    "two threadgroups, one element": ("y[i] = x[i];\ny[t] = 1.0f;\n", "race", 2),
    "atomic against plain": (
        "y[i] = x[i];\n"
        "atomic_fetch_add_explicit((device atomic<float>*)y, 1.0f, "
        "memory_order_relaxed);\n",
        "race",
        2,
    ),
    "read behind the end": ("y[i] = x[i + 1];\n", "out of bounds", 1),
    "read before the start": ("y[i] = x[int(i) - 1];\n", "out of bounds", 1),
    "far read": ("y[i] = x[i + 1000000000];\n", "out of bounds", 1),
    "write behind the end": ("y[i] = x[i];\ny[i + 1] = 0;\n", "out of bounds", 2),
    "pointer behind shared memory": (
        f"row[t] = x[i];\n{FENCE}\nthreadgroup float* p = row + t;\ny[i] = p[1];\n",
        "out of bounds",
        4,
    ),
    "index of shared memory": (
        f"row[t] = x[i];\n{FENCE}\ny[i] = row[t + 1];\n",
        "array index",
        3,
    ),
    "index of a private array": (
        "float a[4] = {0, 1, 2, 3};\nfor (uint k = 0; k <= 4; ++k) a[k] += x[i];\n"
        "y[i] = a[t % 4];\n",
        "array index",
        2,
    ),
    "read behind a private array of vectors": (
        "float2 a[3] = {x[i], 1, 2};\nfloat2 b[4];\n"
        "for (uint k = 0; k < 4; ++k) b[k] = a[k];\ny[i] = b[t % 2].x;\n",
        "array index",
        3,
    ),
    "write behind a private array of vectors": (
        "vec<float, 4> a[2];\nfor (uint k = 0; k <= 2; ++k) a[k] = float4(x[i]);\n"
        "y[i] = a[t % 2].x;\n",
        "array index",
        2,
    ),
    "second index of private matrices": (
        "simdgroup_matrix<float, 8, 8> m[2][3];\nfor (uint k = 0; k < 4; ++k)\n"
        "m[1][k] = simdgroup_matrix<float, 8, 8>(x[i]);\n"
        "y[i] = m[1][0].thread_elements()[0];\n",
        "array index",
        3,
    ),
    "index of private vectors within an index": (
        "half2 a[4];\nint n[2] = {1, 4};\n"
        "for (uint k = 0; k < 4; ++k) a[k] = half2(k);\n"
        "y[i] = float(a[n[t % 2]].x);\n",
        "array index",
        4,
    ),
    "wild pointer": ("y[i] = *(const device float*)(ulong(t) + 64);\n", "wild", 1),
    "never set in shared memory": (
        f"if (t < 32) row[t] = x[i];\n{FENCE}\ny[i] = row[t];\n",
        "uninitialised read",
        3,
    ),
    "output read before it is written": (
        "y[i] = y[i] + x[i];\n",
        "uninitialised read",
        1,
    ),
    "write to an input": (
        "y[i] = x[i];\n((device float*)x)[i] = 0;\n",
        "write to input",
        2,
    ),
    "misaligned vector": (
        "const float4 v = *(const device float4*)(x + 1);\ny[i] = v.x + v.w;\n",
        "misaligned",
        1,
    ),
    "misaligned vector copied whole": (
        "float4 kept[2];\nfor (uint o = 0; o < 2; ++o) {\n"
        "kept[o] = float4(*(const device vec<float, 4>*)(x + 1 + o));\n}\n"
        "y[i] = dot(kept[0], kept[1]);\n",
        "misaligned",
        3,
    ),
    "shift too far": ("y[i] = float(1u << (i + 1));\n", "shift", 1),
    "division by zero": ("y[i] = float(5u / (i - 3u));\n", "division", 1),
    "conversion out of range": ("y[i] = float(uint(x[i] - 5.0f));\n", "conversion", 1),
    "barrier in a branch": (f"y[i] = x[i];\nif (t < 32) {FENCE}\n", "barrier", 2),
    "two different barriers": (
        f"y[i] = x[i];\nif (t < 32) {{\n{FENCE}\n}} else {{\n{FENCE}\n}}\n",
        "barrier",
        0,
    ),
    "return before a barrier": (
        f"y[i] = x[i];\nif (t == 5) return;\n{FENCE}\n",
        "barrier",
        3,
    ),
    "SIMD operation in a branch": (
        f"float s = 0;\nif (t % 32 < 16) s = simd_sum(x[i]);\n{FENCE}\ny[i] = s;\n",
        "divergence",
        2,
    ),
    "endless loop": (
        "float s = x[i];\nwhile (s >= 0) s += 1.0f;\ny[i] = s;\n",
        "endless loop",
        2,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_placed(name: str) -> None:
    source, kind, line = FAULTS[name]
    if kind == "misaligned" and compiler().clang:
        pytest.skip("clang reads the parts of a vector one by one")
    with pytest.raises(emulate.KernelFault) as caught:
        launch(source)
    found = [f for f in caught.value.findings if f.kind.startswith(kind)]
    assert found, caught.value
    places = {f.place for f in found}
    if line:
        assert f"tiny, source line {line + HEAD.count(chr(10))}" in places


def test_a_race_does_not_depend_on_the_order_of_threads() -> None:
    # In order, thread 63 writes last and every read happens to see the right value.
    source = "if (t == 0) row[0] = x[0];\ny[i] = (t == 63) ? row[0] : 0.0f;\n"
    for seed in range(4):
        with pytest.raises(emulate.KernelFault) as caught:
            launch(source, seed=seed)
        assert caught.value.kinds & {"race", "uninitialised read"}


def test_the_message_says_why_a_barrier_was_not_enough() -> None:
    with pytest.raises(emulate.KernelFault, match="does not fence this memory"):
        launch(FAULTS["fence of other memory"][0])
    with pytest.raises(emulate.KernelFault, match="no barrier between"):
        launch(FAULTS["read after write"][0])
    with pytest.raises(emulate.KernelFault, match="threadgroups have no order"):
        launch(FAULTS["two threadgroups, one element"][0])


def test_elements_that_are_never_written_are_counted() -> None:
    with pytest.raises(emulate.KernelFault, match=r"64 of 128 .* first is element 64"):
        launch("if (i < 64) y[i] = x[i];\n")
    assert (
        launch("if (i < 64) y[i] = x[i];\n", init_value=2.0)[64:].tolist() == [2] * 64
    )


def test_too_much_shared_memory_is_told() -> None:
    source = "threadgroup float more[8192];\nmore[t] = x[i];\nrow[t] = more[t];\n"
    with pytest.raises(emulate.KernelFault, match=r"33024 bytes .* limit is 32768"):
        launch(source + "y[i] = row[t];\n")


def test_too_large_a_group_is_told() -> None:
    with pytest.raises(emulate.KernelFault, match="2048 threads"):
        launch("y[0] = x[0];\n", threads=2048, group=2048)


def test_a_crash_ends_the_launch_and_not_the_process() -> None:
    with pytest.raises(emulate.KernelFault) as caught:
        launch("y[i] = x[i + 1000000];\n", check=False)
    assert caught.value.kinds == {"crash"}
    deep = "float big[100000];\nbig[t] = x[i];\ny[i] = big[t] + big[t * 99];\n"
    with pytest.raises(emulate.KernelFault) as caught:
        launch(deep)
    assert caught.value.kinds & {"crash", "wild pointer", "uninitialised variable"}
    assert launch("y[i] = x[i];\n")[5] == 5


def test_a_variable_that_is_not_set_is_told() -> None:
    with pytest.raises(emulate.KernelFault) as caught:
        launch("float a;\nfor (uint k = 0; k < t; ++k) a += x[i];\ny[i] = a;\n")
    assert caught.value.kinds == {"uninitialised variable"}


GOOD = {
    "neighbours within a SIMD group behind its own barrier": (
        "row[t] = x[i];\nsimdgroup_barrier(mem_flags::mem_threadgroup);\n"
        "y[i] = row[t ^ 1];\n"
    ),
    "device memory behind its fence": (
        "y[i] = x[i];\nthreadgroup_barrier(mem_flags::mem_device);\n"
        "const float a = y[i ^ 1];\nthreadgroup_barrier(mem_flags::mem_device);\n"
        "y[i] = a;\n"
    ),
    "both fences in one barrier": (
        "row[t] = x[i];\ny[i] = x[i];\n"
        "threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);\n"
        "const float a = y[i ^ 1] + row[63 - t];\n"
        "threadgroup_barrier(mem_flags::mem_device);\ny[i] = a;\n"
    ),
    "many readers of one element": (
        f"if (t == 0) row[0] = x[i];\n{FENCE}\ny[i] = row[0];\n{FENCE}\n"
        "if (t == 1) row[0] = 1;\n"
    ),
    "return of a whole group": f"y[i] = x[i];\nif (i >= 64) return;\n{FENCE}\n",
    "return of a whole SIMD group before a SIMD operation": (
        "y[i] = x[i];\nif (t >= 32) return;\ny[i] = simd_sum(1.0f);\n"
    ),
    "some lanes return before a SIMD operation": (
        "y[i] = x[i];\nif (t % 32 >= 7) return;\ny[i] = simd_sum(1.0f);\n"
    ),
    "private array by pointer": (
        "float a[4];\nthread float* p = a;\nfor (uint k = 0; k < 4; ++k) p[k] = k;\n"
        "y[i] = a[t % 4];\n"
    ),
    "private arrays of vectors in their bounds, and of one name in two blocks": (
        "float2 a[3] = {x[i], 1, 2};\nif (t > 0) {\nfloat2 a[5];\n"
        "for (uint k = 0; k < 5; ++k) a[k] = x[i];\ny[i] = a[4].y;\n} else {\n"
        "y[i] = a[2].x;\n}\nthread const float2* end = &a[3];\n"
        "if (end - a != 3) y[i] = 0;\n"
    ),
    "own element again and again": (
        "y[i] = x[i];\nfor (uint k = 0; k < 3; ++k) y[i] += 1.0f;\n"
    ),
    "atomics of all groups": (
        "if (i > 0) y[i] = x[i];\n"
        "atomic_fetch_add_explicit((device atomic<float>*)y, 1.0f, "
        "memory_order_relaxed);\n"
    ),
}


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("name", GOOD)
def test_no_false_alarm(name: str, seed: int) -> None:
    options = {"init_value": 0.0} if "atomics" in name else {}
    launch(GOOD[name], seed=seed, **options)


def test_good_kernels_have_no_findings(prefix_sum: Callable, matrix_product) -> None:
    for seed in (0, 1):
        matrix_product.run(seed=seed)
        matrix_product.run(seed=seed, check=False)
        for dtype in (mx.float32, mx.float16, mx.bfloat16):
            prefix_sum(dtype).run(seed=seed)
    prefix_sum(rows=1, length=64).run()
    prefix_sum(rows=2, length=1024).run(seed=5)
