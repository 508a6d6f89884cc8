"""Initial prompts, hotwords and what was said, before each window; languages by window.

Hotwords precede the prompt as in faster-whisper's `get_prompt`: first, cut at their
end, and not with a prefix. Without an initial prompt that is what openai-whisper makes
of an initial prompt that is carried on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import pytest

from mlx_speech.whisper import fallback, transcribe
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.rolling_prompt import RollingPrompt
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Segment

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
TOKENIZER = Tokenizer.for_size(51865)


def said(*tokens: int) -> list[Segment]:
    return [Segment(0, 0, 0.0, 1.0, " text", tokens=tokens)]


def begin(n_ctx: int = 64, **options: Any) -> RollingPrompt:
    return RollingPrompt.begin(TranscriptionOptions(**options), TOKENIZER, n_ctx)


def test_what_was_said_follows_the_initial_prompt() -> None:
    prompt = begin(initial_prompt="Hello.")
    hello = TOKENIZER.encode(" Hello.")
    assert prompt.next() == hello
    prompt.add(said(5, 6), 0.0)
    assert prompt.next() == [*hello, 5, 6]
    prompt.add(said(7), 0.8)
    assert prompt.next() == []
    prompt.add(said(8), 0.0)
    assert prompt.next() == [8]
    assert prompt.said == [5, 6, 7, 8]


def test_an_initial_prompt_may_be_ids() -> None:
    prompt = begin(initial_prompt=[3, 4], carry_initial_prompt=True)
    assert prompt.next() == [3, 4]
    prompt.add(said(5), 0.8)
    assert prompt.next() == [3, 4]


def test_hotwords_come_first_and_stay() -> None:
    prompt = begin(hotwords=" Lausanne ", initial_prompt="Hello.")
    hot, hello = TOKENIZER.encode(" Lausanne"), TOKENIZER.encode(" Hello.")
    assert prompt.next() == [*hot, *hello]
    prompt.add(said(5, 6), 0.8)
    assert prompt.next() == hot
    prompt.add(said(*range(100, 200)), 0.0)
    # The last of what was said, as much as there is room for.
    assert prompt.next() == [*hot, *range(200 - (31 - len(hot)), 200)]


def test_a_carried_prompt_and_hotwords_leave_room_for_the_rest() -> None:
    settings = {"hotwords": "Lausanne", "initial_prompt": "Hello."}
    prompt = begin(carry_initial_prompt=True, **settings)
    fixed = TOKENIZER.encode(" Lausanne") + TOKENIZER.encode(" Hello.")
    prompt.add(said(*range(100, 200)), 0.0)
    assert prompt.next() == [*fixed, *range(200 - (31 - len(fixed)), 200)]


def test_many_hotwords_are_cut_at_their_end_and_leave_no_room() -> None:
    names = " ".join(f"Name{index}" for index in range(40))
    prompt = begin(hotwords=names, initial_prompt="Hello.")
    prompt.add(said(5), 0.0)
    assert prompt.next() == TOKENIZER.encode(" " + names)[:31]


def test_a_prefix_switches_hotwords_off() -> None:
    assert begin(hotwords="Lausanne", prefix="And so").next() == []


def golden_tokens(file: str, key: str) -> list[list[int]]:
    golden = json.loads((GOLDENS / file).read_text())
    column = golden["fields"].index("tokens")
    return [row[column] for row in golden["cases"][key]["segments"]]


@pytest.mark.parametrize(
    ("keywords", "file", "case"),
    [
        ({"exact": True}, "whisper_transcription.json", "short/prompted always"),
        ({"find_speech": None}, "whisper_batched.json", "short/prompted"),
    ],
    ids=["exact", "batched"],
)
def test_hotwords_prompt_every_window(
    keywords: dict[str, Any],
    file: str,
    case: str,
    talkers: ModuleType,
    talking_whisper: Callable[[str], Whisper],
) -> None:
    found = transcribe(
        talking_whisper("short"),
        talkers.recording("short"),
        TranscriptionOptions(
            language="en", temperature=0.0, hotwords=talkers.PROMPT.strip()
        ),
        **keywords,
    )
    wanted = golden_tokens(file, case)
    assert [list(s.tokens) for s in found.segments] == wanted
    # It makes a difference.
    plain = golden_tokens(file, "short/plain")
    assert wanted != plain


@pytest.mark.parametrize("exact", [True, False])
def test_every_window_may_have_a_language_of_its_own(
    exact: bool,
    talkers: ModuleType,
    talking_whisper: Callable[[str], Whisper],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str | None, Sequence[str]]] = []
    encoded: list[int] = []
    decode, encode = fallback.decode, Whisper.encode

    def noted(model: Any, windows: Any, options: Any, **more: Any) -> Any:
        found = decode(model, windows, options, **more)
        heard.append((options.language, [result.language for result in found]))
        return found

    def counted(self: Whisper, mel: mx.array) -> mx.array:
        encoded.append(mel.shape[0])
        return encode(self, mel)

    monkeypatch.setattr(fallback, "decode", noted)
    monkeypatch.setattr(Whisper, "encode", counted)
    found = transcribe(
        talking_whisper("short"),
        talkers.recording("short"),
        TranscriptionOptions(temperature=0.0, multilingual=True),
        exact=exact,
        find_speech=None,
    )
    languages = [code for _, codes in heard for code in codes]
    assert {asked for asked, _ in heard} == {None}
    assert len(set(languages)) > 1
    # Detection takes no pass of the encoder of its own.
    assert sum(encoded) == len(languages)
    assert {segment.language for segment in found.segments} == set(languages)
    assert found.segments[0].to_dict()["language"] == found.segments[0].language
