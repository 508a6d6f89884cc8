"""What a run writes, keeps and refuses."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.training import (
    LoopSettings,
    Observer,
    check_run_folder,
    prepare_run_folder,
    run_training,
)
from mlx_speech.training.checkpoint import complete_checkpoints, read_state
from mlx_speech.training.report import read_metrics

pytestmark = pytest.mark.usefixtures("no_pictures")


class Scripted(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.best: list[int] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)

    def on_checkpoint(self, folder: Path, step: int, best: bool) -> None:
        if best:
            self.best.append(step)


def scored(toy: ModuleType, scores: dict[int, float]) -> Any:
    class Scored(toy.ToyTask):  # type: ignore[name-defined, misc]
        def validate(self, step: int) -> dict[str, float]:
            return {"error": scores[step], "other": 1.0}

    return Scored()


def names(folder: Path) -> list[str]:
    return [str(int(path.name)) for path in complete_checkpoints(folder)]


def test_the_newest_and_the_best_checkpoints_stay(
    toy: ModuleType, tmp_path: Path
) -> None:
    scores = {2: 5.0, 4: 3.0, 6: 1.0, 8: 2.0, 10: 4.0, 12: 1.0, 14: 1.5, 16: 9.0}
    observer = Scripted()
    result = run_training(
        scored(toy, scores),
        toy.settings(validate_every=2, checkpoint_every=4, keep=2, sample_every=0),
        tmp_path,
        observer,
    )
    assert observer.best == [2, 4, 6]
    assert names(tmp_path / "checkpoints") == ["6", "12", "16"]
    assert result.best is not None and (result.best.step, result.best.value) == (6, 1.0)
    assert read_state(result.checkpoint).best == result.best


def test_the_best_is_remembered_over_a_resume(toy: ModuleType, tmp_path: Path) -> None:
    scores = {step: 10.0 - step for step in range(1, 7)}
    scores.update({step: 5.0 + step for step in range(7, 17)})
    settings = {"validate_every": 1, "sample_every": 0, "keep": 1}
    run_training(scored(toy, scores), toy.settings(max_steps=9, **settings), tmp_path)
    result = run_training(
        scored(toy, scores), toy.settings(**settings), tmp_path, resume=True
    )
    assert result.best is not None and result.best.step == 6
    assert names(tmp_path / "checkpoints") == ["6", "16"]


def test_export_best_gives_the_best_weights(toy: ModuleType, tmp_path: Path) -> None:
    import mlx.core as mx

    scores = {4: 2.0, 8: 1.0, 12: 3.0, 16: 4.0}
    settings = toy.settings(export="best", sample_every=0)
    run_training(scored(toy, scores), settings, tmp_path)
    model = mx.load(str(tmp_path / "model" / "model.safetensors"))
    best = mx.load(str(tmp_path / "checkpoints" / "00000008" / "generator.safetensors"))
    last = mx.load(str(tmp_path / "checkpoints" / "00000016" / "generator.safetensors"))
    assert all(mx.array_equal(model[name], best[name]) for name in best)
    assert not all(mx.array_equal(model[name], last[name]) for name in last)


def test_a_validation_score_of_nan_is_noted_and_is_not_the_best(
    toy: ModuleType, tmp_path: Path
) -> None:
    scores = {4: 2.0, 8: float("nan"), 12: 3.0, 16: 4.0}
    observer = Scripted()
    result = run_training(scored(toy, scores), toy.settings(), tmp_path, observer)
    assert result.best is not None and result.best.step == 4
    assert "validation at step 8: error is nan" in observer.notes
    lines = [x for x in read_metrics(tmp_path / "metrics.jsonl") if x["step"] == 8]
    assert lines[-1]["metrics"] == {"other": 1.0}


def test_a_logged_loss_equals_the_recomputed_one(
    toy: ModuleType, tmp_path: Path
) -> None:
    import mlx.core as mx
    import numpy as np

    from mlx_speech.training.loop import step_seed

    run_training(toy.ToyTask(), toy.settings(max_steps=1), tmp_path)
    logged = read_metrics(tmp_path / "metrics.jsonl")[0]["metrics"]
    task = toy.ToyTask()
    mx.random.seed(step_seed(0, 1, "global"))
    key = mx.random.key(step_seed(0, 1, "key"))
    metrics = task.step(task.load_batch(task.batches(0)[0]), key, 1)
    assert logged == {name: np.asarray(value).item() for name, value in metrics.items()}


def test_a_used_folder_needs_resume_or_overwrite(
    toy: ModuleType, tmp_path: Path
) -> None:
    run_training(toy.ToyTask(), toy.settings(max_steps=1), tmp_path)
    with pytest.raises(SpeechError, match="already holds a run"):
        run_training(toy.ToyTask(), toy.settings(), tmp_path)
    with pytest.raises(SpeechError, match="already exists"):
        prepare_run_folder(tmp_path)
    (tmp_path / "mine.txt").write_text("keep me")
    folder = prepare_run_folder(tmp_path, overwrite=True)
    assert not folder.contents()
    assert (tmp_path / "mine.txt").exists()
    run_training(toy.ToyTask(), toy.settings(max_steps=1), tmp_path)


def test_features_alone_make_no_run_and_outlive_one(
    toy: ModuleType, tmp_path: Path
) -> None:
    features = tmp_path / "features" / "ab.features"
    features.parent.mkdir()
    features.write_text("cached")
    prepare_run_folder(tmp_path)
    run_training(toy.ToyTask(), toy.settings(max_steps=1), tmp_path)
    prepare_run_folder(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    assert features.exists()


def test_asking_whether_a_folder_may_be_used_changes_nothing(
    toy: ModuleType, tmp_path: Path
) -> None:
    check_run_folder(tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()
    run_training(toy.ToyTask(), toy.settings(max_steps=1), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check_run_folder(tmp_path, overwrite=True)
    check_run_folder(tmp_path, resume=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_made_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechError, match="file` is a file"):
        check_run_folder(tmp_path / "file" / "run")


def test_a_folder_of_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SpeechError) as caught:
        prepare_run_folder(tmp_path, overwrite=True)
    assert "other files" in caught.value.hint
    assert (tmp_path / "thesis.txt").exists()


def test_nothing_to_resume_is_an_error(toy: ModuleType, tmp_path: Path) -> None:
    for folder, message in (
        (tmp_path, "no complete checkpoint"),
        (tmp_path / "absent", "there is no run"),
    ):
        with pytest.raises(SpeechError, match=message):
            prepare_run_folder(folder, resume=True)
        with pytest.raises(SpeechError, match="no complete checkpoint"):
            run_training(toy.ToyTask(), toy.settings(), folder, resume=True)


def test_a_truncated_checkpoint_is_passed_over(toy: ModuleType, tmp_path: Path) -> None:
    run_training(toy.ToyTask(), toy.settings(max_steps=8), tmp_path)
    newest = tmp_path / "checkpoints" / "00000008" / "discriminator.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4])
    assert names(tmp_path / "checkpoints") == ["4"]
    result = run_training(toy.ToyTask(), toy.settings(), tmp_path, resume=True)
    assert result.step == 16


def test_a_lost_best_checkpoint_is_noted_and_found_anew(
    toy: ModuleType, tmp_path: Path
) -> None:
    scores = {4: 1.0, 8: 3.0, 12: 2.0, 16: 4.0}
    run_training(scored(toy, scores), toy.settings(max_steps=8), tmp_path)
    (tmp_path / "checkpoints" / "00000004" / "state.json").unlink()
    observer = Scripted()
    result = run_training(
        scored(toy, scores), toy.settings(), tmp_path, observer, resume=True
    )
    assert observer.notes == ["the best checkpoint, step 4, is gone"]
    assert result.best is not None and result.best.step == 12


def test_a_run_needs_an_end(toy: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="needs an end"):
        run_training(toy.ToyTask(), LoopSettings(), tmp_path)
    with pytest.raises(SpeechError, match="at least 1"):
        LoopSettings(max_steps=0)


def test_no_batches_is_an_error(toy: ModuleType, tmp_path: Path) -> None:
    task = toy.ToyTask()
    task.batches = lambda epoch: []
    with pytest.raises(SpeechError, match="no batches"):
        run_training(task, toy.settings(), tmp_path)
