"""A run keeps the kernels that it began with, also when it is resumed elsewhere."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.choices import KernelKey, Timing
from mlx_speech.metal_kernels.presence import pretend_metal
from mlx_speech.training import run_training
from mlx_speech.training.runfolder import RunFolder

pytestmark = pytest.mark.usefixtures("no_pictures")
KEY = KernelKey("toy", "float32", (4,), "digest")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLX_SPEECH_KERNELS", raising=False)
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "cache"))
    select.forget()


def train(
    toy: ModuleType, root: Path, *, steps: int, ahead: bool, device: str, resume: bool
) -> list[bool]:
    """What a wrapper is told in each step where its kernel is ahead, or is not."""
    answers = []

    class Asking(toy.ToyTask):  # type: ignore[name-defined, misc]
        def step(self, batch: Any, key: mx.array, step: int) -> dict[str, mx.array]:
            timing = Timing(1.0, 2.0) if ahead else Timing(2.0, 1.0)
            answers.append(select.use_kernel(KEY, lambda: "", lambda: timing))
            found: dict[str, mx.array] = super().step(batch, key, step)
            return found

    select.forget()
    with pretend_metal(device) if device else nullcontext():
        run_training(Asking(), toy.settings(max_steps=steps), root, resume=resume)
    return answers


@pytest.mark.parametrize("ahead", [True, False])
def test_a_resumed_run_uses_the_kernels_that_it_began_with(
    toy: ModuleType, tmp_path: Path, ahead: bool
) -> None:
    root = tmp_path / "run"
    first = train(toy, root, steps=2, ahead=ahead, device="one", resume=False)
    assert first == [ahead] * 2
    stored = json.loads(RunFolder(root).kernels.read_text())
    assert stored["choices"] == {KEY.name: ahead}
    # Elsewhere the timing comes out the other way.
    second = train(toy, root, steps=4, ahead=not ahead, device="two", resume=True)
    assert second == [ahead] * 2
    assert json.loads(RunFolder(root).kernels.read_text()) == stored


def test_a_run_that_began_without_metal_goes_on_without(
    toy: ModuleType, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    assert not any(train(toy, root, steps=1, ahead=True, device="", resume=False))
    again = train(toy, root, steps=3, ahead=True, device="one", resume=True)
    assert again == [False] * 2


def test_a_refused_run_leaves_the_choices_of_the_other(
    toy: ModuleType, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    train(toy, root, steps=1, ahead=True, device="one", resume=False)
    before = RunFolder(root).kernels.read_text()
    with pytest.raises(SpeechError, match="already holds a run"):
        train(toy, root, steps=1, ahead=True, device="", resume=False)
    assert RunFolder(root).kernels.read_text() == before


def test_a_bad_mode_stops_a_training_at_its_start(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "fast")
    with pytest.raises(SpeechError, match="MLX_SPEECH_KERNELS is 'fast'"):
        train(toy, tmp_path / "run", steps=1, ahead=True, device="", resume=False)
