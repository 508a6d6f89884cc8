"""The training loop: steps, validation, checkpoints, resume; knows no model.

A step's values are read while the next step is being computed, so the host never
waits for the step it has just queued. Everything random in step i comes from
(seed, i), everything about the order of data from (seed, epoch): a resumed run equals
an uninterrupted one to the bit (float32, CPU, one BLAS thread).
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_folder
from mlx_speech.training import checkpoint as checkpoints
from mlx_speech.training.checkpoint import RunState, folder_name
from mlx_speech.training.divergence import DivergenceWatch, first_non_finite
from mlx_speech.training.environment import describe_environment, differences
from mlx_speech.training.interrupt import InterruptGuard, TrainingInterrupted
from mlx_speech.training.optim import learning_rates
from mlx_speech.training.prefetch import prefetched
from mlx_speech.training.report import MetricsLog, plot_losses
from mlx_speech.training.runfolder import RunFolder, require_checkpoint
from mlx_speech.training.settings import LoopSettings
from mlx_speech.training.task import (
    Best,
    Observer,
    StepReport,
    TrainingResult,
    TrainingTask,
    ValidationReport,
)

_SPEED_STEPS = 20
_LONG_RUN_SECONDS = 30 * 60


class TrainingDiverged(SpeechError):
    """NaN, infinity or an exploding loss; the last checkpoint is good."""


def run_training(
    task: TrainingTask,
    settings: LoopSettings,
    run_folder: str | Path,
    observer: Observer | None = None,
    resume: bool = False,
    record: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train ``task`` until ``settings`` say that it is done.

    Args:
        task: the model; changed in place.
        settings: lengths and intervals; ``max_steps`` counts resumed steps too.
        run_folder: filled as ``RunFolder`` describes.
        observer: hears what happens.
        resume: go on from the newest complete checkpoint in ``run_folder``.
        record: what results depend on besides versions and BLAS, for example the
            kernel choice; plain JSON values, kept in checkpoints. A difference to the
            checkpoint's is noted, not refused.

    Raises:
        SpeechError: the folder is in use (without ``resume``), has no checkpoint (with
            it), or cannot be written; the task has no batches.
        TrainingDiverged: see ``DivergenceWatch``.
        TrainingInterrupted: Ctrl-C or SIGTERM; a checkpoint was written first.
    """
    settings.require_end()
    run = _Run(
        task,
        settings,
        RunFolder(Path(run_folder)),
        observer or Observer(),
        dict(record or {}),
    )
    run.open(resume)
    return run.train()


@dataclass(frozen=True)
class _Queued:
    """A step that is being computed; its values are not read yet."""

    step: int
    epoch: int
    metrics: dict[str, mx.array]
    rates: dict[str, mx.array]


