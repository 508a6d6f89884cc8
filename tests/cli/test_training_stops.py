"""Training that is stopped, killed and resumed, as a user does it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_speech.hub.load import load_safetensors
from mlx_speech.training.checkpoint import latest_checkpoint, read_state
from mlx_speech.training.report import read_metrics

Command = Callable[..., tuple[int, str, str]]
PATIENCE_SECONDS = 60


@pytest.fixture
def train(
    command: Command,
    recordings: Path,
    tiny_settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Run `train-vits` on the recordings, in an empty folder, into `run`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        settings = ("--config", tiny_settings, "-o", "run")
        return command("train-vits", recordings, *settings, *arguments)

    return run


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """`train-vits` in a process of its own, ended in any case."""
    words = [sys.executable, "-m", "mlx_speech", "train-vits", *map(str, arguments)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def arrays(run: Path, step: int) -> dict[str, mx.array]:
    """Everything that a checkpoint holds, by file and key."""
    folder = run / "checkpoints" / f"{step:08}"
    return {
        f"{path.stem}/{key}": value
        for path in sorted(folder.glob("*.safetensors"))
        for key, value in load_safetensors(path).items()
    }


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    train: Command, command: Command
) -> None:
    flags = ("-q", "--ema-decay", "0.9", "--lr-decay", "0.5", "--p-dropout", "0.1")
    # Stochastic durations and discriminators from the second step on.
    random = ("--use-sdp", "true", "--discriminator-start", "1")
    assert train(*flags, *random, "--max-steps", "4")[0] == 0
    Path("run").rename("whole")
    # Five recordings in batches of two: epochs of three steps; stopped inside one and
    # between two.
    assert train(*flags, *random, "--max-steps", "1")[0] == 0
    for last in ("3", "4"):
        more = ("--resume", "--output-dir", "run", "--max-steps", last)
        assert command("train-vits", *more, "-q")[0] == 0
    whole, resumed = arrays(Path("whole"), 4), arrays(Path("run"), 4)
    kinds = {name.partition("/")[0] for name in whole}
    assert kinds == {
        "generator",
        "discriminators",
        "optimizer_generator",
        "optimizer_discriminators",
        "average_generator",
    }
    assert whole.keys() == resumed.keys()
    different = [n for n, x in whole.items() if not mx.array_equal(x, resumed[n])]
    assert not different
    first, second = (
        [
            (line["kind"], line["step"], line["metrics"])
            for line in read_metrics(Path(name) / "metrics.jsonl")
        ]
        for name in ("whole", "run")
    )
    assert first == second
    assert [step for _, step, _ in first] == [1, 2, 3, 4]


def test_resume_needs_the_run_alone(
    train: Command, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("-q", "--batch-size", "3")[0] == 0
    # From another folder, with the settings that the run was started with.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run = tmp_path / "run"
    more = ("--resume", "--output-dir", run, "--max-steps", "3")
    code, out, err = command("train-vits", *more)
    assert (code, out) == (0, f"{run}/model\n"), err
    assert "resuming after step 2" in err
    assert "batch 3, 3 steps" in err
    assert "max_steps: 3\n" in (run / "config.yaml").read_text()
    code, _, err = command("train-vits", "--resume", "--output-dir", run)
    assert code == 0
    assert "the run had already reached its last step, 3" in err


def test_the_same_command_with_resume_finds_its_run(
    recordings: Path, tiny_settings: Path, command: Command, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        words = ("train-vits", recordings, "--config", tiny_settings, "-q")
        assert command(*words) == (0, "runs/recordings/model\n", "")
        again = command(*words, "--max-steps", "3", "--resume")
        assert again == (0, "runs/recordings/model\n", "")
        assert latest_checkpoint(Path("runs/recordings/checkpoints")) == Path(
            "runs/recordings/checkpoints/00000003"
        )


def test_a_resume_that_does_not_fit_changes_nothing(train: Command) -> None:
    assert train("-q")[0] == 0
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    for flags, message in (
        (("--hidden-channels", "8"), "does not fit"),
        (("--discriminator-periods", "3,5"), "does not fit"),
        (("--seed", "7"), "the run was started with seed 1234, not 7"),
    ):
        code, out, err = train("-q", "--resume", "--max-steps", "3", *flags)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert message in err
        assert len(err.splitlines()) == 2
    assert {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} == before


def test_discriminators_that_start_later_survive_a_resume(train: Command) -> None:
    later = ("-q", "--discriminator-start", "3")
    assert train(*later, "--max-steps", "2")[0] == 0
    assert train("-q", "--resume", "--max-steps", "5", "--keep", "9")[0] == 0
    lines = read_metrics(Path("run/metrics.jsonl"))
    with_discriminators = [
        x["step"] for x in lines if "loss_adversarial" in x["metrics"]
    ]
    assert with_discriminators == [4, 5]


@pytest.mark.parametrize("absent", ["run", "config", "checkpoint"])
def test_what_cannot_be_resumed(train: Command, trained: Path, absent: str) -> None:
    if absent != "run":
        shutil.copytree(trained, "run")
    if absent == "config":
        Path("run/config.yaml").unlink()
    if absent == "checkpoint":
        shutil.rmtree("run/checkpoints")
    code, out, err = train("--resume")
    assert (code, out) == (1, "")
    expected = {
        "run": "error: there is no run `run` to resume",
        "config": "error: the configuration `run/config.yaml` cannot be read",
        "checkpoint": "error: `run` has no complete checkpoint to resume from",
    }
    assert err.startswith(expected[absent])
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_saved_says_how_to_go_on_and_exits_130(
    train: Command,
    recordings: Path,
    tiny_settings: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    run = tmp_path / "run"
    settings = ("--config", tiny_settings, "-o", run, "--max-steps", "100000")
    with started(recordings, *settings) as process:
        metrics = run / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    *_, error, hint = err.splitlines()
    assert error.startswith("error: stopped by the user at step ")
    assert f"everything is saved in `{run}`" in error
    assert "`--resume` goes on" in hint
    saved = latest_checkpoint(run / "checkpoints")
    assert saved is not None
    step = read_state(saved).step
    assert f"at step {step} of 100000" in error
    assert (run / "model" / "model.safetensors").exists()
    code, _, err = train("--resume", "--max-steps", str(step + 1))
    assert code == 0, err
    assert f"resuming after step {step}" in err


def test_a_run_that_was_killed_is_resumed(
    train: Command, recordings: Path, tiny_settings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    often = ("--checkpoint-every", "1", "--keep", "1", "--max-steps", "100000")
    settings = ("--config", tiny_settings, "-o", run, *often)
    with started(recordings, *settings) as process:
        third = run / "checkpoints" / "00000003"
        later = run / "checkpoints" / "00000004"
        wait_for(lambda: third.exists() or later.exists(), process)
        for flag in ("--resume", "--overwrite", "-q"):
            code, out, err = train(flag)
            assert (code, out) == (1, "")
            assert err.startswith("error: another training is using the run folder `")
            assert len(err.splitlines()) == 2
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGKILL
    saved = latest_checkpoint(run / "checkpoints")
    assert saved is not None
    step = read_state(saved).step
    code, _, err = train("--resume", "--max-steps", str(step + 2))
    assert code == 0, err
    assert f"resuming after step {step}" in err
    hidden = [path for path in run.rglob(".*") if path.name != ".gitignore"]
    assert not hidden
    steps = [line["step"] for line in read_metrics(run / "metrics.jsonl")]
    assert steps == list(range(1, step + 3))


def test_ctrl_c_before_the_first_step_is_one_line(
    recordings: Path, tiny_settings: Path, command: Command, tmp_path: Path
) -> None:
    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_speech.vits.setup.read_corpus", stop)
        words = ("train-vits", recordings, "--config", tiny_settings)
        code, out, err = command(*words, "-o", tmp_path / "run")
    assert (code, out) == (130, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
