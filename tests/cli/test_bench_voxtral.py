"""`mlx-speech bench voxtral`: what is printed, and what is called extrapolated."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mlx_speech.bench import voxtral
from mlx_speech.bench.voxtral import Stage, VoxtralCase, VoxtralTiming

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(
        case: VoxtralCase, repeats: int, on_progress: Callable[[int, int], None]
    ) -> VoxtralTiming:
        on_progress(1, 1)
        stages = [Stage("encode 30 s", 32, 0.5, 0.75, 8.25)]
        return VoxtralTiming(
            case.size, case.bits, case.depths, "wall", stages, [2], 33.0
        )

    monkeypatch.setattr(voxtral, "measure", measure)


def test_what_is_extrapolated_is_called_so(command: Run) -> None:
    code, out, err = command("bench", "voxtral", "--size", "mini")
    assert code == 0
    assert "whole model, extrapolated" in " ".join(out.split())
    assert "500.0" in out and "750.0" in out and "8250.0" in out
    assert (
        "extrapolated for 33 s of speech (2 x encode 30 s): 16.50 s, 2.00x real time"
        in err
    )


def test_figures_come_as_json(command: Run) -> None:
    arguments = ["--size", "realtime", "--bits", 8, "--layers", 1, 3, "--json"]
    code, out, _ = command("bench", "voxtral", *arguments)
    result = json.loads(out)
    assert code == 0 and result["extrapolated_x_real_time"] == 2.0
    assert (result["size"], result["bits"], result["depths"]) == ("realtime", 8, [1, 3])


def test_impossible_cases_are_one_line(command: Run) -> None:
    code, out, err = command("bench", "voxtral", "--bits", 5)
    assert (code, out) == (1, "") and "weights of 5 bits" in err
