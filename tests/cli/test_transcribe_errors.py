"""`mlx-speech transcribe` on what cannot be transcribed: one line, no traceback."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talk.wav", 1)


def with_header(length: int) -> bytes:
    """A wav header that promises what does not follow, in a format that is none."""
    return b"RIFF" + length.to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0" + b"\xff" * 30


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"this is a letter, and no sound at all", "is not readable audio"),
        (with_header(1000), "is not readable audio"),
        (b"RIFF", "is not readable audio"),
        (b"\0\0\0\x20ftypM4A " + b"\0" * 90, ""),
    ],
)
def test_what_is_no_recording(
    run: Run, refusal: Refusal, content: bytes, said: str
) -> None:
    Path("bad.wav").write_bytes(content)
    error, hint = refusal(run("bad.wav", "-f", "txt"))
    assert "bad.wav" in error
    assert said in error
    assert hint
    assert not Path("bad.txt").exists()


def test_a_recording_without_samples(run: Run, refusal: Refusal) -> None:
    soundfile.write("none.wav", np.zeros(0), 16000)
    assert "has no samples" in refusal(run("none.wav"))[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(run: Run, refusal: Refusal, value: float) -> None:
    samples = np.zeros(16000, np.float32)
    samples[77] = value
    soundfile.write("nan.wav", samples, 16000, "FLOAT")
    error, _ = refusal(run("nan.wav"))
    assert "not finite numbers, the first at 77" in error


def test_standard_input_without_anything_in_it(
    run: Run, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, said in ((b"", "is empty"), (b"abc", "not readable audio")):
        stream = SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stream)
        error, _ = refusal(run("-"))
        assert "`standard input`" in error
        assert said in error


def test_a_recording_that_is_not_there(run: Run, refusal: Refusal) -> None:
    assert "no such audio file: `gone.wav`" in refusal(run("gone.wav"))[0]


def test_a_folder_without_recordings(
    run: Run, refusal: Refusal, speak_tones: Callable[..., Path]
) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    error, hint = refusal(run("empty"))
    assert "no recording in the folder `empty`" in error
    assert "--recursive" not in hint
    speak_tones(Path("empty/deeper/a.wav"))
    assert "add --recursive" in refusal(run("empty"))[1]
    assert "add --recursive" in refusal(run("empty", "-o", "out"))[1]
    assert run("empty", "--recursive")[0] == 0


def test_one_failure_does_not_stop_the_rest(run: Run, talk: Path) -> None:
    Path("bad.wav").write_text("no sound")
    Path("empty").mkdir()
    code, out, err = run("bad.wav", "empty", talk, "gone.wav", "-o", "out")
    assert code == 1
    assert out == "out/talk.txt\n"
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert "1 of 4 recordings done" in err
    assert errors[-1] == "error: 3 of 4 failed: `empty`, `bad.wav`, `gone.wav`"
    assert len(list(Path("out").iterdir())) == 1


def test_nothing_at_all_is_wrong_usage(run: Run) -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "Missing argument" in err


@pytest.mark.parametrize(
    ("language", "near"), [("germn", "german"), ("enlish", "english"), ("xx", "code")]
)
def test_an_unknown_language_is_answered_by_near_ones(
    run: Run, talk: Path, refusal: Refusal, language: str, near: str
) -> None:
    error, hint = refusal(run(talk, "--language", language))
    assert f"the language {language!r} is not known" in error
    assert near in hint


def test_a_language_that_the_model_lacks(
    run: Run, talk: Path, refusal: Refusal
) -> None:
    assert "does not know french" in refusal(run(talk, "--language", "fr"))[0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--patience", "2"], "--patience is of the beam search"),
        (["--best-of", "2.5"], "--best-of is 2.5"),
        (["--length-penalty", "3"], "length_penalty is 3.0"),
        (["--suppress-tokens", "a"], "suppress_tokens"),
        (["--clip-timestamps", "3,1"], "clip_timestamps"),
        (["--temperature-increment-on-fallback", "0"], "never comes to an end"),
        (["--temperature-increment-on-fallback", "1e-300"], "never comes to an end"),
        (["--temperature", "inf"], "the temperature inf"),
        (["--beam-size", "5", "--patience", "-1"], "patience"),
        (["--clip-timestamps", "nan,1"], "clip_timestamps"),
        (["--clip-timestamps", "1,inf"], "clip_timestamps"),
        (["--skip-existing"], "--skip-existing has no files"),
        (["--output-name", "{nothing}"], "there is no {nothing}"),
        (["--output-name", "../{stem}"], "is no name inside a folder"),
        (["--output-name", "{stem"], "cannot be filled in"),
        (["--output-name", "{index:z}"], "cannot be filled in"),
    ],
)
def test_flags_that_cannot_be_obeyed(
    run: Run, talk: Path, refusal: Refusal, flags: list[str], said: str
) -> None:
    assert said in refusal(run(talk, *flags))[0]


def test_a_wrong_number_is_answered_by_right_ones(
    run: Run, talk: Path, refusal: Refusal
) -> None:
    error, hint = refusal(run(talk, "--beam-size", "0"))
    assert error == "error: beam_size is 0, less than 1"
    assert hint == "hint: give 1 or more, or None for no beam search"
    drawn = run(talk, "--best-of", "0", "--temperature", "0.5")
    assert "or None for a single sample" in refusal(drawn)[1]
    assert "from 0 to 1" in refusal(run(talk, "--length-penalty", "-1"))[1]


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch-size", "0"],
        ["-f", "doc"],
        ["--temperature", "-1"],
        ["--x"],
        ["--best-of", "nan"],
        ["--best-of", "inf"],
        ["--patience", "inf"],
        ["--logprob-threshold", "nan"],
        ["--hallucination-silence-threshold", "-1"],
    ],
)
def test_wrong_values_are_wrong_usage(run: Run, talk: Path, flags: list[str]) -> None:
    code, out, err = run(talk, *flags)
    assert (code, out) == (2, "")
    assert flags[0] in err


def test_a_template_that_gives_a_name_twice(
    run: Run, talk: Path, refusal: Refusal
) -> None:
    shutil.copyfile(talk, "other.wav")
    error, hint = refusal(run(talk, "other.wav", "--output-name", "all"))
    assert "the same name, 'all'" in error
    assert "{index}" in hint


@pytest.mark.parametrize("place", ["taken", "taken/deeper"])
def test_an_output_folder_that_cannot_be_is_told_before_the_model_is_loaded(
    run: Run, talk: Path, refusal: Refusal, place: str
) -> None:
    Path("taken").touch()
    error, _ = refusal(run(talk, "-o", place, "-m", "no-such-model-at-all"))
    assert "is a file, not a folder" in error


def test_a_full_disk_ends_the_run(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(talk, "other.wav")

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mlx_speech.files._flush", full)
    code, out, err = run(talk, "other.wav", "-o", "out")
    assert (code, out) == (1, "")
    assert "no space left on the disk" in err
    assert "other.wav" not in err
    assert err.count("error: ") == 1
    assert list(Path("out").iterdir()) == []


def test_a_disk_that_breaks_is_one_line(
    run: Run, talk: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("mlx_speech.files._flush", broken)
    assert "Input/output error" in refusal(run(talk, "-o", "out"))[0]


def test_a_model_of_no_such_name(run: Run, talk: Path, refusal: Refusal) -> None:
    error, hint = refusal(run(talk, "-m", "trubo"))
    assert "no model is called 'trubo'" in error
    assert "turbo" in hint
    assert "no file or folder `./gone`" in refusal(run(talk, "-m", "./gone"))[0]


def test_a_model_that_is_not_on_this_machine_names_the_bundled_one(
    run: Run, talk: Path, refusal: Refusal, tmp_path: Path
) -> None:
    for flags in (["-m", "turbo"], ["-m", "someone/model"]):
        given = (talk, *flags, "--offline", "--model_dir", tmp_path / "cache")
        error, hint = refusal(run(*given))
        assert "not on this machine, and this run is offline" in error
        assert "-m bundled" in hint


def test_a_hub_that_does_not_answer_names_the_bundled_one(
    run: Run,
    talk: Path,
    refusal: Refusal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    error, hint = refusal(run(talk, "-m", "turbo", "--model-dir", tmp_path / "cache"))
    assert "http://127.0.0.1:9 cannot be reached" in error
    assert "-m bundled" in hint


def test_an_installation_without_the_bundled_model(
    run: Run, talk: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_speech.models.BUNDLED_FOLDER", "not-there")
    error, hint = refusal(run(talk, "-m", "bundled"))
    assert "no bundled recogniser" in error
    assert "turbo" in hint


def test_the_bundled_model_is_found_in_the_package(
    run: Run,
    talk: Path,
    whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(whisper_folder, tmp_path / "weights/recogniser")
    monkeypatch.setattr("mlx_speech.models.files", lambda name: tmp_path / "weights")
    assert run(talk, "-m", "bundled", "--offline") == run(talk)


def test_a_voice_does_not_transcribe(
    run: Run, talk: Path, refusal: Refusal, whisper_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "voice").mkdir()
    (tmp_path / "voice/config.json").write_text('{"model_type": "vits"}')
    error, _ = refusal(run(talk, "-m", "voice"))
    assert "does not transcribe" in error


@pytest.mark.parametrize("wrong", [{"d_model": 24}, {"encoder_layers": 2}, "no object"])
def test_a_config_that_does_not_fit_its_weights(
    run: Run, talk: Path, refusal: Refusal, whisper_folder: Path, wrong: Any
) -> None:
    shutil.copytree(whisper_folder, "model")
    config = json.loads(Path("model/config.json").read_text())
    content = config | wrong if isinstance(wrong, dict) else wrong
    Path("model/config.json").write_text(json.dumps(content))
    error, _ = refusal(run(talk, "-m", "model"))
    assert "model" in error


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_weights_that_are_cut_off(
    run: Run, talk: Path, refusal: Refusal, whisper_folder: Path, share: float
) -> None:
    shutil.copytree(whisper_folder, "model")
    weights = Path("model/model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    assert "model.safetensors" in refusal(run(talk, "-m", "model"))[0]
