"""One training at a time in a run's folder."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.training import (
    Observer,
    StepReport,
    check_run_folder,
    prepare_run_folder,
    run_training,
)
from mlx_speech.training.lock import LOCK_NAME, locked, require_unlocked

pytestmark = pytest.mark.usefixtures("no_pictures")

HOLD = """
import sys, time
from pathlib import Path
from mlx_speech.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def everything(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_no_second_training_starts_in_the_folder_of_a_running_one(
    toy: ModuleType, tmp_path: Path
) -> None:
    run_training(toy.ToyTask(), toy.settings(max_steps=4), tmp_path)
    refused: list[str] = []

    def attempt(action: Any, *arguments: Any, **options: Any) -> None:
        before = everything(tmp_path)
        with pytest.raises(SpeechError) as caught:
            action(*arguments, **options)
        refused.append(caught.value.message)
        assert everything(tmp_path) == before

    class Meddler(Observer):
        def on_step(self, report: StepReport) -> None:
            if report.step == 6:
                attempt(check_run_folder, tmp_path)
                attempt(check_run_folder, tmp_path, resume=True)
                attempt(prepare_run_folder, tmp_path, overwrite=True)
                for resume in (False, True):
                    settings = toy.settings(max_steps=8)
                    attempt(
                        run_training, toy.ToyTask(), settings, tmp_path, resume=resume
                    )

    settings = toy.settings(max_steps=8)
    result = run_training(toy.ToyTask(), settings, tmp_path, Meddler(), resume=True)
    assert result.step == 8
    assert refused == [f"another training is using the run folder `{tmp_path}`"] * 5
    assert not (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("use", ["new", "overwrite", "resume"])
def test_what_a_killed_training_leaves_is_no_hindrance(
    toy: ModuleType, tmp_path: Path, use: str
) -> None:
    if use != "new":
        run_training(toy.ToyTask(), toy.settings(max_steps=4), tmp_path)
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SpeechError, match="another training is using"):
            check_run_folder(tmp_path, resume=use == "resume")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (tmp_path / LOCK_NAME).exists()
    options = {} if use == "new" else {use: True}
    prepare_run_folder(tmp_path, **options)
    settings = toy.settings(max_steps=5)
    result = run_training(
        toy.ToyTask(), settings, tmp_path, resume=options.get("resume", False)
    )
    assert result.step == 5
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_lock_that_was_removed_after_it_was_opened_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = os.open, []

    def open_late(path: Any, *arguments: Any, **options: Any) -> int:
        descriptor = real(path, *arguments, **options)
        if not opened:
            Path(path).unlink()  # as the former holder does
        opened.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    with locked(tmp_path):
        assert len(opened) == 2
        with pytest.raises(SpeechError, match="another training is using"):
            require_unlocked(tmp_path)


def test_a_folder_that_cannot_be_locked_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    require_unlocked(tmp_path)
    with (
        pytest.raises(SpeechError, match="cannot be locked: No locks available"),
        locked(tmp_path),
    ):
        pass
