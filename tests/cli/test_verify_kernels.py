"""``verify-kernels``: what it says and ends with on Metal, emulated, without either."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import emulate, verify
from mlx_speech.metal_kernels.cases import KernelCase
from mlx_speech.metal_kernels.fused_qkv_cases import verification_cases

Run = Callable[..., tuple[int, str, str]]


def few_cases() -> list[KernelCase]:
    """One of values, one of gradients, one that is timed (made small)."""
    every = list(verification_cases())
    values = every[0]
    gradients = next(case for case in every if case.part == "gradients")
    timed = next(case for case in every if case.rivals)
    small = replace(
        timed,
        found=values.found,
        expected=values.expected,
        rivals=dict.fromkeys(timed.rivals, values.expected),
    )
    return [values, gradients, small]


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> list[KernelCase]:
    found = few_cases()
    monkeypatch.setattr(verify, "all_cases", lambda: iter(found))
    return found


@pytest.fixture(autouse=True)
def no_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Mac too, there is no Metal unless a test asks for it."""
    monkeypatch.setattr(verify.backend, "on_metal", lambda: False)


@pytest.fixture
def on_metal(no_metal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of Metal, the emulator does."""
    monkeypatch.setattr(verify.backend, "on_metal", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"device_name": "pretended"})
    monkeypatch.setattr(verify, "REPEATS", 3)


@pytest.mark.usefixtures("cases")
def test_without_metal_the_emulator_verifies(command: Run) -> None:
    code, out, err = command("verify-kernels")
    assert code == 3
    assert "passed on the emulator" in err
    assert "not checked: speed: that needs a Mac" in out
    assert "not checked: whether Apple's compiler takes the kernels" in out
    assert "checked: values and gradients on the emulator" in out
    rows = [line.split() for line in out.splitlines() if "fused_qkv_decode" in line]
    assert [row[0] for row in rows] == ["ok", "ok"]
    assert "median" not in out


@pytest.mark.usefixtures("cases", "on_metal")
def test_on_metal_cases_are_timed(command: Run) -> None:
    with emulate.dropin(check=False):
        code, out, err = command("verify-kernels")
    assert (code, err.strip()) == (0, "verified on Metal")
    assert "pretended" in out
    assert "mx.addmm" in out
    assert "MLX operations" in out
    assert "first call" in out


@pytest.mark.usefixtures("cases", "on_metal")
def test_the_json_holds_all_that_was_found(command: Run) -> None:
    with emulate.dropin(check=False):
        code, out, _ = command("verify-kernels", "--json")
        quick = json.loads(command("verify-kernels", "--json", "--no-timing")[1])
    found = json.loads(out)
    assert (code, found["exit_code"], found["place"]) == (0, 0, "metal")
    assert found["device"]["device_name"] == "pretended"
    assert found["device"]["mlx"]
    values, gradients, timed = found["cases"]
    assert gradients["part"] == "gradients"
    for case in (values, gradients, timed):
        assert case["problem"] == ""
        assert 0 <= case["error"] <= case["tolerance"]
        assert case["first_call_ms"] > 0
    assert values["median_ms"] == {}
    assert set(timed["median_ms"]) == {"kernel", "MLX operations", "mx.addmm"}
    assert all(ms > 0 for ms in timed["median_ms"].values())
    assert quick["cases"][2]["median_ms"] == {}
    assert "speed: not asked for" in quick["not_checked"]


def broken(text: Any) -> Any:
    return replace(text, source=text.source.replace("+= dot", "-= dot"))


def refused(text: Any) -> Any:
    return replace(text, source=text.source + "nonsense;\n")


@pytest.mark.usefixtures("cases", "on_metal")
def test_a_wrong_kernel_ends_with_one(command: Run) -> None:
    with emulate.dropin(check=False, rewrite=broken):
        code, out, err = command("verify-kernels")
    assert code == 1
    assert "3 of 3 cases failed" in err
    assert "!!" in out
    assert "is larger than 1.0e-06" in out


@pytest.mark.usefixtures("on_metal")
@pytest.mark.parametrize("error", [RuntimeError("no such function"), ValueError("big")])
def test_a_kernel_that_metal_refuses_ends_with_one(
    monkeypatch: pytest.MonkeyPatch,
    command: Run,
    error: Exception,
) -> None:
    def refuse() -> list[mx.array]:
        raise error

    case = replace(few_cases()[0], found=refuse)
    monkeypatch.setattr(verify, "all_cases", lambda: iter([case]))
    code, out, _ = command("verify-kernels")
    assert code == 1
    assert f"it does not run: {error}" in out


def test_a_fault_on_the_emulator_ends_with_one(
    monkeypatch: pytest.MonkeyPatch, command: Run, cases: list[KernelCase]
) -> None:
    real = emulate.dropin
    monkeypatch.setattr(
        verify,
        "emulate",
        SimpleNamespace(
            dropin=lambda seed: real(seed=seed, rewrite=refused),
            KernelFault=emulate.KernelFault,
        ),
    )
    code, out, err = command("verify-kernels")
    assert code == 1
    assert "3 of 3" not in err  # the timed one is not emulated
    assert "2 of 2 cases failed" in err
    assert "nonsense" in out


def test_nothing_to_compile_with_ends_with_four(
    monkeypatch: pytest.MonkeyPatch, command: Run
) -> None:
    def absent() -> None:
        raise SpeechError("there is no C++ compiler", "install g++")

    monkeypatch.setattr(verify, "compiler", absent)
    code, out, err = command("verify-kernels")
    assert code == 4
    assert "nothing could be run here" in err
    assert "not checked: values and gradients: there is no C++ compiler" in out


def test_without_a_clang_types_are_not_checked(
    monkeypatch: pytest.MonkeyPatch, command: Run, cases: list[KernelCase]
) -> None:
    def absent() -> None:
        raise SpeechError("no clang", "pip install ziglang")

    monkeypatch.setattr(verify, "clang", absent)
    code, out, _ = command("verify-kernels")
    assert code == 3
    assert "not checked: address spaces and types: no clang" in out
    assert "by clang" not in out


def test_a_text_that_mlx_would_not_build_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, command: Run, cases: list[KernelCase]
) -> None:
    monkeypatch.setattr(verify, "mlx_text", lambda *_: "another text")
    code, out, _ = command("verify-kernels")
    assert code == 1
    assert "builds another text" in out
