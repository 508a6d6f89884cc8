"""What counts as made up, and where the next window begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from mlx_speech.whisper import window_reader
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.hallucinations import (
    WindowPlace,
    find_hallucination,
    is_suspicious,
    last_end,
    leading_silence,
    next_seek,
)
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Segment, Word

PLACE = WindowPlace(start=1000, frames=3000, full=3000, recording=9000)


def segment(start: float, end: float, probability: float = 0.9) -> Segment:
    """Words of half a second from ``start`` to ``end``."""
    count = max(1, round((end - start) / 0.5))
    step = (end - start) / count
    words = [
        Word(" ja", start + i * step, start + (i + 1) * step, probability)
        for i in range(count)
    ]
    return Segment(0, 1000, start, end, " ja" * count, (1,) * count, words=words)


def test_improbable_short_and_long_words_are_suspicious() -> None:
    assert not is_suspicious(segment(0, 4))
    assert is_suspicious(segment(0, 4, probability=0.1))
    short = [Word(" a", i / 100, i / 100 + 0.01, 0.9) for i in range(3)]
    assert is_suspicious(Segment(0, 0, 0.0, 0.03, "", words=short))
    assert is_suspicious(Segment(0, 0, 0.0, 6.0, "", words=[Word(" a", 0, 6, 0.9)]))
    assert not is_suspicious(Segment(0, 0, 0.0, 6.0, "", words=[]))


def test_marks_alone_are_not_looked_at() -> None:
    words = [Word("?", 0.0, 0.0, 0.0), Word(" yes", 0.0, 0.5, 0.9)]
    assert not is_suspicious(Segment(0, 0, 0.0, 0.5, "? yes", words=words))


def test_the_last_end_is_that_of_the_last_word() -> None:
    empty = Segment(0, 1000, 30.0, 31.0, "", words=[])
    assert last_end([segment(10, 12), empty]) == pytest.approx(12)
    assert last_end([empty]) == 31.0
    assert last_end([]) is None


def test_the_next_window_begins_after_the_last_word() -> None:
    heard = [segment(12, 20)]
    assert next_seek(heard, PLACE, 700, False, None) == 2000
    assert next_seek(heard, PLACE, 3000, True, None) == 4000
    assert next_seek([], PLACE, 700, False, None) == 1700


def test_a_short_rest_of_the_window_is_passed_over() -> None:
    assert next_seek([segment(12, 39)], PLACE, 700, False, 2.0) == 4000
    assert next_seek([segment(12, 37)], PLACE, 700, False, 2.0) == 3700


def test_a_window_never_ends_where_it_began() -> None:
    word = Word(" a", 10.0, 10.001, 0.9)
    held = Segment(0, 1000, 10.0, 10.001, " a", words=[word])
    assert next_seek([held], PLACE, 700, False, None) == 1001


def test_silence_before_a_suspicious_first_segment() -> None:
    assert leading_silence([segment(15, 18, 0.1)], PLACE) == 5.0
    assert leading_silence([segment(15, 18)], PLACE) == 0.0
    assert leading_silence([], PLACE) == 0.0


def test_almost_no_silence_does_not_hold_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = [segment(10.003, 10.4, 0.1)]
    monkeypatch.setattr(window_reader, "add_word_timestamps", lambda *_, **__: timed)
    options = TranscriptionOptions(
        word_timestamps=True, hallucination_silence_threshold=0.0
    )
    tokenizer: Any = SimpleNamespace(timestamp_begin=9, eot=8, decode=lambda _: " ja")
    window: Any = SimpleNamespace(cross=None)
    model: Any = None
    result = DecodingResult(mx.zeros((1, 1)), "en", tokens=[1])
    reader = window_reader.WindowReader(model, tokenizer, options)
    assert reader.read(result, window, PLACE) == (None, 1001)


def test_what_is_made_up_amid_silence_is_found() -> None:
    good, bad = segment(13, 20), segment(26, 28, 0.1)
    later = segment(32, 36)
    assert find_hallucination([good, bad, later], PLACE, 9.0, 2.0) == (1, 2600)
    assert find_hallucination([good, later], PLACE, 9.0, 2.0) is None
    # Speech right before it speaks for it.
    near = segment(20.5, 23, 0.1)
    assert find_hallucination([good, near, later], PLACE, 9.0, 2.0) is None


def test_nothing_is_heard_again_at_the_end_of_the_recording() -> None:
    place = WindowPlace(start=1000, frames=2000, full=2000, recording=3000)
    found = find_hallucination([segment(27, 29, 0.1)], place, 10.0, 2.0)
    assert found == (0, 3000)
