"""The tests of the kernel notice planted bugs and mutants.

All barrier mutants and ten others run here; two hundred run by
``pytest -m slow tests/metal/log_mel/test_faults.py`` (minutes on one core).
Survivors are explained in metal_kernels/README.md.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlx_speech.metal_kernels.emulate.mutate import (
    judge,
    mutants,
    score,
    survivors,
)
from mlx_speech.metal_kernels.emulate.plant import WITHOUT_MATRICES, gaps
from mlx_speech.metal_kernels.log_mel_plan import TEXT
from mlx_speech.metal_kernels.text import KernelText

ABSENT = {
    **WITHOUT_MATRICES,
    "SIMD operation in a branch": "threads exchange through threadgroup memory only",
    "bfloat made by itself": "it writes float32 only",
}
LOAD, STORE = "points[target] =", "logs[frame * bands + band]"
BY_HAND = {
    "wrong stride": [
        ("k * stride) * SIZE", "k * stride) * (SIZE + 1)"),
        ("frame % per_row * HOP", "frame % per_row * (HOP + 1)"),
    ],
    "wrong index": [
        ("const int group = item / SPAN", "const int group = item / (SPAN + 1)"),
        ("window[2 * pair + 1]", "window[2 * pair]"),
        ("const int mirror = k == 0 ? 0 : N - k", "const int mirror = N - k"),
    ],
    "wrong order of elements": (LOAD, "points[i] ="),
    "wrong sign": ("float2(mirror.x, -mirror.y)", "mirror"),
    "shared memory loaded by half": (LOAD, f"if (i % 2) {LOAD}"),
    "loop one too short": [
        ("j < count", "j + 1 < count"),
        ("i < FRAMES * PAIRS", "i < FRAMES * PAIRS - 1"),
        ("i < FRAMES * bands", "i < FRAMES * bands - 1"),
    ],
    "loop one too far": [
        ("j < count", "j <= count"),
        ("i < FRAMES * PAIRS", "i <= FRAMES * PAIRS"),
        ("i < FRAMES * bands", "i <= FRAMES * bands"),
    ],
    "layout of the output swapped": (STORE, "logs[band * rows * per_row + frame]"),
    "output written by half": (f"{STORE} =", f"if (i % 2) {STORE} ="),
    "one place written by all threadgroups": (STORE, "logs[i]"),
}


def cases(small_case: Callable) -> list:
    """More than one SIMD group, odd numbers, every option, seven steps, the floor.

    What compiles fast comes first: most bugs go no further.
    """
    return [
        small_case(n_fft=128, hop_length=128, power=2, dtype=mx.float16, untied=True),
        small_case(n_fft=90, hop_length=3, power=2, log="log10", bands=12, floor=15.0),
        small_case(n_fft=192, hop_length=7, power=1, log="ln"),
        small_case(n_fft=4 * 3**6, hop_length=1, n_frames=1, bands=2),
    ]


@pytest.fixture(scope="module")
def check(small_case: Callable) -> Callable[[KernelText], None]:
    """What the other tests do, on small cases, in one schedule each."""
    chosen = cases(small_case)

    def all_cases(text: KernelText) -> None:
        for case in chosen:
            case.check(text, seed=1)

    return all_cases


def test_the_kernel_itself_passes(check: Callable) -> None:
    check(TEXT)


def test_every_planted_bug_is_noticed(
    check: Callable, small_case: Callable, missed_bugs: Callable
) -> None:
    def check_all(changed: KernelText) -> None:
        check(changed)
        # What runs all the same may be nothing that Metal takes.
        cases(small_case)[-2].check_text(changed)

    assert gaps(TEXT, BY_HAND, ABSENT) == []
    assert missed_bugs(TEXT, BY_HAND, check_all) == []


def test_mutants_of_barriers_and_some_others_are_noticed(
    check: Callable, unexplained: Callable
) -> None:
    alive = survivors(judge(mutants(TEXT, seed=1, others=10), check))
    assert unexplained(alive) == []


@pytest.mark.slow
def test_mutants_are_noticed(check: Callable, unexplained: Callable) -> None:
    verdicts = judge(mutants(TEXT, seed=0, others=200), check)
    assert score(verdicts) >= 0.95
    alive = survivors(verdicts)
    assert unexplained(alive) == []
    assert not [mutant for mutant in alive if mutant.kind == "barrier"]