class _Run:
    """One call of ``run_training``: the counters and what is done at which step."""

    def __init__(
        self,
        task: TrainingTask,
        settings: LoopSettings,
        folder: RunFolder,
        observer: Observer,
        record: dict[str, Any],
    ) -> None:
        self.task = task
        self.settings = settings
        self.folder = folder
        self.observer = observer
        self.watch = DivergenceWatch(
            settings.divergence_factor, settings.divergence_patience
        )
        self.state = RunState(
            step=0,
            epoch=0,
            position=0,
            seed=settings.seed,
            batches_digest="",
            environment=describe_environment(),
            record=record,
        )
        self.first_step = 0
        self.total_steps = 0
        self.saved: Path | None = None
        self.saved_at = time.monotonic()
        self.validated_step = self.sampled_step = 0
        self.finish_times: deque[float] = deque(maxlen=_SPEED_STEPS + 1)
        self.said: set[str] = set()

    def open(self, resume: bool) -> None:
        """Restore, or make sure that nothing is overwritten."""
        checkpoints.remove_left_overs(self.folder.checkpoints)
        if resume:
            self._restore(require_checkpoint(self.folder))
        elif self.folder.metrics.exists() or self.folder.checkpoints.exists():
            raise SpeechError(
                f"the run folder `{self.folder.root}` already holds a run",
                "resume it, overwrite it, or choose another folder",
            )
        self.log = MetricsLog(self.folder.metrics, self.state.step if resume else None)

    def train(self) -> TrainingResult:
        waiting: _Queued | None = None
        with InterruptGuard() as guard, closing(self._batches_to_come()) as batches:
            for epoch, batch in batches:
                queued = self._queue(batch, epoch)
                if waiting is not None:
                    self._read(waiting)
                waiting = queued
                if guard.requested or self._something_is_due():
                    self._read(waiting)
                    waiting = None
                    self._do_what_is_due()
                    if guard.requested:
                        self._stop()
            if waiting is not None:
                self._read(waiting)
            return self._finish()

    def _restore(self, path: Path) -> None:
        now = self.state
        then = checkpoints.load_checkpoint(path, self.task)
        if then.seed != now.seed:
            raise SpeechError(
                f"the run was started with seed {then.seed}, not {now.seed}",
                f"resume with seed {then.seed}",
            )
        for text in differences(
            {**then.environment, **then.record}, {**now.environment, **now.record}
        ):
            self.observer.on_note(f"results may differ after this resume: {text}")
        self.state = replace(then, environment=now.environment, record=now.record)
        self.watch = DivergenceWatch(
            self.settings.divergence_factor,
            self.settings.divergence_patience,
            then.divergence,
        )
        self.first_step = self.validated_step = self.sampled_step = then.step
        self.saved = path

    def _batches_to_come(self) -> Iterator[tuple[int, Any]]:
        """(epoch, loaded batch) from the present position to the end of the run."""
        settings = self.settings
        while settings.max_epochs is None or self.state.epoch < settings.max_epochs:
            epoch = self.state.epoch
            self.task.start_epoch(epoch)
            rest = self._plan(epoch)[self.state.position :]
            if settings.max_steps is not None:
                rest = rest[: max(settings.max_steps - self.state.step, 0)]
            if not self.finish_times:
                self.observer.on_start(self.state.step, self.total_steps)
                self.finish_times.append(time.monotonic())
            with closing(prefetched(self.task.load_batch, rest)) as loaded:
                for batch in loaded:
                    yield epoch, batch
            if settings.max_steps is not None and self.state.step >= settings.max_steps:
                return
            self.state = replace(self.state, epoch=epoch + 1, position=0)

    def _plan(self, epoch: int) -> list[list[int]]:
        batches = [[int(i) for i in batch] for batch in self.task.batches(epoch)]
        if not batches:
            raise SpeechError(
                f"epoch {epoch} has no batches", "give more data or a smaller batch"
            )
        digest = hashlib.sha256(json.dumps(batches).encode()).hexdigest()[:16]
        position = self.state.position
        if position and digest != self.state.batches_digest:
            self.observer.on_note(
                "results may differ after this resume: the data or its order changed"
            )
        self.state = replace(self.state, batches_digest=digest)
        ends = []
        if self.settings.max_steps is not None:
            ends.append(self.settings.max_steps)
        if self.settings.max_epochs is not None:
            epochs = self.settings.max_epochs - epoch
            ends.append(self.state.step - position + len(batches) * epochs)
        self.total_steps = min(ends)
        return batches

    def _queue(self, batch: Any, epoch: int) -> _Queued:
        step = self.state.step + 1
        mx.random.seed(step_seed(self.settings.seed, step, "global"))
        key = mx.random.key(step_seed(self.settings.seed, step, "key"))
        metrics = self.task.step(batch, key, step)
        mx.async_eval(metrics, checkpoints.all_arrays(self.task))
        self.state = replace(self.state, step=step, position=self.state.position + 1)
        return _Queued(step, epoch, metrics, learning_rates(self.task.optimizers))

    def _read(self, queued: _Queued) -> None:
        metrics = {name: float(value.item()) for name, value in queued.metrics.items()}
        rates = {name: float(value.item()) for name, value in queued.rates.items()}
        problem = self.watch.check(metrics)
        if problem:
            self._diverged(queued.step, problem)
        times = self.finish_times
        times.append(time.monotonic())
        speed = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
        report = StepReport(
            step=queued.step,
            total_steps=self.total_steps,
            epoch=queued.epoch,
            metrics=metrics,
            learning_rates=rates,
            seconds=times[-1] - times[-2],
            steps_per_second=speed,
            seconds_left=max(self.total_steps - queued.step, 0) / speed,
            peak_memory_bytes=backend.peak_memory_bytes(),
        )
        if queued.step % self.settings.log_every == 0:
            self.log.write(
                "step",
                queued.step,
                {
                    "epoch": queued.epoch,
                    "metrics": metrics,
                    "learning_rates": rates,
                    "seconds": report.seconds,
                    "steps_per_second": speed,
                    "peak_memory_bytes": report.peak_memory_bytes,
                },
            )
        self.observer.on_step(report)
        long = report.seconds_left > _LONG_RUN_SECONDS and len(times) > _SPEED_STEPS
        if long and platform.system() == "Darwin":
            self._say_once(
                "this run takes a while; `caffeinate -i` before the command keeps the "
                "Mac awake"
            )

    # What happens between two steps

    def _something_is_due(self) -> bool:
        return (
            self._due(self.settings.validate_every)
            or self._due(self.settings.sample_every)
            or self._checkpoint_is_due()
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

    def _checkpoint_is_due(self) -> bool:
        minutes = self.settings.checkpoint_minutes
        old = minutes > 0 and time.monotonic() - self.saved_at > minutes * 60
        return old or self._due(self.settings.checkpoint_every)

    def _do_what_is_due(self) -> None:
        improved = self._due(self.settings.validate_every) and self._validate()
        if self._due(self.settings.sample_every):
            self._write_samples()
        if improved or self._checkpoint_is_due():
            self._save()

    def _validate(self) -> bool:
        self._require_finite_state()
        step = self.validated_step = self.state.step
        scores = self.task.validate(step)
        for name, value in scores.items():
            if not math.isfinite(value):
                self.observer.on_note(f"validation at step {step}: {name} is {value}")
        scores = {name: v for name, v in scores.items() if math.isfinite(v)}
        best, name = self.state.best, self.settings.best_metric
        improved = name in scores and (best is None or scores[name] < best.value)
        if name is not None and improved:
            self.state = replace(self.state, best=Best(step, scores[name]))
        elif name is not None and name not in scores:
            self._say_once(
                f"`{name}` is not among the validation metrics {sorted(scores)}, so "
                "no checkpoint is marked as the best"
            )
        self.log.write(
            "validation", step, {"epoch": self.state.epoch, "metrics": scores}
        )
        self.observer.on_validation(
            ValidationReport(step, self.state.epoch, scores, improved)
        )
        self._plot()
        return improved

    def _plot(self) -> None:
        if not plot_losses(self.folder.metrics, self.folder.plots / "loss.png"):
            self._say_once(
                "no loss curves: matplotlib is not installed; "
                "`pip install matplotlib` draws them"
            )

    def _write_samples(self) -> None:
        step = self.sampled_step = self.state.step
        with replacing_folder(self.folder.samples / folder_name(step)) as temporary:
            self.task.write_samples(temporary, step)

    def _save(self) -> None:
        target = self.folder.checkpoints / folder_name(self.state.step)
        if target != self.saved:
            self._require_finite_state()
            self.state = replace(self.state, divergence=self.watch.state)
            self.saved = checkpoints.save_checkpoint(
                self.folder.checkpoints, self.task, self.state
            )
            best = self.state.best.step if self.state.best else None
            checkpoints.prune_checkpoints(
                self.folder.checkpoints, self.settings.keep, best
            )
            self.observer.on_checkpoint(
                target, self.state.step, best == self.state.step
            )
        self.saved_at = time.monotonic()

    def _require_finite_state(self) -> None:
        name = first_non_finite(checkpoints.all_arrays(self.task))
        if name:
            self._diverged(self.state.step, f"`{name}` holds NaN or infinity")

    def _diverged(self, step: int, problem: str) -> None:
        last = f"the last good checkpoint is `{self.saved}`" if self.saved else ""
        raise TrainingDiverged(
            f"training stopped at step {step}: {problem}",
            f"{last or 'no checkpoint was written yet'}; try a lower learning rate",
        )

    # Endings

    def _stop(self) -> None:
        self._save()
        self._export()
        raise TrainingInterrupted(
            f"stopped by the user at step {self.state.step} of {self.total_steps}; "
            f"everything is saved in `{self.folder.root}`",
            "the same command with `--resume` goes on from there",
        )

    def _finish(self) -> TrainingResult:
        step = self.state.step
        if step == self.first_step:
            self._say_once(f"the run had already reached its last step, {step}")
        if self.settings.validate_every and self.validated_step < step:
            self._validate()
        if self.settings.sample_every and self.sampled_step < step:
            self._write_samples()
        self._save()
        best = self.state.best
        if self.settings.export == "best" and best is not None and best.step != step:
            checkpoints.load_checkpoint(
                self.folder.checkpoints / folder_name(best.step), self.task
            )
        self._export()
        self._plot()
        assert self.saved is not None
        result = TrainingResult(
            step, self.state.epoch, best, self.saved, self.folder.model
        )
        self.observer.on_end(result)
        return result

    def _export(self) -> None:
        with replacing_folder(self.folder.model) as temporary:
            self.task.export(temporary)

    def _say_once(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.observer.on_note(text)


def step_seed(seed: int, step: int, purpose: str) -> int:
    """A 63-bit number from (seed, step); different purposes are independent."""
    digest = hashlib.sha256(f"{purpose}:{seed}:{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
