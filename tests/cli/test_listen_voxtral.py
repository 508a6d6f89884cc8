"""`mlx-speech listen` with Voxtral Realtime; a recording stands for the microphone."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_speech.cli import listen as listen_command
from mlx_speech.cli.live_sound import LiveSound, RecordedSound, Stretch
from mlx_speech.hub.save import save_safetensors
from mlx_speech.voxtral.listening import load, transcribe

Run = Callable[..., tuple[int, str, str]]
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    path = GOLDENS / "voxtral_realtime_recipe.py"
    spec = importlib.util.spec_from_file_location("voxtral_realtime_recipe", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(recipe: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxtral")
    (folder / "config.json").write_text(json.dumps(recipe.hf_config()))
    (folder / "tekken.json").write_text(json.dumps(recipe.tekken()))
    arrays = {name: mx.array(value) for name, value in recipe.state().items()}
    save_safetensors(folder / "model.safetensors", arrays)
    return folder


@pytest.fixture
def samples(recipe: ModuleType) -> np.ndarray:
    return recipe.clip("long").astype(np.float32) / 32768


@pytest.fixture
def run(command: Run, recipe: ModuleType, model: Path, tmp_path: Path) -> Run:
    soundfile.write(tmp_path / "talk.wav", recipe.clip("long"), 16000)
    return partial(command, "listen", "-m", model, "--input", tmp_path / "talk.wav")


def test_text_comes_while_it_is_heard(
    run: Run, model: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    expected = transcribe(load(model), samples)
    output = tmp_path / "talk.srt"
    code, out, err = run("-o", output)
    assert code == 0, err
    assert out.strip() == expected.text.strip()
    assert output.read_text().count("-->") == len(expected.segments) > 0
    assert "listening; Ctrl-C ends" in err
    code, out, _ = run("-v")
    lines = out.strip().splitlines()
    assert code == 0 and len(lines) == len(expected.segments)
    assert all(line.startswith("[00:0") and "-->" in line for line in lines)


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Callable[[LiveSound], None]:
    """Let this sound be heard."""

    def replace(sound: LiveSound) -> None:
        monkeypatch.setattr(
            listen_command, "find_sound", lambda *_: lambda: nullcontext(sound)
        )

    return replace


def test_ctrl_c_keeps_what_was_said(
    run: Run,
    model: Path,
    samples: np.ndarray,
    tmp_path: Path,
    hear: Callable[[LiveSound], None],
) -> None:
    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), 1600):
            if start == 36_800:
                os.kill(os.getpid(), signal.SIGINT)
            yield samples[start : start + 1600]

    hear(RecordedSound(blocks()))
    output = tmp_path / "talk.txt"
    code, out, _ = run("-o", output)
    expected = transcribe(load(model), samples[:36_800])
    assert code == 0 and out.strip() == expected.text.strip()
    assert output.read_text().split() == expected.text.split()


def test_a_second_ctrl_c_ends_the_line(
    run: Run, samples: np.ndarray, hear: Callable[[LiveSound], None]
) -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield samples
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    hear(RecordedSound(blocks()))
    code, out, err = run()
    assert code == 130
    assert out.strip() and out.endswith("\n")
    assert err.splitlines()[-2].startswith("error: stopped; what was said last")


def test_nothing_at_all_is_no_error(
    run: Run, tmp_path: Path, hear: Callable[[LiveSound], None]
) -> None:
    hear(RecordedSound([]))
    code, out, _ = run("-o", tmp_path / "talk.txt")
    assert (code, out) == (0, "")
    assert (tmp_path / "talk.txt").read_text() == ""


def test_after_a_gap_the_model_begins_anew_with_the_right_times(
    run: Run,
    model: Path,
    samples: np.ndarray,
    tmp_path: Path,
    hear: Callable[[LiveSound], None],
) -> None:
    class Gapped(LiveSound):
        def stretches(self) -> Iterator[Stretch]:
            yield Stretch(0.0, iter([samples]))
            yield Stretch(100.0, iter([samples]))

    hear(Gapped())
    output = tmp_path / "talk.json"
    assert run("-o", output)[0] == 0
    one = transcribe(load(model), samples).segments
    found = json.loads(output.read_text())["segments"]
    assert len(found) == 2 * len(one) > 0
    assert [each["id"] for each in found] == list(range(len(found)))
    for index, segment in enumerate(found):
        expected, moved = one[index % len(one)], 100.0 * (index // len(one))
        assert segment["text"] == expected.text
        assert segment["start"] == pytest.approx(expected.start + moved)
        assert segment["end"] == pytest.approx(expected.end + moved)
        assert expected.words is not None
        for word, other in zip(segment["words"], expected.words, strict=True):
            assert word["start"] == pytest.approx(other.start + moved)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pause", 1.0], "--pause and --max-seconds mean nothing"),
        (["-l", "en"], "cannot be told the language"),
        (["--task", "translate"], "--task means nothing to VoxtralRealtime"),
    ],
)
def test_flags_of_utterances_are_refused(
    run: Run, flags: list[str], message: str
) -> None:
    code, out, err = run(*flags)
    assert (code, out) == (1, "") and message in err
