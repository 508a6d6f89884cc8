"""Running the command line inside the test process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run ``mlx-speech`` with arguments: exit code, standard output and error.

    Runs draw no loss curves: that takes longer than all else in these tests.
    """
    from mlx_speech.cli import main as command_line

    monkeypatch.setattr("mlx_speech.training.keeper.plot_losses", lambda *_: True)
    monkeypatch.setattr("mlx_speech.vits.train.find_spec", lambda name: None)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr("sys.argv", ["mlx-speech", *map(str, arguments)])
        code = 0
        try:
            command_line.main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def recordings(
    record_tones: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Six recordings; not to be changed."""
    return record_tones(tmp_path_factory.mktemp("data") / "recordings")


@pytest.fixture(scope="session")
def trained(
    recordings: Path, tiny_settings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished run of two steps; not to be changed."""
    from dataclasses import replace

    from mlx_speech.training import dump_config, load_config, run_training
    from mlx_speech.vits.setup import prepare_task
    from mlx_speech.vits.training_config import VitsTrainConfig

    folder = tmp_path_factory.mktemp("run") / "finished"
    config = load_config(VitsTrainConfig, tiny_settings)
    config = replace(config, data=str(recordings))
    task = prepare_task(config, recordings, None, folder / "features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_speech.training.keeper.plot_losses", lambda *_: True)
        run_training(task, config.loop_settings(), folder)
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the recordings in `data`."""
    shutil.copytree(recordings, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(command: Command, tiny_settings: Path) -> Command:
    """Run `train-vits` with small settings."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return command("train-vits", *arguments, "--config", tiny_settings)

    return run


@pytest.fixture
def refusal() -> Callable[[tuple[int, str, str]], tuple[str, str]]:
    """Take a failed command's result apart: its one error line, and its hint."""

    def check(result: tuple[int, str, str]) -> tuple[str, str]:
        code, out, err = result
        assert code == 1, err
        assert out == ""
        lines = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert lines[0].startswith("error: "), err
        assert [line[:6] for line in lines[1:]] in ([], ["hint: "]), err
        return lines[0], lines[1] if lines[1:] else ""

    return check


@pytest.fixture
def make_metadata() -> Callable[..., None]:
    """Give a folder a `metadata.csv` of these lines instead of its transcripts."""

    def write(folder: Path, lines: list[str], encoding: str = "utf-8") -> None:
        for path in folder.glob("*.txt"):
            path.unlink()
        (folder / "metadata.csv").write_text("\n".join(lines), encoding=encoding)

    return write
