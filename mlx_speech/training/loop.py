"""The training loop: steps, validation, checkpoints, resume; knows no model.

A step's values are read while the next step is being computed, so the host never
waits for the step it has just queued. Everything random in step i comes from
(seed, i), everything about the order of data from (seed, epoch): a resumed run equals
an uninterrupted one to the bit (float32, CPU, one BLAS thread).
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import mlx.core as mx
import numpy as np

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.select import fixed_choices
from mlx_speech.training.checkpoint import all_arrays
from mlx_speech.training.interrupt import InterruptGuard, TrainingInterrupted
from mlx_speech.training.keeper import RunKeeper
from mlx_speech.training.lock import locked
from mlx_speech.training.optim import learning_rates
from mlx_speech.training.prefetch import prefetched
from mlx_speech.training.runfolder import RunFolder, require_checkpoint
from mlx_speech.training.settings import LoopSettings
from mlx_speech.training.task import (
    Observer,
    StepReport,
    TrainingResult,
    TrainingTask,
)

_SPEED_STEPS = 20
_LONG_RUN_SECONDS = 30 * 60


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
        record: what results depend on besides versions, BLAS and kernels; plain JSON
            values, kept in checkpoints. A difference to the checkpoint's is noted, not
            refused.

    Raises:
        SpeechError: the folder is in use (without ``resume``, or by another training),
            has no checkpoint (with it), or cannot be written; the task has no batches.
        TrainingDiverged: see ``DivergenceWatch``.
        TrainingInterrupted: Ctrl-C or SIGTERM; a checkpoint was written first.
    """
    settings.require_end()
    observer = observer or Observer()
    folder = RunFolder(Path(run_folder))
    if resume:
        require_checkpoint(folder)  # first, since to lock a folder makes it
    with locked(folder.root):
        keeper = RunKeeper(task, settings, folder, observer, dict(record or {}), resume)
        # After the keeper, who refuses a folder that another run's choices lie in.
        with fixed_choices(folder.kernels, resume):
            return _Run(keeper, settings, observer).train()


@dataclass(frozen=True)
class _Queued:
    """A step that is being computed; its values are not read yet."""

    step: int
    epoch: int
    metrics: dict[str, mx.array]
    rates: dict[str, mx.array]


class _Run:
    """One call of ``run_training``."""

    def __init__(
        self, keeper: RunKeeper, settings: LoopSettings, observer: Observer
    ) -> None:
        self.keeper = keeper
        self.task = keeper.task
        self.settings = settings
        self.observer = observer
        self.total_steps = 0
        self.finish_times: deque[float] = deque(maxlen=_SPEED_STEPS + 1)

    def train(self) -> TrainingResult:
        waiting: _Queued | None = None
        with InterruptGuard() as guard, closing(self._batches_to_come()) as batches:
            for epoch, batch in batches:
                queued = self._queue(batch, epoch)
                if waiting is not None:
                    self._read(waiting)
                waiting = queued
                if guard.requested or self.keeper.something_is_due():
                    self._read(waiting)
                    waiting = None
                    self._pause()
                    if guard.requested:
                        self._stop()
            if waiting is not None:
                self._read(waiting)
            return self._finish()

    def _batches_to_come(self) -> Generator[tuple[int, Any], None, None]:
        """(epoch, loaded batch) from the present position to the end of the run."""
        keeper, settings = self.keeper, self.settings
        most_steps = settings.max_steps or sys.maxsize
        while keeper.state.epoch < (settings.max_epochs or sys.maxsize):
            epoch = keeper.state.epoch
            self.task.start_epoch(epoch)
            rest = self._plan(epoch)[keeper.state.position :]
            rest = rest[: max(most_steps - keeper.state.step, 0)]
            self._started()
            with closing(prefetched(self.task.load_batch, rest)) as loaded:
                for batch in loaded:
                    yield epoch, batch
            if keeper.state.step >= most_steps:
                return
            keeper.state = replace(keeper.state, epoch=epoch + 1, position=0)

    def _started(self) -> None:
        if not self.finish_times:
            self.observer.on_start(self.keeper.state.step, self.total_steps)
            self.finish_times.append(time.monotonic())

    def _plan(self, epoch: int) -> list[list[int]]:
        keeper, settings = self.keeper, self.settings
        batches = [[int(i) for i in batch] for batch in self.task.batches(epoch)]
        if not batches:
            raise SpeechError(
                f"epoch {epoch} has no batches", "give more data or a smaller batch"
            )
        digest = hashlib.sha256(json.dumps(batches).encode()).hexdigest()[:16]
        position = keeper.state.position
        if position and digest != keeper.state.batches_digest:
            self.observer.on_note(
                "results may differ after this resume: the data or its order changed"
            )
        keeper.state = replace(keeper.state, batches_digest=digest)
        ends = []
        if settings.max_steps is not None:
            ends.append(settings.max_steps)
        if settings.max_epochs is not None:
            epochs_left = settings.max_epochs - epoch
            ends.append(keeper.state.step - position + len(batches) * epochs_left)
        self.total_steps = min(ends)
        return batches

    def _queue(self, batch: Any, epoch: int) -> _Queued:
        keeper = self.keeper
        step = keeper.state.step + 1
        mx.random.seed(step_seed(self.settings.seed, step, "global"))
        key = mx.random.key(step_seed(self.settings.seed, step, "key"))
        metrics = {
            name: value.astype(mx.float32)
            for name, value in self.task.step(batch, key, step).items()
        }
        mx.async_eval(metrics, all_arrays(self.task))
        position = keeper.state.position + 1
        keeper.state = replace(keeper.state, step=step, position=position)
        return _Queued(step, epoch, metrics, learning_rates(self.task.optimizers))

    def _read(self, queued: _Queued) -> None:
        metrics, rates = _as_floats(queued.metrics), _as_floats(queued.rates)
        problem = self.keeper.watch.check(metrics)
        if problem:
            self.keeper.diverged(queued.step, problem)
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
            self.keeper.log.write(
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
            self.keeper.say_once(
                "this run takes a while; `caffeinate -i` before the command keeps the "
                "Mac awake"
            )

    def _pause(self) -> None:
        # Validation and saving do not count as time of the next step.
        start = time.monotonic()
        self.keeper.do_what_is_due()
        # Validation meets other shapes than training: their buffers serve no step.
        mx.clear_cache()
        pause = time.monotonic() - start
        for index, moment in enumerate(self.finish_times):
            self.finish_times[index] = moment + pause

    def _stop(self) -> NoReturn:
        self.keeper.save()
        self.keeper.export()
        raise TrainingInterrupted(
            f"stopped by the user at step {self.keeper.state.step} of "
            f"{self.total_steps}; everything is saved in `{self.keeper.folder.root}`",
            "the same command with `--resume` goes on from there",
        )

    def _finish(self) -> TrainingResult:
        self.total_steps = self.total_steps or self.keeper.state.step
        self._started()
        checkpoint = self.keeper.finish()
        state = self.keeper.state
        result = TrainingResult(
            state.step, state.epoch, state.best, checkpoint, self.keeper.folder.model
        )
        self.observer.on_end(result)
        return result


def _as_floats(scalars: Mapping[str, mx.array]) -> dict[str, float]:
    return {name: np.asarray(value).item() for name, value in scalars.items()}


def step_seed(seed: int, step: int, purpose: str) -> int:
    """A 63-bit number from (seed, step); different purposes are independent."""
    digest = hashlib.sha256(f"{purpose}:{seed}:{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
