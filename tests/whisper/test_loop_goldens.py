"""Windows follow each other as in openai-whisper, in hundreds of made-up recordings.

Both programs are told what a model decodes and where words lie; the way through the
recording, prompts, temperatures, skipped silences and what is kept must be the same.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper import fallback, sequential, window_reader
from mlx_speech.whisper.decoding import DecodingOptions, DecodingResult, EncodedWindows
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Segment, Transcription, Word

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
TOKENIZER = Tokenizer.for_size(51865)


@pytest.fixture(scope="module")
def golden() -> list[dict[str, Any]]:
    packed = (GOLDENS / "whisper_loop.json.xz").read_bytes()
    return json.loads(lzma.decompress(packed))


class Told:
    """Stands in for decoding and the times of words: says what the recipe says."""

    def __init__(self, recipe: ModuleType, case: int) -> None:
        self.recipe = recipe
        self.case = case
        self.calls: list[list[Any]] = []
        self.first: dict[str, Any] = {}
        self.words: list[list[Any]] = []
        self.encoded: list[tuple[int, int]] = []

    def decode(
        self, model: Any, windows: Any, options: DecodingOptions, **_: Any
    ) -> list[DecodingResult]:
        prompt = list(options.prompt or ())[-self.recipe.MOST_PROMPT :]
        given = (options.beam_size, options.best_of, options.patience)
        self.first = self.first or {
            name: getattr(options, name) for name in self.recipe.DECODING
        }
        found = self.recipe.heard(self.case, len(self.calls))
        self.calls.append(
            [options.temperature, *given, len(prompt), self.recipe.digest(prompt)]
        )
        return [
            DecodingResult(
                mx.zeros((1, 1)),
                options.language or "",
                temperature=options.temperature,
                **found,
            )
        ]

    def add_words(
        self, segments: Sequence[Segment], *given: Any, **named: Any
    ) -> list[Segment]:
        rows = [(s.start, s.end, list(s.tokens)) for s in segments]
        timed = self.recipe.timed(self.case, len(self.calls) - 1, rows)
        asked = ("last_speech_timestamp", "language", "task")
        marks = ("prepend_punctuations", "append_punctuations")
        self.words.append([given[-1], *(named[name] for name in (*asked, *marks))])
        return [
            replaced(segment, start, end, [Word(*word) for word in words])
            for segment, (start, end, words) in zip(segments, timed, strict=True)
        ]


def replaced(segment: Segment, start: float, end: float, words: list[Word]) -> Segment:
    fields = vars(segment) | {"start": start, "end": end, "words": words}
    return Segment(**fields)


def run(recipe: ModuleType, case: int, patch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    told = Told(recipe, case)
    frames = int(recipe.seconds(case) * 16000) // 160

    def window(start: int, count: int) -> mx.array:
        told.encoded.append((start, count))
        return mx.zeros((1, 2, 2))

    mel = SimpleNamespace(frames=frames, seconds=recipe.seconds(case), window=window)
    sizes = SimpleNamespace(n_frames=recipe.FRAMES, n_text_ctx=recipe.CONTEXT)
    model: Any = SimpleNamespace(config=sizes, dtype=mx.float32)
    encoded = EncodedWindows(mx.zeros((1, 1, 1)), [])
    patch.setattr(sequential, "MelWindows", lambda *_: mel)
    patch.setattr(sequential, "encode_windows", lambda *_: encoded)
    patch.setattr(fallback, "decode", told.decode)
    patch.setattr(window_reader, "add_word_timestamps", told.add_words)
    found = sequential.transcribe_sequentially(
        model,
        np.zeros(0, np.float32),
        TranscriptionOptions(**recipe.options(case)),
        tokenizer=TOKENIZER,
    )
    return told, found


def rows_of(recipe: ModuleType, found: Transcription) -> list[list[Any]]:
    return [
        [
            *(s.seek, s.start, s.end, s.temperature, s.avg_logprob),
            recipe.digest((s.text, list(s.tokens))),
            None if s.words is None else [word.end for word in s.words],
        ]
        for s in found.segments
    ]


def test_windows_follow_each_other_as_in_openai_whisper(
    golden: list[dict[str, Any]],
    loop_recipe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(golden) == len(loop_recipe.CASES)
    for case, wanted in enumerate(golden):
        told, found = run(loop_recipe, case, monkeypatch)
        assert rows_of(loop_recipe, found) == wanted["segments"], case
        assert [segment.id for segment in found.segments] == [
            *range(len(found.segments))
        ]
        assert told.calls == wanted["calls"], case
        assert told.first == wanted["first"], case
        assert told.words == wanted["words"], case
        assert loop_recipe.digest(found.text) == wanted["text"], case
        # No window is encoded again for another temperature.
        assert len(told.encoded) == len(set(told.encoded)), case


def test_the_made_up_recordings_meet_everything(
    golden: list[dict[str, Any]], loop_recipe: ModuleType
) -> None:
    met: Counter[str] = Counter()
    for case, wanted in enumerate(golden):
        options = loop_recipe.options(case)
        segments, calls = wanted["segments"], wanted["calls"]
        seeks = [segment[0] for segment in segments]
        met["several segments in a window"] += len(set(seeks)) < len(seeks)
        met["several windows"] += len(set(seeks)) > 1
        met["fallback"] += any(call[0] > 0 for call in calls) and calls[0][0] == 0
        met["prompts"] += any(call[4] > 0 for call in calls)
        met["full prompts"] += sum(call[4] == loop_recipe.MOST_PROMPT for call in calls)
        met["dropped"] += len(segments) < len(wanted["words"])
        met["kept"] += bool(segments) and (
            options["hallucination_silence_threshold"] is not None
            and options["word_timestamps"]
        )
        met["nothing at all"] += not segments
        met["emptied"] += any(
            segment[5] == loop_recipe.digest(("", [])) for segment in segments
        )
    assert min(met.values()) >= 10, met
