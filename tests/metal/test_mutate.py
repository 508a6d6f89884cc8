"""Mutants: which are made, and that tests of good kernels kill them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.text import KernelText

SMALL = KernelText(
    "small",
    ("x",),
    ("y",),
    "inline float half_of(float a) { return a * 0.5f; }\n",
    """\
threadgroup float row[64];
const device float* p = x + 4;
threadgroup_barrier(mem_flags::mem_threadgroup);
const vec<float, 2> v = static_cast<vec<float, 2>>(-row[3]);
for (uint i = 0; i < 7; ++i) y[i] = p[i] - half_of(v.x) * *p;
""",
)


def changes(kind: str) -> list[str]:
    return [mutant.change for mutant in emulate.mutants(SMALL) if mutant.kind == kind]


def test_each_kind_of_change_is_made_and_nothing_that_is_no_operator() -> None:
    assert changes("barrier") == [
        "threadgroup_barrier removed",
        "threadgroup_barrier becomes simdgroup_barrier",
        "mem_threadgroup becomes mem_device",
        "mem_threadgroup becomes mem_none",
    ]
    # No pointer star, no angle bracket, no sign of one operand.
    assert changes("operator") == [
        "* becomes +",
        "+ becomes -",
        "< becomes <=",
        "- becomes +",
    ]
    assert changes("index") == ["index plus 1"] * 3 + [".x becomes .y"]
    # No size of an array, no template argument.
    assert changes("constant") == [
        "0.5f becomes 1.5f",
        *("4 becomes 5", "4 becomes 3", "3 becomes 4", "3 becomes 2"),
        *("0 becomes 1", "7 becomes 8", "7 becomes 6"),
    ]


def test_a_mutant_differs_by_one_token_and_knows_its_line() -> None:
    found = emulate.mutants(SMALL)
    assert len({(m.text.header, m.text.source) for m in found}) == len(found)
    (loop,) = [m for m in found if m.change == "< becomes <="]
    assert loop.place == "small, source line 5"
    assert loop.text.source == SMALL.source.replace("i < 7", "i <= 7")
    assert loop.text.header == SMALL.header


def test_the_seed_chooses_and_barriers_are_always_there() -> None:
    first = emulate.mutants(SMALL, seed=1, others=3)
    assert [m.kind for m in first][:4] == ["barrier"] * 4 and len(first) == 7
    assert first == emulate.mutants(SMALL, seed=1, others=3)
    assert first != emulate.mutants(SMALL, seed=2, others=3)


def test_a_kernel_s_test_kills_its_mutants(prefix_sum: Callable) -> None:
    case = prefix_sum(rows=2, length=128)
    verdicts = emulate.judge(
        emulate.mutants(case.text, seed=0, others=12), lambda text: case.run(text)
    )
    assert not emulate.survivors(verdicts), list(map(str, emulate.survivors(verdicts)))
    assert emulate.score(verdicts) == 1.0
    by_barrier = [v for v in verdicts if v.mutant.kind == "barrier"]
    assert len(by_barrier) == 12 and all("race" in v.killed_by for v in by_barrier)


def test_survivors_lower_the_score_and_stillborn_mutants_do_not(
    prefix_sum: Callable,
) -> None:
    case = prefix_sum()
    mutant = emulate.mutants(case.text)[0]
    same = replace(mutant, text=case.text)
    broken = replace(mutant, text=replace(case.text, source="uint;"))
    verdicts = emulate.judge([mutant, same, broken], lambda text: case.run(text))
    assert [v.killed_by for v in verdicts] == [
        "race, uninitialised read",
        "",
        "compile",
    ]
    assert emulate.survivors(verdicts) == [same]
    assert emulate.score(verdicts) == 0.5
