"""The table of the learned FFT: quick lines within their limits, and a missed one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mlx_speech.bench import butterfly, butterfly_speed
from mlx_speech.bench.butterfly import ButterflyFigure, figures, measure
from mlx_speech.butterfly import ButterflyFFT


def test_small_figures_are_met_and_beat_their_baselines() -> None:
    slow = {64, 480, 512, 960, 1024, 2048, 4096}
    jobs = [job for job in figures() if not slow & set(getattr(job, "args", ()))]
    found = list(measure(jobs))
    assert len(found) > 12
    for figure in found:
        assert figure.met, figure
        if figure.untrained is not None:
            assert figure.error < figure.untrained, figure


@pytest.mark.slow
def test_all_figures_are_met() -> None:
    for figure in measure(figures(full=True)):
        assert figure.met, figure


def test_mlx_and_the_butterfly_are_timed() -> None:
    for options in ({}, {"real": True}, {"real": True, "inverse": True}):
        own, native = butterfly_speed.transform_times(
            ButterflyFFT(16, **options), 10, 1
        )
        assert own > 0 and native > 0


def test_a_missed_limit_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlx_speech.cli import main as command_line

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["mlx-speech", "bench", "fft", *arguments])
        with pytest.raises(SystemExit) as exit_:
            command_line.main()
        return int(exit_.value.code or 0)

    def patch(error: float) -> None:
        figure = ButterflyFigure("exactness", "n 4", 1.4, error, 1e-6)
        job: Callable[[], ButterflyFigure] = lambda: figure  # noqa: E731
        monkeypatch.setattr(butterfly, "figures", lambda full: [job])

    patch(1e-7)
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["met"]
    patch(1e-3)
    assert run() == 1
    captured = capsys.readouterr()
    assert "exactness" in captured.out
    assert "1 of 1 figures are beyond their limit" in captured.err
