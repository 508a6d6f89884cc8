"""Running the command line inside the test process."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

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


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``fakes/sounddevice.py`` in place of sounddevice, as new."""
    path = Path(__file__).parent / "fakes" / "sounddevice.py"
    spec = importlib.util.spec_from_file_location("sounddevice", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


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


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper of random weights that brings its own vocabulary."""
    import mlx.core as mx

    from mlx_speech.whisper.checkpoints import save_whisper
    from mlx_speech.whisper.config import WhisperConfig
    from mlx_speech.whisper.model import Whisper
    from mlx_speech.whisper.vocabulary import (
        SpecialTokens,
        Vocabulary,
        write_vocabulary,
    )

    pieces = {bytes([value]): value for value in range(256)}
    pieces |= {
        f" {chr(97 + n % 26)}{chr(97 + n // 26)}".encode(): 256 + n for n in range(128)
    }
    special = SpecialTokens.following(384, ("en", "de", "ja"), timestamps=41)
    vocabulary = Vocabulary(pieces, special, multilingual=True)
    config = WhisperConfig(
        **{"n_mels": 80, "n_audio_ctx": 20, "n_audio_state": 16, "n_audio_head": 2},
        **{"n_audio_layer": 1, "n_vocab": vocabulary.size, "n_text_ctx": 32},
        **{"n_text_state": 16, "n_text_head": 2, "n_text_layer": 1},
    )
    mx.random.seed(3)
    model = Whisper(config)
    model.decoder.embed_positions = mx.random.normal((32, 16))
    # What random weights say is words, not bytes.
    known = mx.arange(vocabulary.size)[:, None] >= 256
    model.decoder.embed_tokens.weight = model.decoder.embed_tokens.weight * known
    folder = tmp_path_factory.mktemp("whisper") / "tiny"
    save_whisper(folder, model, special_tokens=special.names())
    write_vocabulary(folder, vocabulary)
    return folder


@pytest.fixture
def run(
    command: Command,
    whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Command the command with the tiny model in an empty folder, one try a window."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("MLX_SPEECH_MODEL", str(whisper_folder))
    return partial(command, "transcribe", "--temperature-increment-on-fallback", "None")


@pytest.fixture(scope="session")
def speak_tones() -> Callable[..., Path]:
    """Write a recording in which tones of 0.7 s stand between pauses of 0.6 s."""

    def write(path: Path, tones: int = 2, hertz: float = 330.0) -> Path:
        import numpy as np
        import soundfile

        path.parent.mkdir(parents=True, exist_ok=True)
        rate = 16000
        time = np.arange(round(0.7 * rate)) / rate
        tone = 0.4 * np.sin(2 * np.pi * hertz * time) * np.hanning(len(time)) ** 0.25
        pause = np.zeros(round(0.6 * rate))
        draw = np.random.default_rng(0)
        samples = np.concatenate([pause, *[tone, pause] * tones])
        samples += 0.001 * draw.standard_normal(len(samples))
        soundfile.write(path, samples, rate)
        return path

    return write


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
