"""What a model gives the trainer, and what the trainer tells whoever watches.

The loop in ``mlx_speech.training.loop`` knows no model: a model's ``train.py`` hands
it a :class:`TrainingTask`, the command line hands it an :class:`Observer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import Optimizer

from mlx_speech.training.ema import ExponentialMovingAverage


class TrainingTask(Protocol):
    """One model with its data, losses and optimisers.

    Everything that changes during training lives in ``networks``, ``optimizers`` and
    ``averages``: they are all that a checkpoint holds, so a task that kept any other
    state could not resume exactly.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Saved and restored by name, for example "generator"."""

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """Their full state is saved and restored; handed over initialised
        (``optimizer.init(parameters)``, which ``GroupedAdamW`` does by itself).
        """

    @property
    def averages(self) -> Mapping[str, ExponentialMovingAverage]:
        """Moving averages of networks; may be empty."""

    def start_epoch(self, epoch: int) -> None:
        """Set what depends on the epoch (0, 1, ...), such as learning rates.

        Called before the first step of an epoch and again when a run resumes inside
        one, so it must set values, never multiply the present ones.
        """

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The item indices of each batch; a function of (seed, epoch) only."""

    def load_batch(self, indices: Sequence[int]) -> Any:
        """Read one batch by NumPy and files; in another thread, while MLX computes."""

    def step(self, batch: Any, key: mx.array, step: int) -> dict[str, mx.array]:
        """Take step number ``step`` (1, 2, ...), lazily.

        Updates networks, optimisers and averages without evaluating anything. All
        randomness comes from ``key`` or from MLX's global generator (dropout), which
        the loop seeds for each step.

        Returns:
            Scalars by name. Those with ``loss`` in their name are watched for
            explosion, all of them for NaN and infinity.
        """

    def validate(self, step: int) -> dict[str, float]:
        """Score held-out data; changes nothing."""

    def write_samples(self, folder: Path, step: int) -> None:
        """Write audio and pictures into an empty folder."""

    def export(self, folder: Path) -> None:
        """Write the usable model into an empty folder."""


@dataclass(frozen=True)
class StepReport:
    """One finished step.

    Attributes:
        step: number of the step, from 1.
        total_steps: the step at which the run ends, as far as is known now.
        epoch: from 0.
        metrics: the scalars that ``TrainingTask.step`` returned.
        learning_rates: by "optimizer" or "optimizer.group".
        seconds: wall time of this step.
        steps_per_second: over the last steps.
        seconds_left: estimate until ``total_steps``.
        peak_memory_bytes: most that MLX's allocator has held.
    """

    step: int
    total_steps: int
    epoch: int
    metrics: Mapping[str, float]
    learning_rates: Mapping[str, float]
    seconds: float
    steps_per_second: float
    seconds_left: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class ValidationReport:
    """One validation; ``improved`` when the best metric fell to a new low."""

    step: int
    epoch: int
    metrics: Mapping[str, float]
    improved: bool


@dataclass(frozen=True)
class Best:
    """The step with the lowest validation metric, and its value."""

    step: int
    value: float


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run leaves.

    Attributes:
        step, epoch: where it ended; ``epoch`` counts finished epochs.
        best: None when nothing was validated.
        checkpoint: the last checkpoint.
        model: the folder that ``TrainingTask.export`` filled.
    """

    step: int
    epoch: int
    best: Best | None
    checkpoint: Path
    model: Path


class Observer:
    """Hears what happens; each method does nothing unless it is overridden."""

    def on_start(self, step: int, total_steps: int) -> None:
        """Training begins after ``step`` finished steps (0 for a new run)."""

    def on_step(self, report: StepReport) -> None:
        """A step's values arrived (while the next step is being computed)."""

    def on_validation(self, report: ValidationReport) -> None:
        """Held-out data was scored."""

    def on_checkpoint(self, folder: Path, step: int, best: bool) -> None:
        """A checkpoint is complete on disk."""

    def on_note(self, text: str) -> None:
        """One line that a person should know; nothing is wrong."""

    def on_end(self, result: TrainingResult) -> None:
        """The run reached its last step."""
