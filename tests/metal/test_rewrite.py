"""Tokens join to the text; the changes for C++ touch what they must and no line."""

from __future__ import annotations

import pytest

from mlx_speech.metal_kernels.emulate.arrays import with_checked_arrays
from mlx_speech.metal_kernels.emulate.rewrite import (
    replace_shared,
    with_float_literals,
    without_attributes,
)
from mlx_speech.metal_kernels.emulate.tokens import join, tokens, without_comments
from mlx_speech.metal_kernels.emulate.unit import cpp_unit

TEXT = """\
#define A(x) \\
    (x)
/* two
lines */ threadgroup vec<float, 2> a[N + 1][4], b[2];  // "quoted
threadgroup float one;
threadgroup float* p = a;
const threadgroup float2& r = *q;
if (x >> 2 >= 1e-3f) { threadgroup half
    c[8]; }
"""


def test_tokens_join_to_the_text_and_know_their_lines() -> None:
    parts = tokens(TEXT)
    assert join(parts) == TEXT
    assert [t.line for t in parts if t.text in ("a", "one", "c")] == [4, 5, 6, 9]
    assert {">>", ">=", "1e-3f"} <= {t.text for t in parts}
    assert without_comments(TEXT).count("\n") == TEXT.count("\n")
    assert "two" not in without_comments(TEXT)


def test_declarations_of_shared_memory_are_replaced_and_pointers_are_not() -> None:
    made, found = replace_shared(TEXT, lambda v: f"<{v.name}>")
    assert [(v.number, v.type, v.name, v.brackets) for v in found] == [
        (0, "vec < float , 2 >", "a", "[N + 1][4]"),
        (1, "vec < float , 2 >", "b", "[2]"),
        (2, "float", "one", ""),
        (3, "half", "c", "[8]"),
    ]
    assert "<a> <b>" in made and "<one>" in made and "<c>\n" in made
    assert "threadgroup float* p = a;" in made
    assert "const threadgroup float2& r" in made
    assert made.count("\n") == TEXT.count("\n")


def test_a_shared_variable_cannot_be_initialised() -> None:
    with pytest.raises(ValueError, match="`a` cannot have an initialiser"):
        replace_shared("threadgroup float a[2] = {0, 1};", lambda v: "")


@pytest.mark.parametrize(
    ("metal", "cpp"),
    [
        ("1.0 + .5 + 2. + 1e3", "1.0f + .5f + 2.f + 1e3f"),
        ("1.0f 0x1F 10u 3 a1.x", "1.0f 0x1F 10u 3 a1.x"),
        ("0.5h 2H 1.5bf", "0.5_emu_half 2.0_emu_half 1.5_emu_bfloat"),
    ],
)
def test_floating_literals_are_floats(metal: str, cpp: str) -> None:
    assert with_float_literals(metal) == cpp


def test_attributes_go_and_subscripts_stay() -> None:
    text = "[[kernel]] void f(uint a [[buffer(0)]],\n uint b [[x]]) { v[w[0]]; }"
    assert without_attributes(text) == (" void f(uint a ,\n uint b ) { v[w[0]]; }")


def test_the_unit_keeps_the_numbers_of_lines(prefix_sum) -> None:
    generated = prefix_sum().generated()
    unit = cpp_unit(generated).split("\n")
    start = unit.index('#line 1 "kernel.metal"') + 1
    for number, line in enumerate(generated.definition.split("\n")):
        if "threadgroup float" not in line and "[[" not in line and "0.5" not in line:
            assert unit[start + number] == line


ARRAYS = """\
template <int N> float2 f(thread float2* p, float2 q) {
  float2 a[N], b[N + 1]; float plain[4];
  const half4 c[2][3] = {};
  vec<float, 2> d[2];
  for (int i = 0; i < N; ++i) { a[b[i].x > 0] = d[i]; p[i] = q[0]; plain[i] = 0; }
  {
    float2 a[
      7];
    s.a[1] = a[2];
  }
  return a[0] + g(&a[N], a + 1) + c[1][i];
}
float2 g(float2 a[2]) { return a[1]; }
"""
CHECKED = """\
template <int N> float2 f(thread float2* p, float2 q) {
  float2 a[N], b[N + 1]; float plain[4];
  const half4 c[2][3] = {};
  vec<float, 2> d[2];
  for (int i = 0; i < N; ++i) { a[emu_index<(N)>(b[emu_index<(N + 1)>(i)].x > 0)] = \
d[emu_index<(2)>(i)]; p[i] = q[0]; plain[i] = 0; }
  {
    float2 a[
      7];
    s.a[1] = a[emu_index<(7)>(2)];
  }
  return a[emu_index<(N)>(0)] + g(&a[N], a + 1) + \
c[emu_index<(2)>(1)][emu_index<(3)>(i)];
}
float2 g(float2 a[2]) { return a[1]; }
"""


def test_indices_of_private_arrays_of_classes_get_their_bounds() -> None:
    assert with_checked_arrays(ARRAYS) == CHECKED
