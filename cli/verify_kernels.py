"""``mlx-speech verify-kernels``: do the Metal kernels work here, and are they ahead?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.console import counting, print_note, print_rows

if TYPE_CHECKING:
    from mlx_speech.metal_kernels.cases import KernelCase
    from mlx_speech.metal_kernels.verify import CaseReport, VerificationReport

EXAMPLES = """
Exit codes: 0 all kernels verified on Metal; 1 a kernel is wrong or does not run; 3 no
Metal here, but all kernels passed on the emulator; 4 nothing could be run; 2 wrong
usage.

Example: `mlx-speech verify-kernels --json > kernels.json`
"""

_VERDICTS = {
    "metal": "verified on Metal",
    "emulator": "there is no Metal here; all kernels passed on the emulator",
    "nowhere": "nothing could be run here",
}


def verify_kernels(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one object, to be sent in.")
    ] = False,
    timing: Annotated[
        bool,
        typer.Option(help="Time real sizes against MLX's own ways (on Metal only)."),
    ] = True,
) -> None:
    """Compare every Metal kernel and its gradient with MLX's operations.

    On a Mac the kernels run on its GPU, and the sizes of real models are timed.
    Elsewhere they run on an emulator that finds faults, but times nothing and cannot
    say whether Apple's compiler takes them.
    """
    from mlx_speech.metal_kernels.verify import verify

    with counting("verifying") as advance:

        def on_case(done: int, total: int, case: KernelCase) -> None:
            advance(done, total)

        report = verify(timed=timing, on_case=on_case)
    if as_json:
        summary = {"exit_code": report.exit_code, **asdict(report)}
        print(json.dumps(summary, indent=2))
    else:
        _print_report(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _print_report(report: VerificationReport) -> None:
    print_rows(["device", ""], [[name, value] for name, value in report.device.items()])
    if report.cases:
        print()
        print_rows(
            ["", "kernel", "variant", "of", "cases", "worst error", "allowed"],
            [_summary(cases) for cases in _by_variant(report.cases)],
        )
    timed = [case for case in report.cases if case.median_ms]
    if timed:
        print()
        print_rows(
            ["kernel", "variant", "sizes", "first call", "median"], _times(timed)
        )
    print()
    for case in report.problems:
        print(f"{case.kernel} ({case.variant}), {case.part}, {case.sizes}:")
        print(f"    {case.problem}")
    for text in report.checked:
        print(f"checked: {text}")
    for text in report.not_checked:
        print(f"not checked: {text}")
    failed = len(report.problems)
    verdict = f"{failed} of {len(report.cases)} cases failed" if failed else ""
    print_note(verdict or _VERDICTS[report.place])


def _by_variant(cases: list[CaseReport]) -> list[list[CaseReport]]:
    groups: dict[tuple[str, str, str], list[CaseReport]] = {}
    for case in cases:
        groups.setdefault((case.kernel, case.variant, case.part), []).append(case)
    return list(groups.values())


def _summary(cases: list[CaseReport]) -> list[str]:
    first = cases[0]
    errors = [case.error for case in cases if case.error is not None]
    return [
        "!!" if any(case.problem for case in cases) else "ok",
        first.kernel,
        first.variant,
        first.part,
        str(len(cases)),
        f"{max(errors):.1e}" if errors else "-",
        f"{first.tolerance:.0e}",
    ]


def _times(cases: list[CaseReport]) -> list[list[str]]:
    rows = []
    for case in cases:
        first = "-" if case.first_call_ms is None else f"{case.first_call_ms:.0f} ms"
        medians = [f"{name} {ms:.3f} ms" for name, ms in case.median_ms.items()]
        rows.append([case.kernel, case.variant, case.sizes, first, ", ".join(medians)])
    return rows
