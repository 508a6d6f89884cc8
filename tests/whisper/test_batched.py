"""Speech with pauses through the batched pipeline, heard by one that never errs.

A stand-in for the decoder reads tones off the spectrogram of each window and writes
down which they are and when, as Whisper would: what is still going on when the window's
sound ends stays open. So the way of all times through packing, windows and back shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.whisper import batched, fallback, transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import EncodedWindows
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary
from mlx_speech.writers import Segment, Transcription

# Windows of 8 s.
POSITIONS = 400
WORDS = Vocabulary(
    {bytes([value]): value for value in range(256)},
    SpecialTokens.following(256, ("en", "de"), timestamps=POSITIONS + 1),
    multilingual=True,
)
TIME = WORDS.special.timestamp_begin
CONFIG = WhisperConfig(
    **{"n_mels": 80, "n_audio_ctx": POSITIONS, "n_audio_state": 8, "n_audio_head": 2},
    **{"n_audio_layer": 1, "n_vocab": WORDS.size, "n_text_ctx": 64},
    **{"n_text_state": 8, "n_text_head": 2, "n_text_layer": 1},
)
# Hertz of the tones, each the middle of another mel band, and their letters.
PITCHES = {
    letter: 240 + 160 * index for index, letter in enumerate("abcdefghijklmnopqrst")
}
Tones = Sequence[tuple[str, float, float]]


class Oracle:
    """Stands in for encoder and decoder.

    Attributes:
        batches: windows that were decoded at once.
        sounds: frames of sound in each.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.sounds: list[int] = []
        self.bands = [self._band(pitch) for pitch in PITCHES.values()]
        patch.setattr(
            batched, "encode_windows", lambda _, mel, draft: EncodedWindows(mel, [])
        )
        patch.setattr(fallback, "decode", self.decode)

    @staticmethod
    def _band(pitch: float) -> int:
        from mlx_speech.audio.mel import MelSpec, log_mel

        tone = np.sin(2 * np.pi * pitch * np.arange(16000) / 16000)
        mel = log_mel(mx.array(tone.astype(np.float32)), MelSpec.preset("whisper-80"))
        return int(np.array(mel)[20:80].mean(0).argmax())

    def decode(
        self, model: Any, windows: EncodedWindows, options: Any, **keywords: Any
    ) -> list[DecodingResult]:
        self.batches.append(windows.features.shape[0])
        return [self._listen(mel, options) for mel in np.array(windows.features)]

    def _listen(self, mel: np.ndarray, options: Any) -> DecodingResult:
        is_sound = mel.any(axis=1)
        sound = int(np.flatnonzero(is_sound)[-1]) + 1
        self.sounds.append(sound)
        bands = mel[:sound, self.bands]
        heard = np.where(bands.max(1) > 0.9, bands.argmax(1), -1)
        edges = np.flatnonzero(np.diff(heard, prepend=-1, append=-1))
        tokens: list[int] = []
        for start, end in pairwise(edges):
            if heard[start] < 0 or end - start < 5:
                continue
            tokens += [TIME + int(start) // 2, 32, ord("a") + int(heard[start])]
            if end < sound - 2:
                tokens.append(TIME + int(end) // 2)
        return DecodingResult(
            mx.zeros((1, 1)), options.language, tokens=tokens, avg_logprob=-0.1
        )


def record(tones: Tones, seconds: float, noise: float = 0.001) -> np.ndarray:
    draw = np.random.default_rng(0)
    time = np.arange(round(16000 * seconds)) / 16000
    samples = noise * draw.standard_normal(len(time))
    for letter, start, end in tones:
        here = (time >= start) & (time < end)
        samples += here * 0.3 * np.sin(2 * np.pi * PITCHES[letter] * time)
    return samples.astype(np.float32)


def row_of(
    durations: Sequence[float], pauses: Sequence[float], start: float = 1.0
) -> list[tuple[str, float, float]]:
    tones = []
    for letter, duration, pause in zip(PITCHES, durations, pauses, strict=False):
        tones.append((letter, start, start + duration))
        start += duration + pause
    return tones


def hear(samples: np.ndarray, options: Any = None, **keywords: Any) -> Transcription:
    settings = {"language": "en", "temperature": 0.0, **(options or {})}
    return transcribe(
        Whisper(CONFIG),
        samples,
        TranscriptionOptions(**settings),
        tokenizer=Tokenizer(WORDS),
        **keywords,
    )


def assert_heard(found: Transcription, tones: Tones, tolerance: float = 0.05) -> None:
    assert [s.text for s in found.segments] == [f" {letter}" for letter, _, _ in tones]
    assert found.text == "".join(f" {letter}" for letter, _, _ in tones)
    assert [s.id for s in found.segments] == list(range(len(tones)))
    for segment, (_, start, end) in zip(found.segments, tones, strict=True):
        assert segment.start == pytest.approx(start, abs=tolerance)
        assert segment.end == pytest.approx(end, abs=tolerance)


SPARSE = row_of([0.8] * 12, [7.0, 0.4, 12.0, 3.0] * 3)
# Never silent for 0.3 s, and longer than two windows together.
FLUENT = row_of([0.7] * 20, [0.14] * 20)
MIXED = row_of([2.5, 0.5, 1.5, 0.5] * 5, [0.5, 0.15, 20.0, 0.15] * 5)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("tones", [SPARSE, FLUENT, MIXED], ids=["sparse", "no", "some"])
def test_every_tone_is_heard_once_where_it_was(
    tones: Tones, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(monkeypatch)
    found = hear(record(tones, tones[-1][2] + 2.0), batch_size=batch_size)
    assert_heard(found, tones)
    assert max(oracle.batches) <= batch_size


@pytest.mark.parametrize("batch_size", [1, 4])
def test_without_a_search_for_speech_every_sound_is_heard(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(monkeypatch)
    # No tone lies across the edge of a window.
    tones = row_of([0.8] * 12, [7.2] * 12, start=1.0)
    samples = record(tones, 97.0)
    found = hear(samples, batch_size=batch_size, find_speech=None)
    assert_heard(found, tones)
    assert [s.seek for s in found.segments] == list(range(0, 9600, 800))
    assert sum(oracle.batches) == 13
    # With the search, eleven pauses of 7 s are not decoded.
    oracle.batches.clear()
    assert_heard(hear(samples, batch_size=batch_size), tones)
    assert sum(oracle.batches) == 3


def test_words_across_a_fixed_window_are_heard_in_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Oracle(monkeypatch)
    tones = [("a", 1.0, 2.0), ("b", 7.0, 9.0), ("c", 11.0, 12.0)]
    found = hear(record(tones, 14.0), find_speech=None)
    # The open end of the first window is heard again, not dropped.
    assert [s.text for s in found.segments] == [" a", " b", " b", " c"]
    assert [s.seek for s in found.segments] == [0, 200, 800, 800]
    assert_heard(hear(record(tones, 14.0)), tones)


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.01, 0.1])
def test_in_silence_and_steady_noise_nothing_is_decoded(
    level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(monkeypatch)
    heard: list[tuple[list[Segment], float]] = []
    found = hear(
        record([], 30.0, noise=level),
        {"language": None},
        listener=lambda segments, done: heard.append((list(segments), done)),
    )
    assert (found.text, list(found.segments)) == ("", [])
    assert (found.language, found.duration) == ("en", 30.0)
    assert oracle.batches == []
    assert heard == [([], 30.0)]


def test_text_behind_the_sound_of_a_window_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    oracle = Oracle(monkeypatch)
    listen = oracle._listen

    def chatty(mel: np.ndarray, options: Any) -> DecodingResult:
        result = listen(mel, options)
        # "Thanks for watching", long after the recording has ended.
        result.tokens.extend([TIME + 300, 32, ord("z"), TIME + 350])
        return result

    monkeypatch.setattr(oracle, "_listen", chatty)
    tones = [("a", 1.0, 2.0)]
    assert_heard(hear(record(tones, 3.0)), tones)


def test_silence_at_the_end_of_a_lane_is_not_heard_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    oracle = Oracle(monkeypatch)
    listen = oracle._listen

    def careless(mel: np.ndarray, options: Any) -> DecodingResult:
        result = listen(mel, options)
        # The last segment stays open although it has ended.
        return replace(result, tokens=result.tokens[:-1])

    monkeypatch.setattr(oracle, "_listen", careless)
    tones = [("a", 1.0, 2.0), ("b", 2.5, 3.5)]
    found = hear(record(tones, 9.0))
    # The rest after the first is heard again; its open end is all that is left.
    assert [s.text for s in found.segments] == [" a", " b"]
    assert oracle.batches == [1, 1]


def test_a_window_whose_times_run_backwards_is_heard_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    oracle = Oracle(monkeypatch)

    def backwards(mel: np.ndarray, options: Any) -> DecodingResult:
        assert len(oracle.batches) < 10, "the same window again and again"
        # No rule holds for times where none are asked for.
        tokens = [TIME + 50, 32, ord("a"), TIME, TIME, 32, ord("b")]
        return DecodingResult(mx.zeros((1, 1)), "en", tokens=tokens, avg_logprob=-0.1)

    monkeypatch.setattr(oracle, "_listen", backwards)
    hear(record([("a", 1.0, 2.0)], 4.0), {"without_timestamps": True})
    assert oracle.batches == [1]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("tones", [SPARSE, MIXED], ids=["sparse", "some"])
def test_speech_that_the_model_passes_over_is_heard_by_itself(
    tones: Tones, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(monkeypatch)
    listen = oracle._listen

    def forgetful(mel: np.ndarray, options: Any) -> DecodingResult:
        result = listen(mel, options)
        # As if nothing were said after the first pause of 0.4 s.
        tokens = result.tokens
        for i in range(4, len(tokens), 4):
            if tokens[i] - tokens[i - 1] >= 20:
                return replace(result, tokens=tokens[:i])
        return result

    monkeypatch.setattr(oracle, "_listen", forgetful)
    samples = record(tones, tones[-1][2] + 2.0)
    assert_heard(hear(samples, batch_size=batch_size), tones)


def test_only_clips_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    Oracle(monkeypatch)
    samples = record(SPARSE, 80.0)
    for keywords in ({}, {"find_speech": None}):
        found = hear(samples, {"clip_timestamps": "8,20,30,35.5"}, **keywords)
        inside = [t for t in SPARSE if 8 <= t[1] < 20 or 30 <= t[1] < 35]
        assert len(inside) == 3
        assert_heard(found, inside)
    assert hear(samples, {"clip_timestamps": "200"}).segments == []


def test_the_listener_hears_all_segments_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Oracle(monkeypatch)
    heard: list[Segment] = []
    done: list[float] = []

    def listener(segments: Sequence[Segment], seconds: float) -> None:
        heard.extend(segments)
        done.append(seconds)
        assert all(segment.end <= seconds + 0.1 for segment in segments)

    samples = record(MIXED, 140.0)
    found = hear(samples, batch_size=3, listener=listener)
    assert heard == list(found.segments)
    assert done == sorted(done)
    assert done[-1] == 140.0
    # Text comes while there is still something to do.
    assert len(done) > 3


def test_a_finder_of_speech_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = Oracle(monkeypatch)
    asked: list[tuple[int, int]] = []

    def everything(samples: np.ndarray, rate: int) -> list[tuple[float, float]]:
        asked.append((len(samples), rate))
        return [(0.0, 5.0)]

    tones = [("a", 1.0, 2.0), ("b", 6.0, 7.0)]
    found = hear(record(tones, 8.0), find_speech=everything)
    assert asked == [(8 * 16000, 16000)]
    assert_heard(found, tones[:1])
    assert oracle.sounds == [530]


@pytest.mark.parametrize("wrong", [0, -3])
def test_a_batch_of_nothing_is_refused(wrong: int) -> None:
    with pytest.raises(SpeechError, match="batch_size"):
        hear(record([], 1.0), batch_size=wrong)


def test_no_recording_at_all() -> None:
    found = hear(np.zeros(0, np.float32))
    assert (found.text, found.duration) == ("", 0.0)
    assert hear(record([("a", 0.0, 0.01)], 0.01)).segments == []
