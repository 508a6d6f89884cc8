"""`mlx-speech transcribe` with flags as openai-whisper's users spell and mix them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]


@pytest.fixture
def talk(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    return speak_tones(tmp_path / "talk.wav", 1)


@pytest.mark.parametrize(
    "flag",
    [
        *("--best_of", "--beam_size", "--patience", "--length_penalty"),
        *("--max_line_width", "--max_line_count", "--max_words_per_line"),
        *("--hallucination_silence_threshold", "--compression_ratio_threshold"),
        *("--logprob_threshold", "--no_speech_threshold", "--threads"),
    ],
)
def test_none_is_what_no_flag_is(run: Run, talk: Path, flag: str) -> None:
    plain = run(talk, "--language", "en")
    assert run(talk, "--language", "en", flag, "None") == plain


def test_no_threads_are_the_usual_ones(run: Run, talk: Path) -> None:
    assert run(talk, "--threads", "0") == run(talk)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--max-line-width", "0"),
        ("--max-line-count", "-1"),
        ("--max-words-per-line", "1.5"),
        ("--hallucination-silence-threshold", "-1"),
        ("--hallucination-silence-threshold", "nan"),
        ("--threads", "-2"),
        ("--patience", "many"),
    ],
)
def test_no_such_limits(run: Run, talk: Path, flag: str, value: str) -> None:
    code, out, err = run(talk, flag, value)
    assert (code, out) == (2, "")
    assert flag in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--language", "de"], "hears English only, and the language is german"),
        (["--language", "Japanese"], "hears English only, and the language is japan"),
        (["--task", "translate"], "hears English only, and has nothing to translate"),
        (["--multilingual"], "hears English only, and has no languages to detect"),
    ],
)
def test_an_english_model_does_not_pretend_to_hear_more(
    run: Run, talk: Path, refusal: Refusal, flags: list[str], said: str
) -> None:
    error, hint = refusal(run(talk, "-m", "bundled", *flags))
    assert said in error
    assert "`bundled`" in error
    assert flags[0] in hint
    assert run(talk, "-m", "bundled", "--language", "English")[0] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--exact", "--no-vad"], "--no-vad has no effect with --exact"),
        (["--exact", "--batch-size", 2], "--batch-size has no effect with --exact"),
        (["--draft", "small", "--beam-size", 2], "--draft has no effect with --beam"),
        (["--temperature", 0.3, "--beam-size", 2], "--beam-size has no effect with"),
        (["--multilingual", "--language", "de"], "--language has no effect with --mul"),
        (["--carry-initial-prompt"], "--carry-initial-prompt has no effect without"),
        (["--highlight-words"], "--highlight-words has no effect without -f srt, vtt"),
        (["--max-line-width", 9, "-f", "txt"], "--max-line-width has no effect wi"),
    ],
)
def test_flags_without_an_effect_are_told(
    run: Run, talk: Path, whisper_folder: Path, flags: list[str], said: str
) -> None:
    os.symlink(whisper_folder, "small")
    code, _, err = run(talk, *flags)
    assert code == 0, err
    assert [line for line in err.splitlines() if said in line and "note: " in line]
    assert "has no effect" not in run(talk, *flags, "-q")[2]
    assert "has no effect" not in run(talk)[2]


def test_exact_and_a_way_to_find_speech_contradict_each_other(
    run: Run, talk: Path, refusal: Refusal
) -> None:
    error, hint = refusal(run(talk, "--exact", "--vad-method", "silero"))
    assert "--exact hears everything" in error
    assert "--vad-method" in hint


def test_openai_whispers_device_is_answered(run: Run, talk: Path) -> None:
    code, out, err = run(talk, "--device", "cpu")
    assert (code, out) == (2, "")
    assert "No such option: --device" in err


def test_the_address_of_a_model_is_its_name(
    run: Run, talk: Path, refusal: Refusal
) -> None:
    for address in ("https://huggingface.co/a/b", "http://huggingface.co/a/b/"):
        error, _ = refusal(run(talk, "-m", address, "--offline"))
        assert error.startswith("error: `a/b` is not on this machine")
