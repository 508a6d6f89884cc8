"""What a training shows: one header, a bar with the losses, lines at milestones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_speech.cli.console import Bar, as_clock, counting, print_note
from mlx_speech.training.task import (
    Observer,
    StepReport,
    TrainingResult,
    ValidationReport,
)

# A line of losses every so many steps where there is no terminal to draw a bar on.
PLAIN_STEPS = 50


class TrainingScreen(Observer):
    """Draws on standard error; nothing at all when ``quiet``.

    Args:
        quiet: draw nothing.
        on_begin: called when the run is ready to take its first step, resumed or new.
    """

    def __init__(
        self, quiet: bool = False, on_begin: Callable[[], None] = lambda: None
    ) -> None:
        self.quiet = quiet
        self.on_begin = on_begin
        self.bar: Bar | None = None

    @contextmanager
    def features(self) -> Iterator[Callable[[int, int], None]]:
        """A bar over the reading of the recordings."""
        if self.quiet:
            yield lambda done, total: None
            return
        with counting("reading recordings") as advance:
            yield advance

    def describe(self, line: str) -> None:
        """One header line about data, model and device."""
        self._say(line)

    def on_start(self, step: int, total_steps: int) -> None:
        self.on_begin()
        if step:
            self._say(f"resuming after step {step}")
        self.bar = Bar("training", quiet=self.quiet)
        self.bar.__enter__()
        self.bar.update(step, total_steps)

    def on_step(self, report: StepReport) -> None:
        # The generator's first: they tell how the voice will sound.
        ordered = sorted(report.metrics.items(), key=lambda item: "discr" in item[0])
        losses = [
            f"{name.removeprefix('loss_')}={value:.3g}"
            for name, value in ordered
            if name.startswith("loss_")
        ]
        norms = [
            f"|{name.removeprefix('grad_norm_')[0].upper()}|={value:.3g}"
            for name, value in ordered
            if name.startswith("grad_norm_")
        ]
        details = "  ".join(losses + norms)
        text = (
            f"{as_clock(report.seconds_left)} left  "
            f"{report.steps_per_second:.2f} steps/s  "
            f"{report.peak_memory_bytes / 2**30:.1f} GiB"
        )
        if self.bar is not None:
            self.bar.update(report.step, report.total_steps, text, details)
            if not self.bar.drawn and report.step % PLAIN_STEPS == 0:
                self._say(f"step {report.step}/{report.total_steps}  {text}  {details}")

    def on_validation(self, report: ValidationReport) -> None:
        scores = "  ".join(
            f"{name} {value:.3f}" for name, value in report.metrics.items()
        )
        best = "  (best so far)" if report.improved else ""
        self._say(f"step {report.step}: validation  {scores}{best}")

    def on_checkpoint(self, folder: Path, step: int, best: bool) -> None:
        pass

    def on_note(self, text: str) -> None:
        self._say(f"note: {text}")

    def on_end(self, result: TrainingResult) -> None:
        self.close()
        self._say(f"finished after {result.step} steps")

    def close(self) -> None:
        """Take the bar down; also when the run ends early."""
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None

    def _say(self, text: str) -> None:
        if self.quiet:
            return
        if self.bar is not None and self.bar.drawn:
            self.bar.print(text)
        else:
            print_note(text)
