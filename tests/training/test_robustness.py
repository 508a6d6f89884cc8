"""Kills, Ctrl-C, NaN, explosions and full disks never cost a good checkpoint."""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.training import (
    Observer,
    StepReport,
    TrainingDiverged,
    ValidationReport,
    prepare_run_folder,
    run_training,
)
from mlx_speech.training.checkpoint import (
    all_arrays,
    complete_checkpoints,
    load_checkpoint,
)
from mlx_speech.training.divergence import DivergenceWatch, first_non_finite

pytestmark = pytest.mark.usefixtures("no_pictures")


def start(script: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigkill_at_twenty_random_moments_never_breaks_a_checkpoint(
    toy: ModuleType, toy_script: Path, tmp_path: Path
) -> None:
    moments = random.Random(5)
    resumed_from = []
    for _ in range(20):
        resume = ["--resume"] if complete_checkpoints(tmp_path / "checkpoints") else []
        if not resume:
            prepare_run_folder(tmp_path, overwrite=True)
        child = start(toy_script, tmp_path, 100_000, *resume)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate()[1]
        # Counted in checkpoints, so that a slow machine gets equally far.
        for _ in range(moments.randrange(5)):
            assert child.stdout.readline().startswith("checkpoint ")
        time.sleep(moments.uniform(0.0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL

        visible = [
            path
            for path in (tmp_path / "checkpoints").glob("*")
            if not path.name.startswith(".")
        ]
        complete = complete_checkpoints(tmp_path / "checkpoints")
        assert sorted(visible) == sorted(complete)
        for path in complete:
            state = load_checkpoint(path, toy.ToyTask())
            assert state.step == int(path.name)
        resumed_from.append(int(complete[-1].name) if complete else 0)
    assert resumed_from == sorted(resumed_from)
    assert len(set(resumed_from)) > 10

    last = resumed_from[-1]
    resumed, whole = toy.ToyTask(), toy.ToyTask()
    plain = {"validate_every": 0, "sample_every": 0, "checkpoint_every": 0}
    settings = toy.settings(max_steps=last + 3, **plain)
    run_training(resumed, settings, tmp_path, resume=True)
    run_training(whole, settings, tmp_path / "whole")
    a, b = all_arrays(resumed), all_arrays(whole)
    assert all(np.array_equal(np.asarray(a[n]), np.asarray(b[n])) for n in b)
    assert not list(tmp_path.glob("**/.*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_finish_the_step_save_and_exit_130(
    toy: ModuleType, toy_script: Path, tmp_path: Path, number: signal.Signals
) -> None:
    child = start(toy_script, tmp_path, 100_000, "--pause", 0.01)
    assert child.stdout is not None
    while child.stdout.readline() != "checkpoint 3\n":
        pass
    child.send_signal(number)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130, errors
    assert errors.count("\n") == 1
    step = int(complete_checkpoints(tmp_path / "checkpoints")[-1].name)
    assert f"stopped by the user at step {step} of 100000" in errors
    assert (tmp_path / "model" / "model.safetensors").exists()
    state = load_checkpoint(
        complete_checkpoints(tmp_path / "checkpoints")[-1], toy.ToyTask()
    )
    assert state.step == step >= 3


def test_nan_stops_and_the_last_good_checkpoint_stays(
    toy: ModuleType, tmp_path: Path
) -> None:
    task = toy.ToyTask()
    task.poison[7] = float("nan")
    with pytest.raises(TrainingDiverged) as caught:
        run_training(task, toy.settings(checkpoint_every=1), tmp_path)
    assert "step 7: `generator_loss` became nan" in caught.value.message
    assert "00000006" in caught.value.hint
    names = [path.name for path in complete_checkpoints(tmp_path / "checkpoints")]
    assert names[-1] == "00000006"
    load_checkpoint(tmp_path / "checkpoints" / "00000006", toy.ToyTask())
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert not (tmp_path / "model").exists()


def test_a_parameter_gone_bad_is_not_saved_even_when_the_losses_look_well(
    toy: ModuleType, tmp_path: Path
) -> None:
    class Broken(toy.ToyTask):  # type: ignore[name-defined, misc]
        def step(self, batch: Any, key: mx.array, step: int) -> dict[str, mx.array]:
            metrics = super().step(batch, key, step)
            if step == 8:
                head = self.networks["generator"].head
                head.bias = head.bias + float("inf")
            return metrics

    with pytest.raises(TrainingDiverged, match=r"generator/head\.bias.* NaN or inf"):
        run_training(Broken(), toy.settings(validate_every=0), tmp_path)
    names = [path.name for path in complete_checkpoints(tmp_path / "checkpoints")]
    assert names == ["00000004"]


def test_an_explosion_stops_the_run_and_names_the_term(
    toy: ModuleType, tmp_path: Path
) -> None:
    task = toy.ToyTask()
    task.poison.update(dict.fromkeys(range(24, 100), 1e4))
    settings = toy.settings(max_steps=60, divergence_patience=3, validate_every=0)
    with pytest.raises(TrainingDiverged, match=r"step 26: `generator_loss` exploded"):
        run_training(task, settings, tmp_path)


def test_the_watch_forgives_single_spikes_and_remembers_over_a_resume() -> None:
    watch = DivergenceWatch(factor=10, patience=3)
    for step in range(40):
        assert not watch.check({"loss": 1000.0 if step % 3 == 2 else 1.0})
    assert not watch.check({"loss": 1000.0})
    watch = DivergenceWatch(10, 3, watch.state)
    assert not watch.check({"loss": 1000.0})
    assert "`loss` exploded" in watch.check({"loss": 1000.0})


def test_the_watch_leaves_other_metrics_their_size_but_not_nan() -> None:
    watch = DivergenceWatch(factor=10, patience=1)
    for _ in range(30):
        assert not watch.check({"gradient_norm": 1.0})
    assert not watch.check({"gradient_norm": 1e9})
    assert "gradient_norm" in watch.check({"gradient_norm": float("inf")})


def test_first_non_finite_names_the_array() -> None:
    arrays = {
        "a": mx.zeros((2,)),
        "steps": mx.array(3),
        "b": mx.array([1.0, float("nan")]),
    }
    assert first_non_finite(arrays) == "b"
    del arrays["b"]
    assert first_non_finite(arrays) == ""


def test_a_full_disk_leaves_no_half_checkpoint(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_speech.training import checkpoint

    real = checkpoint.save_safetensors

    def fill_up(path: Path, arrays: dict[str, mx.array]) -> None:
        if "00000008" in str(path) and "optimizer" in path.name:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, arrays)

    monkeypatch.setattr(checkpoint, "save_safetensors", fill_up)
    with pytest.raises(SpeechError, match="no space left on the disk"):
        run_training(toy.ToyTask(), toy.settings(), tmp_path)
    folder = tmp_path / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["00000004"]
    monkeypatch.undo()
    result = run_training(toy.ToyTask(), toy.settings(), tmp_path, resume=True)
    assert result.step == 16


def test_an_error_while_reading_a_batch_arrives(
    toy: ModuleType, tmp_path: Path
) -> None:
    class Missing(toy.ToyTask):  # type: ignore[name-defined, misc]
        def load_batch(self, indices: list[int]) -> Any:
            if 3 in indices:
                raise SpeechError("`3.wav` is gone")
            return super().load_batch(indices)

    with pytest.raises(SpeechError, match=r"3\.wav"):
        run_training(Missing(), toy.settings(), tmp_path)


def test_the_buffers_of_a_validation_are_given_back(
    toy: ModuleType, tmp_path: Path
) -> None:
    floats = 5_000_000
    held: list[int] = []

    class Wide(toy.ToyTask):  # type: ignore[name-defined, misc]
        def validate(self, step: int) -> dict[str, float]:
            return {"error": mx.ones(floats).sum().item()}

    class Watching(Observer):
        def on_validation(self, report: ValidationReport) -> None:
            held.append(mx.get_cache_memory())

        def on_step(self, report: StepReport) -> None:
            if report.step == 6:
                held.append(mx.get_cache_memory())

    settings = toy.settings(max_steps=7, sample_every=0)
    run_training(Wide(), settings, tmp_path, Watching())
    assert held[0] >= 4 * floats > 10 * held[1]
