"""`mlx-speech transcribe` with both of Voxtral's releases."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest
import soundfile

from mlx_speech.hub.save import save_safetensors
from mlx_speech.voxtral.listening import TranscriptionOptions, load, transcribe

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
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxtral")
    return write(folder / "mini", recipe("voxtral_recipe"))


@pytest.fixture(scope="module")
def realtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxtral")
    return write(folder / "realtime", recipe("voxtral_realtime_recipe"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, recipe("voxtral_recipe").clip("other"), 16000)
    return path


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_speech.voxtral.transcribe.token_limit", lambda _: 6)


@pytest.fixture
def text(mini: Path, clip: Path) -> str:
    samples = soundfile.read(clip, dtype="float32")[0]
    return transcribe(load(mini), samples).text


def test_text_streams_and_what_was_cut_is_said(
    command: Run, mini: Path, clip: Path, text: str
) -> None:
    code, out, err = command("transcribe", "-m", mini, clip)
    assert code == 0 and out.strip() == text.strip() and out.endswith("\n")
    assert "reached its limit, and may lack its end" in err
    # Incomplete text is not talk.
    code, quiet, err = command("transcribe", "-m", mini, clip, "-q")
    assert (code, quiet) == (0, out) and "reached its limit" in err


def test_files_are_as_of_any_model(
    command: Run, mini: Path, clip: Path, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "out"
    code, _, _ = command(
        "transcribe", "-m", mini, clip, "-o", folder, "-f", "srt", "-f", "json"
    )
    assert code == 0
    content = json.loads((folder / "clip.json").read_text())
    (segment,) = content["segments"]
    assert content["text"] == text
    assert content["truncated"] == [[segment["start"], segment["end"]]]
    assert "00:00:00" in (folder / "clip.srt").read_text()
    code, out, _ = command("transcribe", "-m", mini, clip, "--json", "-l", "german")
    assert code == 0 and json.loads(out)["language"] == "de"


def test_realtime_gives_subtitles_with_words(
    command: Run, realtime: Path, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    arguments = ["--word-timestamps", "True", "--max-words-per-line", 1]
    code, _, err = command(
        "transcribe", "-m", realtime, clip, "-o", folder, "-f", "vtt", *arguments
    )
    assert code == 0, err
    samples = soundfile.read(clip, dtype="float32")[0]
    words = [
        word
        for segment in transcribe(load(realtime), samples).segments
        for word in segment.words or ()
    ]
    assert (folder / "clip.vtt").read_text().count("-->") == len(words) > 1
    code, out, _ = command("transcribe", "-m", realtime, clip)
    assert code == 0 and out.strip() == transcribe(load(realtime), samples).text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beam-size", 3], "--beam-size means nothing to Voxtral"),
        (["--task", "translate"], "--task means nothing to Voxtral"),
        (["--word-timestamps", "True"], "tells no times of words"),
        (["--delay-ms", 160], "hears a piece as a whole, without a delay"),
        (["--delay-ms", 100], "--delay-ms is 100, between two steps"),
        (["--piece-seconds", 1801], "pieces of 1801 s cannot be transcribed"),
        (["-l", "ja"], "does not know the language 'ja'"),
    ],
)
def test_what_voxtral_does_not_do_is_one_line(
    command: Run, mini: Path, clip: Path, flags: list[str], message: str
) -> None:
    code, out, err = command("transcribe", "-m", mini, clip, *flags)
    assert (code, out) == (1, "") and message in err


def test_pieces_and_delays_may_be_chosen(
    command: Run, mini: Path, realtime: Path, clip: Path
) -> None:
    samples = soundfile.read(clip, dtype="float32")[0]
    code, out, err = command(
        "transcribe", "-m", mini, clip, "--piece-seconds", 2, "--json"
    )
    assert code == 0, err
    spans = [
        (segment["start"], segment["end"]) for segment in json.loads(out)["segments"]
    ]
    assert len(spans) == 2 and all(end - start <= 2 for start, end in spans)
    code, out, _ = command("transcribe", "-m", realtime, clip, "--delay-ms", 240)
    options = TranscriptionOptions(delay_tokens=3)
    expected = transcribe(load(realtime), samples, options).text
    assert code == 0 and out.strip() == expected
    assert expected != transcribe(load(realtime), samples).text


def test_whisper_has_neither(command: Run, whisper_folder: Path, clip: Path) -> None:
    for flag, value in (("--piece-seconds", 20), ("--delay-ms", 80)):
        code, _, err = command("transcribe", "-m", whisper_folder, clip, flag, value)
        assert code == 1 and f"{flag} means nothing to Whisper" in err


def test_a_folder_without_tokenizer_is_one_line(
    command: Run, clip: Path, tmp_path: Path
) -> None:
    folder = write(tmp_path / "bare", recipe("voxtral_recipe"))
    (folder / "tekken.json").unlink()
    code, out, err = command("transcribe", "-m", folder, clip)
    assert (code, out) == (1, "") and "has no tokenizer, tekken.json" in err
