"""The batched pipeline gives what openai-whisper gives for each window alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper import batched, fallback, transcribe
from mlx_speech.whisper.decoding import EncodedWindows, encode_windows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Transcription

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GOLDEN: dict[str, Any] = json.loads((GOLDENS / "whisper_batched.json").read_text())
# Of the cases that depend most on who is decoded with whom; the others take two.
BATCH_SIZES = {"short/words": (1, 2, 8), "short/unlikely windows again": (1, 2, 8)}


class Replay:
    """Draws for every window what openai-whisper drew for it at that temperature.

    Windows are known by the sums of their spectrograms.

    Args:
        drawn: of the golden.
    """

    def __init__(self, drawn: list[dict[str, Any]], patch: pytest.MonkeyPatch) -> None:
        self.drawn = drawn
        self.used: set[int] = set()
        self.rows: list[int] = []
        self._sums: list[tuple[np.ndarray, float]] = []
        self._decode = fallback.decode
        patch.setattr(batched, "encode_windows", self.encode)
        patch.setattr(fallback, "decode", self.decode)

    def encode(self, model: Whisper, mel: mx.array, draft: None) -> EncodedWindows:
        windows = encode_windows(model, mel, draft)
        sums = np.array(mel.sum(axis=(1, 2))).tolist()
        self._sums += list(zip(np.array(windows.features), sums, strict=True))
        return windows

    def decode(
        self, model: Whisper, windows: EncodedWindows, options: Any, **keywords: Any
    ) -> Any:
        if options.temperature > 0:
            self.rows.append(windows.features.shape[0])
            steps = [
                self._steps(features, options.temperature)
                for features in np.array(windows.features)
            ]
            keywords["sampler"] = self._sampler(steps)
        return self._decode(model, windows, options, **keywords)

    def _steps(self, features: np.ndarray, temperature: float) -> list[list[int]]:
        gaps = [np.abs(features - known).max() for known, _ in self._sums]
        total = self._sums[int(np.argmin(gaps))][1]
        index = min(
            (i for i, d in enumerate(self.drawn) if d["temperature"] == temperature),
            key=lambda i: abs(self.drawn[i]["mel"] - total),
        )
        assert self.drawn[index]["mel"] == pytest.approx(total, rel=1e-4, abs=0.05)
        assert index not in self.used, "a window was decoded twice at a temperature"
        self.used.add(index)
        return self.drawn[index]["steps"]

    @staticmethod
    def _sampler(steps: list[list[list[int]]]) -> Callable[[mx.array], mx.array]:
        step = 0

        def sampler(logits: mx.array) -> mx.array:
            nonlocal step
            rows: list[int] = []
            for window in steps:
                # What a window draws after its end does not count.
                rows += window[min(step, len(window) - 1)]
            step += 1
            assert logits.shape[0] == len(rows)
            return mx.array(rows)

        return sampler


def expected(key: str) -> list[dict[str, Any]]:
    """Segments with text that begin before their window's sound ends."""
    golden = GOLDEN["cases"][key]
    window = 3000 if key.startswith("whole") else 200
    v3 = 50365 if "v3" in key else 50364
    time_begin = 50363 if "english" in key else v3
    found = []
    for index, row in enumerate(golden["segments"]):
        segment = dict(zip(GOLDEN["fields"], row, strict=True))
        clip_end = golden["clip_ends"][index]
        sound_end = min(segment["seek"] + window, clip_end) / 100
        if "words" in golden:
            segment["words"] = golden["words"][index]
        elif segment["tokens"] and segment["tokens"][0] >= time_begin:
            # OpenAI's lets what is alone in its window begin with it, and end with its
            # first time when that is the only one.
            times = [t - time_begin for t in segment["tokens"] if t >= time_begin]
            segment["start"] = segment["seek"] / 100 + times[0] / 50
            if len(times) == 1:
                segment["end"] = sound_end
        # What is left of a clip is not heard again when it is too short for a word.
        is_scrap = segment["seek"] > 0 and clip_end - segment["seek"] < 10
        if segment["tokens"] and segment["start"] < sound_end and not is_scrap:
            segment["end"] = min(segment["end"], clip_end / 100)
            found.append(segment)
    return found


@pytest.fixture
def run(
    talkers: ModuleType, talking_whisper: Callable[[str], Whisper]
) -> Callable[[str, int], Transcription]:
    def transcribe_case(key: str, batch_size: int) -> Transcription:
        name, case = key.split("/")
        options = dict(GOLDEN["options"][case])
        return transcribe(
            talking_whisper(name),
            talkers.recording(name),
            TranscriptionOptions(multilingual=case == "languages", **options),
            batch_size=batch_size,
            find_speech=None,
        )

    return transcribe_case


@pytest.mark.parametrize("key", list(GOLDEN["cases"]))
def test_windows_equal_openais_alone_whatever_the_batch_size(
    key: str,
    run: Callable[[str, int], Transcription],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    golden = GOLDEN["cases"][key]
    wanted = expected(key)
    for batch_size in BATCH_SIZES.get(key, (2,)):
        with monkeypatch.context() as patch:
            replay = Replay(golden.get("drawn", []), patch)
            found = run(key, batch_size)
            assert replay.used == set(range(len(replay.drawn)))
        assert found.language == golden["language"]
        compare(found, wanted)


def compare(found: Transcription, wanted: list[dict[str, Any]]) -> None:
    assert [segment.id for segment in found.segments] == list(range(len(wanted)))
    for segment, row in zip(found.segments, wanted, strict=True):
        for name in ("seek", "text", "temperature", "compression_ratio"):
            assert getattr(segment, name) == row[name]
        assert list(segment.tokens) == row["tokens"]
        assert segment.start == pytest.approx(row["start"], abs=1e-6)
        assert segment.end == pytest.approx(row["end"], abs=1e-6)
        assert segment.avg_logprob == pytest.approx(row["avg_logprob"], abs=5e-5)
        assert segment.no_speech_prob == pytest.approx(row["no_speech_prob"], rel=1e-3)
        assert (segment.words is None) == ("words" not in row)
        for word, numbers in zip(
            segment.words or (), row.get("words", ()), strict=True
        ):
            text, start, end, probability = numbers
            assert word.word == text
            assert [word.start, word.end] == pytest.approx([start, end], abs=1e-6)
            assert word.probability == pytest.approx(probability, rel=1e-3, abs=1e-7)


def test_the_goldens_hold_failed_silent_and_reopened_windows() -> None:
    cases = GOLDEN["cases"]
    again = {s[5] for s in cases["short/unlikely windows again"]["segments"]}
    assert 0.0 in again and max(again) == 0.8
    heard = {s[0] for s in cases["short/silent windows"]["segments"]}
    assert heard < {s[0] for s in cases["short/plain"]["segments"]}
    assert any(s[0] % 200 for s in cases["short/plain"]["segments"])
    assert len(cases["short/languages"]["languages"]) > 1


def test_only_failed_windows_are_decoded_again(
    run: Callable[[str, int], Transcription], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "short/unlikely windows again"
    drawn = GOLDEN["cases"][key]["drawn"]
    replay = Replay(drawn, monkeypatch)
    run(key, 8)
    # All windows together have been decoded above temperature 0 as often as
    # openai-whisper does it one by one.
    assert sum(replay.rows) == len(drawn)
    assert sorted(replay.rows) == [1, 1, 1, 1]
