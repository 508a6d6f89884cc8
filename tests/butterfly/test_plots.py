"""Pictures: written whole, of what was given; what cannot be drawn is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_speech.butterfly import ButterflyFFT
from mlx_speech.butterfly.cost import FrameCost
from mlx_speech.butterfly.plots import (
    save_routing_plot,
    save_training_plot,
    save_twiddle_plot,
)
from mlx_speech.butterfly.routing_report import NOISE, SPEECH, Evaluation, RoutingRow
from mlx_speech.errors import SpeechError

COST = FrameCost(16, 100, 0, 10, 10)


def row(what: str, baseline: bool, error: float) -> RoutingRow:
    errors = dict.fromkeys((SPEECH, NOISE), Evaluation(error, error, error))
    return RoutingRow(what, baseline, None, None, COST, None, errors)


def test_pictures_hold_what_was_given(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    routing, steps = tmp_path / "routing.svg", tmp_path / "steps.svg"
    save_routing_plot(routing, [row("exact", True, 0.0), row("pruned", False, 2.0)])
    save_training_plot(steps, {"seed 0": [(0, 1.4), (25, 0.3), (50, 1e-6)]})
    circle = tmp_path / "circle.png"
    save_twiddle_plot(circle, ButterflyFFT(60, radices=(3, 4, 5)))
    assert circle.read_bytes()[:4] == b"\x89PNG"
    # matplotlib draws letters as paths, and leaves the text in comments.
    for path, texts in (
        (routing, ("exact", "pruned", "speech, held out", "white noise, held out")),
        (steps, ("seed 0", "steps")),
    ):
        drawn = path.read_text()
        for text in texts:
            assert f"<!-- {text} -->" in drawn


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(SpeechError, match="no steps to draw"):
        save_training_plot(tmp_path / "x.png", {"rank 1": []})
    with pytest.raises(SpeechError, match="no report"):
        save_routing_plot(tmp_path / "x.png", [])
    with pytest.raises(SpeechError, match="no picture format"):
        save_twiddle_plot(tmp_path / "x.gif", ButterflyFFT(8))
    with pytest.raises(SpeechError):
        save_twiddle_plot(tmp_path / "x.png", ButterflyFFT(8, init="haar"))
    assert not list(tmp_path.iterdir())
