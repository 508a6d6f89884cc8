"""Do the kernels compute what they should, here? And how quickly, beside MLX's ways?

On a Mac every case runs on its GPU, cases with rivals are timed. Elsewhere the small
cases run on the emulator with all its checks, their text is compared with the one that
the installed MLX builds, and, where a clang is there, type-checked: that finds faults,
but it is no proof that Apple's compiler takes a kernel, and says nothing of speed.

``mlx-speech verify-kernels`` shows the report; so does
``python -m mlx_speech.metal_kernels.verify``.
"""

from __future__ import annotations

import math
import platform
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

import mlx.core as mx

from mlx_speech import __version__, backend
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import (
    butterfly_cases,
    emulate,
    fused_qkv_cases,
    log_mel_cases,
)
from mlx_speech.metal_kernels.cases import KernelCase
from mlx_speech.metal_kernels.emulate.compilers import compiler
from mlx_speech.metal_kernels.emulate.oracle import mlx_text
from mlx_speech.metal_kernels.emulate.typecheck import clang
from mlx_speech.metal_kernels.select import relative_error

# What the command ends with; README.md of this folder says the same.
VERIFIED, FAILED, EMULATED, NOTHING_RAN = 0, 1, 3, 4

REPEATS = 30
_WARM_UPS = 3
Place = Literal["metal", "emulator", "nowhere"]
OnCase = Callable[[int, int, KernelCase], None]


@dataclass(frozen=True)
class CaseReport:
    """What one case gave.

    Attributes:
        kernel, variant, sizes, part, tolerance: of the case.
        error: ``select.relative_error``; None when the kernel did not run.
        problem: what is wrong, "" if nothing is.
        first_call_ms: of the first call, with the compilation of the kernel; None on
            the emulator.
        median_ms: of ``REPEATS`` calls, by way: "kernel" and the case's rivals.
    """

    kernel: str
    variant: str
    sizes: str
    part: str
    tolerance: float
    error: float | None
    problem: str
    first_call_ms: float | None = None
    median_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class VerificationReport:
    """What was verified, where, and what could not be.

    Attributes:
        place: where the kernels ran: "metal", "emulator", "nowhere".
        device: facts of the machine.
        checked: in words, what was checked.
        not_checked: in words, what could not be checked here.
        cases: one report for each case that ran.
    """

    place: Place
    device: dict[str, str]
    checked: list[str]
    not_checked: list[str]
    cases: list[CaseReport]

    @property
    def problems(self) -> list[CaseReport]:
        """The cases that something is wrong with."""
        return [case for case in self.cases if case.problem]

    @property
    def exit_code(self) -> int:
        """0 verified on Metal, 1 a problem, 3 emulation passed, 4 nothing could run."""
        if self.problems:
            return FAILED
        return {"metal": VERIFIED, "emulator": EMULATED, "nowhere": NOTHING_RAN}[
            self.place
        ]


def verify(
    cases: Sequence[KernelCase] | None = None,
    *,
    timed: bool = True,
    on_case: OnCase | None = None,
) -> VerificationReport:
    """Run cases where it is possible.

    Args:
        cases: all of ``all_cases`` by default.
        timed: whether cases with rivals are timed, on Metal.
        on_case: told (number of cases done, of all, the next case).
    """
    cases = list(all_cases()) if cases is None else list(cases)
    if backend.on_metal():
        return _verify_on_metal(cases, timed, on_case)
    return _verify_by_emulation([c for c in cases if not c.rivals], on_case)


def all_cases() -> Iterator[KernelCase]:
    """The cases of all kernels."""
    for module in (butterfly_cases, log_mel_cases, fused_qkv_cases):
        yield from module.verification_cases()


def device_facts() -> dict[str, str]:
    """The machine and the versions, in words."""
    facts = {
        "device": backend.device_name(),
        "system": f"{platform.system()} {platform.mac_ver()[0] or platform.release()}",
        "machine": platform.machine(),
        "mlx": version("mlx"),
        "mlx-speech": __version__,
        "python": platform.python_version(),
    }
    if backend.on_metal():
        for name, value in mx.device_info().items():
            facts[str(name)] = str(value)
    return facts


