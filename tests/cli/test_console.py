"""What is drawn on a terminal stays readable at 80 columns."""

from __future__ import annotations

import io
import re

import pytest

from mlx_speech.cli.console import Bar, as_clock
from mlx_speech.cli.training_screen import TrainingScreen
from mlx_speech.training.task import StepReport

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.6, "1:00"), (245, "4:05"), (3600, "1:00:00"), (3723, "1:02:03")],
)
def test_a_time_is_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert as_clock(seconds) == shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called inside of a test: pytest sets standard error anew after its fixtures."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def drawn(terminal: Terminal) -> str:
    return CONTROL.sub("", terminal.getvalue())


def test_a_training_step_shows_everything_and_cuts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = open_terminal(monkeypatch)
    names = (
        "loss_discriminator",
        "loss_discriminator_real",
        "loss_discriminator_fake",
        "grad_norm_discriminators",
        "loss_mel",
        "loss_stft",
        "loss_adversarial",
        "loss_feature",
        "loss_kl",
        "loss_duration",
        "loss_generator",
        "grad_norm_generator",
    )
    screen = TrainingScreen()
    screen.on_start(0, 3000)
    report = StepReport(
        step=1234,
        total_steps=3000,
        epoch=7,
        metrics={name: 10 + 1.25 * place for place, name in enumerate(names)},
        learning_rates={},
        seconds=0.5,
        steps_per_second=1.87,
        seconds_left=944.0,
        peak_memory_bytes=3 * 2**30,
    )
    screen.on_step(report)
    screen.close()
    text = drawn(terminal)
    assert "…" not in text
    words = " ".join(text.split())
    for part in ("1234/3000", "1.87 steps/s", "3.0 GiB", "15:44", "mel=15", "kl=20"):
        assert part in words
    for part in ("generator=22.5", "|G|=23.8", "discriminator=10", "|D|=13.8"):
        assert part in words
    assert all(len(line) <= 80 for line in re.split(r"[\r\n]", text))


def test_nothing_is_drawn_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Bar("training") as bar:
        bar.update(1, 2, "fast", "mel=3")
    assert not bar.drawn
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_lines_appear_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Bar("training") as bar:
        bar.update(1, 2)
        bar.print("step 1: [validation]")
    assert "step 1: [validation]\n" in drawn(terminal).replace("\r", "")


@pytest.mark.parametrize("title", ["a[/b].wav", "[red]x", "two\nlines\x1b[31m"])
def test_a_name_is_no_markup_and_breaks_no_line(
    monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    terminal = open_terminal(monkeypatch)
    with Bar(title) as bar:
        bar.update(1, 2)
    assert ascii(title)[1:-1] in drawn(terminal)
