"""A resumed run equals an uninterrupted one to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.training import Observer, run_training
from mlx_speech.training.checkpoint import all_arrays, read_state
from mlx_speech.training.report import read_metrics

pytestmark = pytest.mark.usefixtures("no_pictures")
STEPS = 16


def run(toy: ModuleType, folder: Path, resume: bool = False, **changes: Any) -> Any:
    task = toy.ToyTask()
    run_training(task, toy.settings(**changes), folder, resume=resume)
    return task


def without_times(folder: Path) -> list[dict[str, Any]]:
    lines = read_metrics(folder / "metrics.jsonl")
    kept = ("kind", "step", "epoch", "metrics", "learning_rates")
    return [{k: line[k] for k in kept if k in line} for line in lines]


def assert_same_state(first: Any, second: Any) -> None:
    a, b = all_arrays(first), all_arrays(second)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert np.array_equal(np.asarray(a[name]), np.asarray(b[name])), name


@pytest.fixture(scope="module")
def whole(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(toy, folder), folder


class StopAt(Observer):
    """Raises Ctrl-C's effect after a step, as if the machine went away."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, report: Any) -> None:
        if report.step == self.step:
            raise RuntimeError("power cut")


@pytest.mark.parametrize("stop", range(2, STEPS + 1))
def test_resume_at_any_step_is_bit_identical(
    toy: ModuleType, whole: tuple, tmp_path: Path, stop: int
) -> None:
    task, folder = whole
    with pytest.raises(RuntimeError, match="power cut"):
        run_training(
            toy.ToyTask(), toy.settings(checkpoint_every=1), tmp_path, StopAt(stop)
        )
    resumed = run(toy, tmp_path, resume=True)
    assert_same_state(task, resumed)
    assert without_times(tmp_path) == without_times(folder)


def test_resume_from_an_older_checkpoint_recomputes_the_same_lines(
    toy: ModuleType, whole: tuple, tmp_path: Path
) -> None:
    task, folder = whole
    with pytest.raises(RuntimeError):
        run_training(
            toy.ToyTask(), toy.settings(checkpoint_every=5), tmp_path, StopAt(14)
        )
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == 14
    resumed = run(toy, tmp_path, resume=True)
    assert_same_state(task, resumed)
    assert without_times(tmp_path) == without_times(folder)


def test_max_steps_counts_resumed_steps(
    toy: ModuleType, whole: tuple, tmp_path: Path
) -> None:
    run(toy, tmp_path, max_steps=7)
    resumed = run(toy, tmp_path, resume=True, max_steps=STEPS)
    assert_same_state(whole[0], resumed)
    steps = [x["step"] for x in without_times(tmp_path) if x["kind"] == "step"]
    assert steps == list(range(1, STEPS + 1))


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(
    toy: ModuleType, whole: tuple, tmp_path: Path
) -> None:
    assert_same_state(whole[0], run(toy, tmp_path / "again"))
    other = toy.ToyTask()
    run_training(other, toy.settings(seed=1), tmp_path / "other")
    assert not np.array_equal(
        np.asarray(other.networks["generator"].head.weight),
        np.asarray(whole[0].networks["generator"].head.weight),
    )


def test_the_order_of_data_and_the_rates_belong_to_the_epoch(
    toy: ModuleType, whole: tuple
) -> None:
    task, folder = whole
    assert task.epochs == [0, 1, 2]
    for line in without_times(folder):
        if line["kind"] == "step":
            factor = 0.5 ** line["epoch"]
            assert line["epoch"] == (line["step"] - 1) // 6
            assert line["learning_rates"] == pytest.approx(
                {
                    "generator.body": 0.003 * factor,
                    "generator.default": 0.01 * factor,
                    "discriminator": 0.01 * factor,
                },
                rel=1e-6,
            )


