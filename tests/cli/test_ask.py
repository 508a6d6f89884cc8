"""`mlx-speech ask`: answers of a tiny Voxtral, and questions that make no sense."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_speech.hub.save import save_safetensors
from mlx_speech.voxtral.listening import load
from mlx_speech.voxtral.prompt import Turn
from mlx_speech.voxtral.transcribe import CHAT_SAMPLING
from mlx_speech.voxtral.transcribe import ask as answer_to

Run = Callable[..., tuple[int, str, str]]
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, made: ModuleType) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(made.hf_config()))
    (folder / "tekken.json").write_text(json.dumps(made.tekken()))
    arrays = {name: mx.array(value) for name, value in made.state().items()}
    save_safetensors(folder / "model.safetensors", arrays)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxtral")
    return write(folder / "model", recipe("voxtral_recipe"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, made = tmp_path_factory.mktemp("clips"), recipe("voxtral_recipe")
    paths = [folder / "short.wav", folder / "other clip.wav"]
    for path, name in zip(paths, ("short", "other"), strict=True):
        soundfile.write(path, made.clip(name), 16000)
    return paths


@pytest.fixture
def run(command: Run, model: Path) -> Run:
    return partial(command, "ask", "-m", model, "--max-tokens", 6)


def test_a_recording_that_broke_off_is_told_of(
    run: Run, clips: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(clips[0].read_bytes()[: -2 * 8000])
    code, _, err = run(path, "Which is louder?", "-q")
    assert code == 0
    assert f"note: `{path}` breaks off: the last 0.5 s that its header" in err


def test_the_answer_is_that_of_the_library(
    run: Run, model: Path, clips: list[Path]
) -> None:
    samples = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    turns = [Turn("user", [*samples, "Which is louder?"])]
    expected = answer_to(load(model), turns, max_tokens=6)
    code, out, err = run(*clips, "Which is louder?")
    assert code == 0
    assert out.strip() == expected.text and out.endswith("\n")
    assert "the answer was cut after 6 tokens; --max-tokens" in err
    code, out, _ = run(*clips, "Which is louder?", "--json")
    assert json.loads(out) == {
        "files": [str(clip) for clip in clips],
        "question": "Which is louder?",
        "answer": expected.text,
        "tokens": 6,
        "truncated": True,
    }


def test_a_question_may_be_longer_than_a_file_name(run: Run, clips: list[Path]) -> None:
    code, out, _ = run(clips[1], "Who speaks, and about what? " * 200, "-q")
    assert code == 0 and out.endswith("\n")


def test_draws_follow_the_seed(run: Run, clips: list[Path]) -> None:
    arguments = [clips[1], "What?", "--temperature", 3, "-q"]
    first = run(*arguments, "--seed", 1)
    assert first == run(*arguments, "--seed", 1) and first[2] == ""
    assert first[1] != run(*arguments, "--seed", 2)[1]
    assert CHAT_SAMPLING.top_p == 0.95


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["What is said?"], "the question is there, but no recording"),
        (["short.wav"], "`short.wav` is a recording, and the question is missing"),
        (["-"], "`-` is a recording, and the question is missing"),
        (["-", "-", "Same?"], "standard input can be only one"),
        (["nowhere.wav", "What?"], "no such audio file: `nowhere.wav`"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    run: Run,
    clips: list[Path],
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(clips[0].parent)
    code, out, err = run(*words)
    assert (code, out) == (1, "") and message in err


def test_models_that_only_transcribe_are_refused(
    command: Run, clips: list[Path], tmp_path: Path
) -> None:
    stream = write(tmp_path / "realtime", recipe("voxtral_realtime_recipe"))
    code, out, err = command("ask", "-m", stream, clips[1], "What?")
    assert (code, out) == (1, "") and "answers no questions" in err


def test_recordings_that_are_too_long_are_refused(run: Run, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(41 * 60 * 16000, np.int16), 16000)
    code, out, err = run(long, "What is said?")
    assert (code, out) == (1, "")
    assert "41.0 minutes are too long for one prompt" in err