def _verify_on_metal(
    cases: Sequence[KernelCase], timed: bool, on_case: OnCase | None
) -> VerificationReport:
    reports = []
    for case in _told(cases, on_case):
        start = time.perf_counter()
        try:
            found = list(case.found())
            mx.eval(found)
        except (RuntimeError, ValueError) as error:
            reports.append(_report(case, None, f"it does not run: {error}"))
            continue
        first = (time.perf_counter() - start) * 1e3
        medians = _medians(case) if timed and case.rivals else {}
        reports.append(_compared(case, found, first, medians))
    checked = ["values and gradients on this GPU"]
    not_checked = []
    if not timed:
        not_checked.append("speed: not asked for")
    elif not any(case.rivals for case in cases):
        not_checked.append("speed: no case is timed")
    else:
        checked.append(f"times, medians of {REPEATS} calls")
    return VerificationReport("metal", device_facts(), checked, not_checked, reports)


def _medians(case: KernelCase) -> dict[str, float]:
    ways = {"kernel": case.found, **case.rivals}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(_WARM_UPS + REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            mx.eval(way())
            if repeat >= _WARM_UPS:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) * 1e3 for name, times in seconds.items()}


def _verify_by_emulation(
    cases: Sequence[KernelCase], on_case: OnCase | None
) -> VerificationReport:
    not_checked = [
        "whether Apple's compiler takes the kernels: that needs a Mac",
        "speed: that needs a Mac",
    ]
    try:
        compiler()
    except SpeechError as error:
        not_checked.insert(0, f"values and gradients: {error}")
        return VerificationReport("nowhere", device_facts(), [], not_checked, [])
    checked = ["values and gradients on the emulator, with its checks of memory"]
    typed = True
    try:
        clang()
        checked.append("address spaces and types, by clang")
    except SpeechError as error:
        typed = False
        not_checked.append(f"address spaces and types: {error}")
    checked.append("the text that the installed MLX builds of a kernel")
    reports, seen = [], set[str]()
    for case in _told(cases, on_case):
        try:
            with emulate.dropin(seed=1) as launches:
                found = list(case.found())
                mx.eval(found)
            for launch in launches.done:
                if launch.generated.text not in seen:
                    _check_text(launch, typed)
                    seen.add(launch.generated.text)
        except (emulate.KernelFault, RuntimeError, ValueError) as error:
            reports.append(_report(case, None, str(error)))
        else:
            reports.append(_compared(case, found, None, {}))
    return VerificationReport("emulator", device_facts(), checked, not_checked, reports)


def _check_text(launch: emulate.Launch, typed: bool) -> None:
    """Refuse a text that is not MLX's own, or that a compiler would not take.

    Raises:
        KernelFault: what clang or the lint find.
        ValueError: MLX builds another text.
    """
    generated, results = launch.generated, launch.results
    text = mlx_text(
        generated.kernel,
        [(shape, getattr(mx, name)) for shape, name in launch.signature],
        [shape for shape, _ in results],
        [getattr(mx, name) for _, name in results],
        generated.template,
    )
    if text != generated.text:
        raise ValueError("the installed MLX builds another text than the emulator ran")
    if typed:
        emulate.check_text(generated, compile_too=False)


def _told(cases: Sequence[KernelCase], on_case: OnCase | None) -> Iterator[KernelCase]:
    for done, case in enumerate(cases):
        if on_case:
            on_case(done, len(cases), case)
        yield case


def _compared(
    case: KernelCase,
    found: Sequence[mx.array],
    first_call_ms: float | None,
    median_ms: dict[str, float],
) -> CaseReport:
    expected = list(case.expected())
    if [a.shape for a in found] != [a.shape for a in expected]:
        return _report(case, None, "the shapes of the results differ")
    error = relative_error(found, expected)
    problem = ""
    if not error <= case.tolerance:  # so that NaN is a problem too
        problem = f"the error {error:.1e} is larger than {case.tolerance:.1e}"
    return _report(case, error, problem, first_call_ms, median_ms)


def _report(
    case: KernelCase,
    error: float | None,
    problem: str,
    first_call_ms: float | None = None,
    median_ms: dict[str, float] | None = None,
) -> CaseReport:
    return CaseReport(
        case.kernel,
        case.variant,
        case.sizes,
        case.part,
        case.tolerance,
        error if error is None or math.isfinite(error) else None,
        problem,
        first_call_ms,
        median_ms or {},
    )


if __name__ == "__main__":
    # Only the command line prints, and it lies on a higher floor.
    sys.argv[1:1] = ["verify-kernels"]
    runpy.run_module("mlx_speech", run_name="__main__")
