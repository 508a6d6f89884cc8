"""What Apple's compiler would refuse is refused here, and nothing that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate import typecheck
from mlx_speech.metal_kernels.text import KernelText


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_a_good_kernel_passes_for_every_type(prefix_sum: Callable, dtype) -> None:
    emulate.check_text(prefix_sum(dtype).generated())


def test_a_good_matrix_kernel_passes(matrix_product) -> None:
    emulate.check_text(matrix_product.generated())


HELPERS = """\
inline void add_device(device float* p, uint i) { p[i] += 1.0f; }
inline void add_shared(threadgroup float* p, uint i) { p[i] += 1.0f; }
"""
LOAD = "row[i] = scaled(float(in[i]));"

# What is put in the place of LOAD, in front of the header, and the kind of the finding.
BAD = {
    "shared pointer given as device": (f"{LOAD} add_device(row, i);", HELPERS, "type"),
    "device pointer given as shared": (f"{LOAD} add_shared(out, i);", HELPERS, "type"),
    "cast drops the space": (f"{LOAD} const float* p = (const float*)in;", "", "lint"),
    "write through const": (f"{LOAD} in[i] = T(0);", "", "type"),
    "unknown CUDA function": (f"{LOAD} __syncthreads();", "", "type"),
    "unknown GLSL function": ("row[bitfieldReverse(i)] = 0.0f;", "", "type"),
    "half vector into float vector": (
        f"{LOAD} half2 h = half2(half(1), half(2)); float2 f = h; row[i] += f.x;",
        "",
        "type",
    ),
    "vector of too many parts": (f"{LOAD} float2 f = float2(1, 2, 3);", "", "type"),
    "matrix of another size": (
        f"{LOAD} simdgroup_matrix<float, 16, 16> m;",
        "",
        "type",
    ),
    "half tile into float matrix": (
        f"{LOAD} simdgroup_matrix<float, 8, 8> m; "
        "simdgroup_load(m, (const device half*)in, 8);",
        "",
        "type",
    ),
    "float atomic in shared memory": (
        f"{LOAD} atomic_fetch_add_explicit((threadgroup atomic<float>*)row, 1.0f, "
        "memory_order_relaxed);",
        "",
        "type",
    ),
    "unset variable": (f"{LOAD} float z; row[i] += z;", "", "type"),
    "sometimes unset variable": (
        f"{LOAD} float z; if (t > 5) z = 1; row[i] += z;",
        "",
        "type",
    ),
    "missing return": (LOAD, "inline float none(float a) { a += 1; }\n", "type"),
    "double": (f"{LOAD} double z = 1.0;", "", "lint"),
    "ordered atomic": (
        f"{LOAD} atomic_load_explicit((device atomic_uint*)out, memory_order_seq_cst);",
        "",
        "lint",
    ),
    "std": (f"{LOAD} row[i] = std::sqrt(row[i]);", "", "lint"),
    "include": (LOAD, "#include <cmath>\n", "lint"),
    "lambda": ("auto f = [&](float a) { return a; }; row[i] = f(in[i]);", "", "lint"),
    "static variable": (f"static float z = 1.0f; {LOAD}", "", "lint"),
    "pointer without space": (
        LOAD,
        "inline float first(const float* p) { return p[0]; }\n",
        "lint",
    ),
    "reference without space": (
        LOAD,
        "inline void twice(float& a) { a *= 2; }\n",
        "lint",
    ),
    "reference to shared memory": (
        LOAD,
        "inline void twice(threadgroup float& a) { a *= 2; }\n",
        "lint",
    ),
    "recursion": (
        LOAD,
        "inline uint f(uint n) { return n < 2 ? 1 : n * f(n - 1); }\n",
        "lint",
    ),
    "shared array in a helper": (
        LOAD,
        "inline void f(uint i) { threadgroup float z[32]; z[i] = 0; }\n",
        "lint",
    ),
    "name of MLX's preamble": (
        LOAD,
        "inline int ceildiv(int a) { return a; }\n",
        "lint",
    ),
    "macro of MLX's preamble": (LOAD, "#define MTL_CONST const\n", "lint"),
    "variable of an attribute's name": (f"uint grid_size = 3; {LOAD}", "", "lint"),
    "attribute in a comment": (f"// see thread_index_in_simdgroup\n{LOAD}", "", "lint"),
    "shape in another word": (f"const uint my_x_shape = 1; {LOAD}", "", "lint"),
    "function without known user": (
        f"{LOAD} row[i] = simd_ballot(true);",
        "",
        "lint",
    ),
    "matrix origin": (
        f"{LOAD} simdgroup_matrix<float, 8, 8> m; "
        "simdgroup_load(m, row, 8, ulong2(0, 0));",
        "",
        "lint",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_apple_would_refuse_is_found(prefix_sum: Callable, name: str) -> None:
    new, header, kind = BAD[name]
    case = prefix_sum()
    assert LOAD in case.text.source
    text = replace(
        case.text,
        source=case.text.source.replace(LOAD, new),
        header=header + case.text.header,
    )
    with pytest.raises(emulate.KernelFault) as caught:
        emulate.check_text(case.generated(text), compile_too=False)
    assert kind in caught.value.kinds, caught.value
    assert all(finding.place for finding in caught.value.findings)


def test_a_small_input_lies_in_constant_memory() -> None:
    kernel = KernelText(
        "first",
        ("x",),
        ("y",),
        "inline float at(const device float* p, uint i) { return p[i]; }\n",
        "const uint i = thread_position_in_grid.x;\ny[i] = at(x, i);\n",
    )
    emulate.check_text(emulate.generate(kernel, [((8,), "float32")], ["float32"]))
    small = emulate.generate(kernel, [((7,), "float32")], ["float32"])
    with pytest.raises(emulate.KernelFault, match="first, source line 2"):
        emulate.check_text(small)


def test_nothing_becomes_bfloat_by_itself(prefix_sum: Callable) -> None:
    case = prefix_sum(mx.bfloat16)
    source = case.text.source.replace("static_cast<T>(row[i])", "row[i]")
    generated = case.generated(replace(case.text, source=source))
    with pytest.raises(emulate.KernelFault, match=r"prefix_sum, source line 23"):
        emulate.check_text(generated)
    emulate.check_text(
        prefix_sum(mx.float16).generated(replace(case.text, source=source))
    )


def test_a_kernel_without_attributes_is_named() -> None:
    kernel = KernelText("k", ("x",), ("y",), "", "y[0] = x[0];\n")
    with pytest.raises(emulate.KernelFault, match="no thread attribute"):
        emulate.check_text(emulate.generate(kernel, [((9,), "int32")], ["int32"]))


def test_without_clang_the_words_say_what_to_install(
    prefix_sum: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typecheck.shutil, "which", lambda name: None)
    monkeypatch.setattr(typecheck, "zig_command", lambda: None)
    typecheck._clang.cache_clear()
    try:
        with pytest.raises(SpeechError, match="pip install ziglang"):
            emulate.check_text(prefix_sum().generated())
    finally:
        typecheck._clang.cache_clear()