def test_a_checkpoint_of_other_versions_resumes_with_a_note(
    toy: ModuleType, tmp_path: Path
) -> None:
    notes: list[str] = []

    class Notes(Observer):
        def on_note(self, text: str) -> None:
            notes.append(text)

    run_training(
        toy.ToyTask(), toy.settings(max_steps=4), tmp_path, record={"kernels": "ops"}
    )
    state = tmp_path / "checkpoints" / "00000004" / "state.json"
    state.write_text(state.read_text().replace('"blas": "', '"blas": "another '))
    run_training(
        toy.ToyTask(),
        toy.settings(max_steps=5),
        tmp_path,
        Notes(),
        resume=True,
        record={"kernels": "matmul"},
    )
    assert len(notes) == 2
    assert "blas: another" in notes[0]
    assert "kernels: ops -> matmul" in notes[1]


def test_changed_data_are_noted(toy: ModuleType, tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(Observer):
        def on_note(self, text: str) -> None:
            notes.append(text)

    run(toy, tmp_path, max_steps=4)
    task = toy.ToyTask(seed=3)
    run_training(task, toy.settings(max_steps=5), tmp_path, Notes(), resume=True)
    assert any("order changed" in note for note in notes)


def test_another_seed_does_not_resume(toy: ModuleType, tmp_path: Path) -> None:
    run(toy, tmp_path, max_steps=2)
    with pytest.raises(SpeechError, match="started with seed 0, not 5"):
        run(toy, tmp_path, resume=True, seed=5)


def test_another_architecture_names_the_differences_and_changes_nothing(
    toy: ModuleType, tmp_path: Path
) -> None:
    run(toy, tmp_path, max_steps=2)
    task = toy.ToyTask()
    task.networks["discriminator"] = nn.Linear(1, 3)
    before = {name: np.asarray(array) for name, array in all_arrays(task).items()}
    with pytest.raises(SpeechError, match=r"weight is float32\[1, 1\] instead of"):
        run_training(task, toy.settings(), tmp_path, resume=True)
    for name, array in all_arrays(task).items():
        assert np.array_equal(before[name], np.asarray(array))


def test_a_run_that_is_done_says_so(toy: ModuleType, tmp_path: Path) -> None:
    heard: list[Any] = []

    class Listener(Observer):
        def on_start(self, step: int, total_steps: int) -> None:
            heard.append(("start", step, total_steps))

        def on_note(self, text: str) -> None:
            heard.append(text)

        def on_end(self, result: Any) -> None:
            heard.append(("end", result.step))

    settings = toy.settings(max_steps=None, max_epochs=1)
    run_training(toy.ToyTask(), settings, tmp_path)
    result = run_training(toy.ToyTask(), settings, tmp_path, Listener(), resume=True)
    assert result.step == 6
    assert heard == [
        ("start", 6, 6),
        "the run had already reached its last step, 6",
        ("end", 6),
    ]


def test_dropout_is_random_between_steps(toy: ModuleType) -> None:
    from mlx_speech.training.loop import step_seed

    seeds = {step_seed(s, i, "global") for s in range(3) for i in range(100)}
    assert len(seeds) == 300
    mx.random.seed(step_seed(0, 1, "global"))
    first = mx.random.uniform(shape=(4,))
    mx.random.seed(step_seed(0, 2, "global"))
    assert not mx.array_equal(first, mx.random.uniform(shape=(4,)))


@pytest.mark.parametrize(
    "change", [{"mood": "good"}, {"best": {"score": 1.0}}, {"best": "last"}]
)
def test_a_state_of_another_version_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    state = {
        "step": 3,
        "epoch": 0,
        "position": 3,
        "seed": 0,
        "batches_digest": "",
        "best": None,
        "files": {},
    }
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state))
    assert read_state(tmp_path).step == 3
    path.write_text(json.dumps(state | change))
    with pytest.raises(SpeechError, match=r"state.json` is of another version"):
        read_state(tmp_path)
    path.write_text(json.dumps(state | {"files": None}))
    with pytest.raises(SpeechError, match="not a readable training state"):
        read_state(tmp_path)
