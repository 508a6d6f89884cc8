"""The tests of both kernels notice planted bugs and mutants.

All barrier mutants and ten others of each kernel run here; two hundred of each run by
``pytest -m slow tests/metal/butterfly/test_faults.py`` (minutes on one core).
Survivors are explained in metal_kernels/README.md.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlx_speech.metal_kernels.butterfly_launch import BACKWARD, FORWARD
from mlx_speech.metal_kernels.emulate.mutate import (
    judge,
    mutants,
    score,
    survivors,
)
from mlx_speech.metal_kernels.emulate.plant import WITHOUT_MATRICES, gaps
from mlx_speech.metal_kernels.text import KernelText

# More than one SIMD group in either direction, threads left over, every kind of step,
# tied blocks, each dtype, all eight steps. What compiles fast comes first: most bugs go
# no further.
CASES = [
    ((2, 5), False, mx.float16),
    ((4, 2), True, mx.bfloat16),
    ((5, 2, 2, 3), True, mx.float32),
    ((3, 2, 2, 3, 4), False, mx.complex64),
    ((2, 3) * 4, False, mx.complex64),
]
ABSENT = {
    **WITHOUT_MATRICES,
    "SIMD operation in a branch": "threads exchange through threadgroup memory only",
}
ABSENT_FORWARD = {**ABSENT, "bfloat made by itself": "it writes complex numbers only"}

LOAD = "points[target] ="
STORE = "((device float2*)y)[frame * N + i % N]"
# Bugs of the pieces that both texts share, and of either.
SHARED = {
    "wrong stride": ("k * stride) * SIZE", "k * stride) * (SIZE + 1)"),
    "wrong index": [
        ("weights[(first + k * stride)", "weights[(first + stride)"),
        ("const int group = item / SPAN", "const int group = item / (SPAN + 1)"),
    ],
    "wrong order of elements": (LOAD, "points[i] ="),
    "sum not set at the start": (
        "float2 sum = times(block[q * RADIX], inputs[0]);",
        "float2 sum; sum += times(block[q * RADIX], inputs[0]);",
    ),
    "wrong sign": ("a.x * b.x - a.y * b.y", "a.x * b.x + a.y * b.y"),
    "shared memory loaded by half": (LOAD, f"if (i % 2) {LOAD}"),
}
FORWARD_BUGS = {
    **SHARED,
    "loop one too short": [
        ("int p = 1; p < RADIX", "int p = 1; p + 1 < RADIX"),
        ("frame < FRAMES; frame += ROWS", "frame + 1 < FRAMES; frame += ROWS"),
        ("i < FRAMES * N; i += THREADS", "i < FRAMES * N - 1; i += THREADS"),
    ],
    "loop one too far": [
        ("item < GROUPS; item += ROW", "item <= GROUPS; item += ROW"),
        ("frame < FRAMES; frame += ROWS", "frame <= FRAMES; frame += ROWS"),
        ("i < FRAMES * N; i += THREADS", "i <= FRAMES * N; i += THREADS"),
    ],
    "layout of the output swapped": (
        f"{STORE} = points[i]",
        f"{STORE} = points[i % FRAMES * N + i / FRAMES]",
    ),
    "output written by half": (f"{STORE} =", f"if (i % 2) {STORE} ="),
    "one place written by all threadgroups": (STORE, "((device float2*)y)[i % N]"),
    "guard missing": [
        ("frame < batch ? read", "true ? read"),
        ("if (frame < batch)", "if (true)"),
    ],
}
BACKWARD_BUGS = {
    **SHARED,
    "sum not set at the start": [
        ("first_sums[i] = float2(0.0f);", ";"),
        ("add ? *target + sums[k * SIZE + i]", "true ? *target + sums[k * SIZE + i]"),
    ],
    "loop one too short": ("int q = 1; q < RADIX", "int q = 1; q + 1 < RADIX"),
    "loop one too far": [
        ("item < GROUPS; item += THREADS", "item <= GROUPS; item += THREADS"),
        ("frame = 0; frame < FRAMES", "frame = 0; frame <= FRAMES"),
        ("i < ROUND; i += THREADS", "i <= ROUND; i += THREADS"),
    ],
    "layout of the output swapped": (
        "kept[frame * N + i * GROUPS + item] = values[i]",
        "kept[frame * N + item * (A * B) + i] = values[i]",
    ),
    "output written by half": (
        "write_point(x_gradient,",
        "if (i % 2) write_point(x_gradient,",
    ),
    "one place written by all threadgroups": [
        ("(device float2*)partial + own_group * TOTAL", "(device float2*)partial"),
        ("(device float2*)kept + own_group * (STEPS * ROUND)", "(device float2*)kept"),
    ],
    "guard missing": [
        ("frame < batch ? read", "true ? read"),
        ("points[i] = frame < batch", "points[i] = true"),
        ("if (frame < batch)", "if (true)"),
    ],
    "bfloat made by itself": ("static_cast<bfloat16_t>(value.x)", "value.x"),
}
KERNELS = {
    "butterfly": (FORWARD, FORWARD_BUGS, ABSENT_FORWARD),
    "butterfly_backward": (BACKWARD, BACKWARD_BUGS, ABSENT),
}


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def check(kernel: str, butterfly_case: Callable) -> Callable[[KernelText], None]:
    """What the other tests do, on small cases, in one schedule each."""
    cases = [butterfly_case(*case) for case in CASES]

    def forward(text: KernelText) -> None:
        for case in cases:
            case.check_forward(text, seed=1)

    def backward(text: KernelText) -> None:
        for case in cases:
            # One threadgroup with two rounds, and two with one.
            case.check_backward(text, groups=1, seed=1)
            case.check_backward(text, groups=2, seed=1)

    return forward if kernel == "butterfly" else backward


def test_the_kernel_itself_passes(kernel: str, check: Callable) -> None:
    check(KERNELS[kernel][0])


def test_every_planted_bug_is_noticed(
    kernel: str, check: Callable, butterfly_case: Callable, missed_bugs: Callable
) -> None:
    text, by_hand, absent = KERNELS[kernel]

    def check_all(changed: KernelText) -> None:
        check(changed)
        # What runs all the same may be nothing that Metal takes.
        butterfly_case(*CASES[-2]).check_text(changed)

    assert gaps(text, by_hand, absent) == []
    assert missed_bugs(text, by_hand, check_all) == []


def test_mutants_of_barriers_and_some_others_are_noticed(
    kernel: str, check: Callable, unexplained: Callable
) -> None:
    alive = survivors(judge(mutants(KERNELS[kernel][0], seed=1, others=10), check))
    assert unexplained(alive) == []


@pytest.mark.slow
def test_mutants_are_noticed(
    kernel: str, check: Callable, unexplained: Callable
) -> None:
    verdicts = judge(mutants(KERNELS[kernel][0], seed=0, others=200), check)
    assert score(verdicts) >= 0.95
    alive = survivors(verdicts)
    assert unexplained(alive) == []
    assert not [mutant for mutant in alive if mutant.kind == "barrier"]
