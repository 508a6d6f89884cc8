"""`mlx-speech transcribe`: text, files, JSON, names, what is skipped, options."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import mlx_speech
from mlx_speech.audio import Span
from mlx_speech.writers import FORMATS, WriterOptions, render

Run = Callable[..., tuple[int, str, str]]
# Random weights never satisfy the thresholds; one try is enough.
ONCE = ("--temperature_increment_on_fallback", "None")


@pytest.fixture
def run(
    command: Run,
    whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run the command with the tiny model in an empty folder, one try a window."""
    monkeypatch.chdir(tmp_path)
    return partial(command, "transcribe", "-m", whisper_folder, *ONCE)


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talk.wav")


def expected(whisper_folder: Path, path: Path, **options: Any) -> Any:
    """What the library hears."""
    settings = {"temperature": 0.0, **options}
    return mlx_speech.transcribe(path, whisper_folder, **settings)


def test_text_goes_to_standard_output(
    run: Run, talk: Path, whisper_folder: Path, tmp_path: Path
) -> None:
    result = expected(whisper_folder, talk, language="en")
    assert result.text.strip()
    code, out, err = run(talk, "--language", "English")
    assert (code, err) == (0, "")
    assert out == render(result, "txt")
    assert list(tmp_path.iterdir()) == [talk]


def test_verbose_text_has_times_and_the_detected_language(run: Run, talk: Path) -> None:
    code, out, err = run(talk, "-v")
    assert code == 0
    assert out.startswith("[00:00.")
    assert " --> " in out.splitlines()[0]
    assert err.startswith("the language is ")
    code, out, err = run(talk, "--verbose", "False")
    assert (code, err) == (0, "")
    assert not out.startswith("[")


def test_texts_of_several_recordings_stand_below_their_names(
    run: Run, talk: Path, speak_tones: Callable[..., Path], tmp_path: Path
) -> None:
    other = speak_tones(tmp_path / "other.wav", 1)
    alone = [run(path)[1] for path in (talk, other)]
    code, out, err = run(talk, other, "-q")
    assert (code, err) == (0, "")
    assert out == f"==> {talk} <==\n{alone[0]}\n==> {other} <==\n{alone[1]}"


def test_every_format_equals_the_library(
    run: Run, talk: Path, whisper_folder: Path
) -> None:
    result = expected(whisper_folder, talk)
    code, out, err = run(talk, "-f", "all", "--output_dir", "texts")
    assert (code, err) == (0, "")
    assert out.split() == [f"texts/talk.{format}" for format in FORMATS]
    for format in FORMATS:
        written = Path(f"texts/talk.{format}").read_bytes().decode()
        assert written == render(result, format), format


def test_formats_are_written_once_each_into_the_current_folder(
    run: Run, talk: Path, tmp_path: Path
) -> None:
    code, out, _ = run(talk, "-f", "srt", "--output_format", "txt", "-f", "srt")
    assert (code, out) == (0, "talk.srt\ntalk.txt\n")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("talk.wav", "talk.srt", "talk.txt")
    }


