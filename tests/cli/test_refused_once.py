"""What no recording could be transcribed with is refused once, before any is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_speech import backend

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]
SMALL = ("--memory-limit", "100kB")
TAKES = "of memory, and the limit is 1 MB"


@pytest.fixture
def talks(tmp_path: Path, speak_tones: Callable[..., Path]) -> Path:
    """A folder of two recordings."""
    for name in ("one", "two"):
        speak_tones(tmp_path / f"talks/{name}.wav", 1)
    return tmp_path / "talks"


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of memory ends with its test."""
    monkeypatch.setattr(backend, "_memory_limit", None)
    for name in ("set_memory_limit", "set_cache_limit"):
        monkeypatch.setattr(mx, name, lambda size: size)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (SMALL, TAKES),
        ((*SMALL, "--exact", "--json"), TAKES),
        (("--suppress-tokens", "7,999999"), "suppress_tokens is '7,999999'"),
        (("--language", "fr"), "does not know french"),
    ],
)
def test_transcribe(
    run: Run, refusal: Refusal, talks: Path, flags: tuple[str, ...], said: str
) -> None:
    error, hint = refusal(run("talks", *flags, "-o", "out"))
    assert said in error
    assert hint
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("flags", "said"), [(SMALL, TAKES), (("-l", "fr"), "does not know french")]
)
@pytest.mark.parametrize("words", [("listen", "--input"), ("prepare", "-o", "made")])
def test_prepare_and_listen(
    command: Run,
    refusal: Refusal,
    whisper_folder: Path,
    talks: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    flags: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(talks)
    error, hint = refusal(command(*words, "one.wav", "-m", whisper_folder, *flags))
    assert said in error
    assert hint
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--language", "german"), "hears English only, and the language is german"),
        (("--task", "translate"), "hears English only, and has nothing to translate"),
    ],
)
def test_listening_to_another_language_with_a_model_of_english(
    command: Run, refusal: Refusal, talks: Path, flags: tuple[str, ...], said: str
) -> None:
    given = ("listen", "--input", talks / "one.wav", "-m", "bundled")
    error, hint = refusal(command(*given, *flags))
    assert said in error
    assert f"leave out {flags[0]}" in hint
