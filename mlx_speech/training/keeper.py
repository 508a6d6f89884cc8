"""What a run does between two steps: validate, write samples, checkpoint, export.

Holds the run's counters, so that a checkpoint always matches the steps that were
taken, and is the only place that writes into the run's folder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_folder
from mlx_speech.training import checkpoint as checkpoints
from mlx_speech.training.checkpoint import RunState, folder_name
from mlx_speech.training.divergence import DivergenceWatch, first_non_finite
from mlx_speech.training.environment import describe_environment, differences
from mlx_speech.training.report import MetricsLog, plot_losses
from mlx_speech.training.runfolder import (
    RunFolder,
    remove_left_overs,
    require_checkpoint,
)
from mlx_speech.training.settings import LoopSettings
from mlx_speech.training.task import Best, Observer, TrainingTask, ValidationReport


class TrainingDiverged(SpeechError):
    """NaN, infinity or an exploding loss; the last checkpoint is good."""


class RunKeeper:
    """The counters and the folder of one run.

    Args:
        task: the model that is trained.
        settings: the intervals.
        folder: of the run; restored from, or refused if it is in use.
        observer: hears of validations, checkpoints and notes.
        record: kept in checkpoints, see ``run_training``.
        resume: go on from the newest complete checkpoint.

    Attributes:
        state: the counters after the last queued step.
        first_step: finished steps when this process began.
        log: metrics.jsonl.
        watch: looks for divergence.
    """

    def __init__(
        self,
        task: TrainingTask,
        settings: LoopSettings,
        folder: RunFolder,
        observer: Observer,
        record: dict[str, Any],
        resume: bool,
    ) -> None:
        self.task = task
        self.settings = settings
        self.folder = folder
        self.observer = observer
        self.state = RunState(
            step=0,
            epoch=0,
            position=0,
            seed=settings.seed,
            batches_digest="",
            environment=describe_environment(),
            record=record,
        )
        self._saved: Path | None = None
        self._said: set[str] = set()
        remove_left_overs(folder)
        if resume:
            self._restore(require_checkpoint(folder))
        elif folder.metrics.exists() or folder.checkpoints.exists():
            raise SpeechError(
                f"the run folder `{folder.root}` already holds a run",
                "resume it, overwrite it, or choose another folder",
            )
        self.watch = DivergenceWatch(
            settings.divergence_factor,
            settings.divergence_patience,
            self.state.divergence,
        )
        self.log = MetricsLog(folder.metrics, self.state.step if resume else None)
        self.first_step = self.state.step
        self._validated_step = self._sampled_step = self.state.step
        self._saved_at = time.monotonic()

    def _restore(self, path: Path) -> None:
        now = self.state
        then = checkpoints.read_state(path)
        if then.seed != now.seed:
            raise SpeechError(
                f"the run was started with seed {then.seed}, not {now.seed}",
                f"resume with seed {then.seed}",
            )
        checkpoints.load_checkpoint(path, self.task)
        for text in differences(
            {**then.environment, **then.record}, {**now.environment, **now.record}
        ):
            self.observer.on_note(f"results may differ after this resume: {text}")
        best = then.best
        if best is not None and best.step not in self._steps_on_disk():
            self.observer.on_note(f"the best checkpoint, step {best.step}, is gone")
            best = None
        self.state = replace(
            then, best=best, environment=now.environment, record=now.record
        )
        self._saved = path

    def _steps_on_disk(self) -> set[int]:
        complete = checkpoints.complete_checkpoints(self.folder.checkpoints)
        return {int(path.name) for path in complete}

    def something_is_due(self) -> bool:
        """True when the present step has more to do than to be taken."""
        return (
            self._due(self.settings.validate_every)
            or self._due(self.settings.sample_every)
            or self._checkpoint_is_due()
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

    def _checkpoint_is_due(self) -> bool:
        minutes = self.settings.checkpoint_minutes
        old = minutes > 0 and time.monotonic() - self._saved_at > minutes * 60
        return old or self._due(self.settings.checkpoint_every)

    def do_what_is_due(self) -> None:
        """Validation, samples and checkpoint of this step; its values were read."""
        improved = self._due(self.settings.validate_every) and self._validate()
        if self._due(self.settings.sample_every):
            self._write_samples()
        if improved or self._checkpoint_is_due():
            self.save()

    def _validate(self) -> bool:
        self._require_finite_state()
        step = self._validated_step = self.state.step
        scores = self.task.validate(step)
        for name, value in scores.items():
            if not math.isfinite(value):
                self.observer.on_note(f"validation at step {step}: {name} is {value}")
        # JSON has no NaN, and a score that failed is not the best one.
        scores = {name: v for name, v in scores.items() if math.isfinite(v)}
        improved = self._improves(scores)
        self.log.write(
            "validation", step, {"epoch": self.state.epoch, "metrics": scores}
        )
        self.observer.on_validation(
            ValidationReport(step, self.state.epoch, scores, improved)
        )
        self._plot()
        return improved

    def _improves(self, scores: Mapping[str, float]) -> bool:
        name = self.settings.best_metric
        if name is None:
            return False
        if name not in scores:
            self.say_once(
                f"`{name}` is not among the validation scores {sorted(scores)}, so no "
                "checkpoint is marked as the best"
            )
            return False
        best = self.state.best
        if best is not None and scores[name] >= best.value:
            return False
        self.state = replace(self.state, best=Best(self.state.step, scores[name]))
        return True

    def _plot(self) -> None:
        if not plot_losses(self.folder.metrics, self.folder.plots / "loss.png"):
            self.say_once(
                "no loss curves: matplotlib is not installed; "
                "`pip install matplotlib` draws them"
            )

    def _write_samples(self) -> None:
        step = self._sampled_step = self.state.step
        with replacing_folder(self.folder.samples / folder_name(step)) as temporary:
            self.task.write_samples(temporary, step)

    def save(self) -> Path:
        """Write a checkpoint of the present step, unless it is there already.

        Raises:
            TrainingDiverged: something in it is not finite; nothing is written.
        """
        target = self.folder.checkpoints / folder_name(self.state.step)
        if target != self._saved:
            self._require_finite_state()
            self.state = replace(self.state, divergence=self.watch.state)
            checkpoints.save_checkpoint(self.folder.checkpoints, self.task, self.state)
            self._saved = target
            best = self.state.best.step if self.state.best else None
            checkpoints.prune_checkpoints(
                self.folder.checkpoints, self.settings.keep, best
            )
            self.observer.on_checkpoint(
                target, self.state.step, best == self.state.step
            )
        self._saved_at = time.monotonic()
        return target

    def finish(self) -> Path:
        """Do what the last step still lacks, export; the last checkpoint."""
        step = self.state.step
        if step == self.first_step:
            self.say_once(f"the run had already reached its last step, {step}")
        if self.settings.validate_every and self._validated_step < step:
            self._validate()
        if self.settings.sample_every and self._sampled_step < step:
            self._write_samples()
        last = self.save()
        best = self.state.best
        if self.settings.export == "best" and best is not None and best.step != step:
            checkpoints.load_checkpoint(
                self.folder.checkpoints / folder_name(best.step), self.task
            )
        self.export()
        self._plot()
        return last

    def export(self) -> None:
        """Fill the run's ``model/`` from the task's present weights."""
        with replacing_folder(self.folder.model) as temporary:
            self.task.export(temporary)

    def say_once(self, text: str) -> None:
        """A note, unless it was given before."""
        if text not in self._said:
            self._said.add(text)
            self.observer.on_note(text)

    def _require_finite_state(self) -> None:
        name = first_non_finite(checkpoints.all_arrays(self.task))
        if name:
            self.diverged(self.state.step, f"`{name}` holds NaN or infinity")

    def diverged(self, step: int, problem: str) -> NoReturn:
        """Stop the run.

        Raises:
            TrainingDiverged: always.
        """
        last = f"the last good checkpoint is `{self._saved}`" if self._saved else ""
        raise TrainingDiverged(
            f"training stopped at step {step}: {problem}",
            f"{last or 'no checkpoint was written yet'}; try a lower learning rate",
        )