def test_json_goes_to_standard_output_a_line_each(
    run: Run, talk: Path, whisper_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    result = expected(whisper_folder, talk)
    code, out, err = run(talk, "bad.wav", "--json", "-q")
    assert code == 1
    first, second = map(json.loads, out.splitlines())
    assert first == {
        "file": str(talk),
        **json.loads(json.dumps(result.to_dict())),
        "duration": result.duration,
    }
    assert second["file"] == "bad.wav"
    assert "not readable audio" in second["error"]
    assert "1 of 2 failed: `bad.wav`" in err


def test_json_beside_files_prints_no_paths(run: Run, talk: Path) -> None:
    code, out, _ = run(talk, "--json", "-f", "vtt")
    assert code == 0
    assert json.loads(out)["language"] in ("en", "de", "ja")
    assert Path("talk.vtt").is_file()


def test_standard_input(run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(buffer=io.BytesIO(talk.read_bytes()))
    monkeypatch.setattr("sys.stdin", stream)
    code, out, err = run("-", "-f", "txt")
    assert (code, out, err) == (0, "stdin.txt\n", "")
    assert Path("stdin.txt").read_text() == run(talk)[1]


def test_folders_are_walked_and_their_folders_kept(
    run: Run, speak_tones: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("in/a.wav", "in/a.flac", "in/day 1/b.wav", "in/.hidden/c.wav"):
        speak_tones(tmp_path / name, 1)
    (tmp_path / "in/notes.txt").write_text("no recording")
    code, out, err = run("in", "-o", "out")
    assert (code, out.splitlines()) == (0, ["out/a.flac.txt", "out/a.wav.txt"])
    assert "2 of 2 recordings done: 0:04 in " in err
    code, out, _ = run("in", "in/a.wav", "-r", "-o", "deep", "-f", "srt")
    assert code == 0
    assert out.splitlines() == [
        *("deep/a.flac.srt", "deep/a.wav.srt", "deep/day 1/b.srt")
    ]


def test_what_is_done_is_skipped_and_what_is_half_done_is_not(
    run: Run, speak_tones: Callable[..., Path], tmp_path: Path
) -> None:
    for name in "abc":
        speak_tones(tmp_path / f"in/{name}.wav", 1)
    given = ("in", "-o", "out", "-f", "txt", "-f", "srt", "--skip_existing")
    assert run(*given)[0] == 0
    whole = Path("out/b.srt").read_text()
    Path("out/b.srt").unlink()
    Path("out/a.txt").write_text("kept")
    code, out, err = run(*given)
    assert (code, out.splitlines()) == (0, ["out/b.txt", "out/b.srt"])
    assert "2 of 3 recordings are done already" in err
    assert Path("out/b.srt").read_text() == whole
    assert Path("out/a.txt").read_text() == "kept"
    assert run(*given) == (0, "", "3 of 3 recordings are done already\n")
    assert run(*given[:-1])[0] == 0
    assert Path("out/a.txt").read_text() != "kept"


def test_a_template_names_the_outputs(
    run: Run, speak_tones: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("in/x/a.wav", "in/y/a.wav"):
        speak_tones(tmp_path / name, 1)
    code, out, _ = run("in", "-r", "--output-name", "{parent}/{index}-{name}")
    assert (code, out.split()) == (0, ["x/1-a.wav.txt", "y/2-a.wav.txt"])


def test_lines_of_subtitles_bring_the_times_of_words(
    run: Run, talk: Path, whisper_folder: Path
) -> None:
    options = {"max_words_per_line": 1, "highlight_words": True}
    result = expected(whisper_folder, talk, word_timestamps=True)
    assert result.has_words
    code, _, err = run(talk, "-f", "srt", "--max_words_per_line", 1)
    assert (code, err) == (0, "")
    written = Path("talk.srt").read_text()
    assert written == render(result, "srt", WriterOptions(max_words_per_line=1))
    code, *_ = run(
        talk, "-f", "vtt", "--max-words-per-line", 1, "--highlight_words", "True"
    )
    assert code == 0
    assert Path("talk.vtt").read_text() == render(
        result, "vtt", WriterOptions(**options)
    )


@pytest.mark.parametrize(
    ("flags", "note"),
    [
        (["--max-line-count", 2], "--max-line-count has no effect without"),
        (
            ["--max-line-width", 20, "--max-words-per-line", 3],
            "--max-words-per-line has no effect with",
        ),
    ],
)
def test_flags_without_effect_are_noted(
    run: Run, talk: Path, flags: list[Any], note: str
) -> None:
    code, _, err = run(talk, "-f", "srt", *flags)
    assert code == 0
    assert note in err


def test_every_flag_reaches_the_library(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[str, Any] = {}

    result = mlx_speech.writers.Transcription(" hi", [], "de", 1.0)
    monkeypatch.setattr(
        "mlx_speech.models.transcribe",
        lambda samples, model, **options: heard.update(options) or result,
    )
    flags = {
        "task": "translate",
        "language": "de",
        "best_of": 3,
        "beam_size": 4,
        "patience": 1.5,
        "length_penalty": 0.5,
        "suppress_tokens": "1,2",
        "initial_prompt": "a b",
        "carry_initial_prompt": True,
        "condition_on_previous_text": False,
        "compression_ratio_threshold": None,
        "logprob_threshold": -2.0,
        "no_speech_threshold": None,
        "clip_timestamps": "1,2",
        "hotwords": "Ada",
        "multilingual": True,
        "exact": True,
        "batch_size": 2,
        "word_timestamps": True,
        "prepend_punctuations": "(",
        "append_punctuations": ")",
        "hallucination_silence_threshold": 2.0,
    }
    words = [
        word for name, value in flags.items() for word in (f"--{name}", str(value))
    ]
    code, _, err = run(talk, *words, "-q", "--no-vad", "--temperature", 0.4)
    assert (code, err) == (0, "")
    listener = heard.pop("listener")
    assert callable(listener)
    assert heard.pop("temperature") == (0.4,)
    assert heard.pop("find_speech") is None
    assert heard == flags


def test_silero_finds_the_speech_when_asked(
    run: Run, talk: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_half(samples: np.ndarray, rate: int) -> list[Span]:
        return [Span(1.7, len(samples) / rate)]

    monkeypatch.setattr("mlx_speech.audio.silero.find_speech_by_silero", second_half)
    code, out, _ = run(talk, "--vad-method", "silero", "-v")
    assert code == 0
    assert float(out[4:10]) >= 1.7
    expected = mlx_speech.transcribe(
        talk, whisper_folder, temperature=0.0, find_speech=second_half
    )
    assert len(out.splitlines()) == len(expected.segments) > 0


def test_temperatures_are_those_of_openai(
    command: Run, talk: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    result = mlx_speech.writers.Transcription(" hi", [], "de", 1.0)
    monkeypatch.setattr(
        "mlx_speech.models.transcribe",
        lambda samples, model, temperature, **_: heard.append(temperature) or result,
    )
    for flags in ([], ["--temperature", 0.5], ["--temperature", 3]):
        assert command("transcribe", talk, "-m", whisper_folder, *flags)[0] == 0
    assert heard[0] == tuple(np.arange(0.0, 1.0 + 1e-6, 0.2).tolist())
    assert heard[1] == tuple(np.arange(0.5, 1.0 + 1e-6, 0.2).tolist())
    assert heard[2] == (3.0,)


def test_half_precision_is_a_flag(run: Run, talk: Path) -> None:
    assert run(talk, "--fp16", "False")[1] == run(talk)[1]
    assert run(talk, "--fp16", "True")[0] == 0


def test_silence_and_short_sounds_say_nothing(run: Run, tmp_path: Path) -> None:
    for name, samples in (
        ("silence.wav", np.zeros(32000)),
        ("noise.wav", 0.01 * np.random.default_rng(0).standard_normal(64000)),
        ("short.wav", np.full(160, 0.1)),
    ):
        soundfile.write(tmp_path / name, samples, 16000)
        code, out, err = run(name, "-f", "txt", "-f", "json")
        stem = name.removesuffix(".wav")
        assert (code, out) == (0, f"{stem}.txt\n{stem}.json\n")
        assert err == f"note: nothing is said in `{name}`\n"
        assert Path(f"{stem}.txt").read_text() == ""
        written = json.loads(Path(f"{stem}.json").read_text())
        assert (written["text"], written["segments"]) == ("", [])
        assert run(name, "-q") == (0, "", "")


def test_a_draft_changes_no_word(
    run: Run, talk: Path, whisper_folder: Path, tmp_path: Path
) -> None:
    assert run(talk, "--draft", whisper_folder) == run(talk)
    code, out, err = run(talk, "--draft", tmp_path / "gone")
    assert (code, out) == (1, "")
    assert "gone" in err


def test_a_draft_must_fit(
    run: Run, talk: Path, whisper_folder: Path, tmp_path: Path
) -> None:
    import mlx.core as mx

    from mlx_speech.whisper.checkpoints import load_whisper, save_whisper
    from mlx_speech.whisper.model import Whisper

    config = load_whisper(whisper_folder).config
    mx.random.seed(1)
    other = Whisper(dataclasses.replace(config, n_text_ctx=24))
    save_whisper(tmp_path / "other", other)
    code, out, err = run(talk, "--draft", tmp_path / "other")
    assert (code, out) == (1, "")
    assert "the draft has 24 tokens at most and the model 32" in err
