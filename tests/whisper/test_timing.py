"""Times of words against openai-whisper's, and what it cannot take."""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.whisper import timing
from mlx_speech.whisper.alignment import attention_table, median_filter, warp
from mlx_speech.whisper.model import CrossKeyValues, Whisper
from mlx_speech.whisper.timing import (
    WordTiming,
    add_word_timestamps,
    find_alignment,
    merge_punctuations,
    shorten_after_pause,
)
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.writers import Segment, Word

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
# Cases of the golden file; a test asserts that there are no more.
ALIGNMENTS, WINDOWS = range(16), range(7)
Window = tuple[Whisper, Tokenizer, CrossKeyValues]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    packed = (GOLDENS / "whisper_timing.json.xz").read_bytes()
    return json.loads(lzma.decompress(packed))


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "whisper_timing.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def open_window(
    tiny_whisper: Callable[[str], Whisper], recipe: ModuleType
) -> Callable[[str, int], Window]:
    """Model, tokenizer and the encoded window of a number."""
    made: dict[Any, Any] = {}

    def open_(name: str, index: int) -> Window:
        if name not in made:
            model = tiny_whisper(name)
            made[name] = model, Tokenizer.for_size(model.config.n_vocab)
        if (name, index) not in made:
            features = made[name][0].encode(mx.array(recipe.mel(name)[index])[None])
            made[name, index] = made[name][0].cross_key_values(features)
        return *made[name], made[name, index]

    return open_


def read_timings(rows: list[Any]) -> list[WordTiming]:
    return [
        WordTiming(word, tuple(tokens), start, end, probability)
        for word, tokens, start, end, probability in rows
    ]


def read_segments(case: dict[str, Any]) -> list[Segment]:
    return [
        Segment(id=index, seek=case["seek"], start=start, end=end, text="", tokens=ids)
        for index, (start, end, ids) in enumerate(case["segments"])
    ]


def assert_found(segments: list[Segment], found: list[Any]) -> None:
    """Times and words exactly, probabilities nearly."""
    assert len(segments) == len(found)
    for segment, (start, end, words) in zip(segments, found, strict=True):
        assert (segment.start, segment.end) == (start, end)
        assert segment.words is not None
        assert [[w.word, w.start, w.end] for w in segment.words] == [
            row[:3] for row in words
        ]
        ours = [word.probability for word in segment.words]
        theirs = [row[3] for row in words]
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-9)


def test_all_cases_are_tested(golden: dict[str, Any]) -> None:
    assert len(golden["alignments"]) == len(ALIGNMENTS)
    assert len(golden["windows"]) == len(WINDOWS)
    assert golden["prepended"] == timing.PREPENDED
    assert golden["appended"] == timing.APPENDED


@pytest.mark.parametrize("index", ALIGNMENTS)
def test_words_and_path_equal_openai(
    index: int,
    golden: dict[str, Any],
    arrays: dict[str, np.ndarray],
    open_window: Callable[[str, int], Window],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = golden["alignments"][index]
    seen: list[Any] = []

    def record(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.extend([cost, warp(cost)])
        return seen[1]

    monkeypatch.setattr(timing, "warp", record)
    model, tokenizer, cross = open_window(case["model"], case["window"])
    found = find_alignment(
        *(model, tokenizer, case["tokens"], cross, case["frames"]),
        language=case["language"],
        task=case["task"],
    )
    cost, path = seen
    assert cost.shape == tuple(arrays[f"{index}/shape"])
    table = -cost.reshape(-1)[:: arrays[f"{index}/stride"]]
    np.testing.assert_allclose(table, arrays[f"{index}/table"], atol=1e-4)
    np.testing.assert_array_equal(path, arrays[f"{index}/path"])
    rows = [[w.word, list(w.tokens), w.start, w.end] for w in found]
    assert rows == [row[:4] for row in case["words"]]
    theirs = [row[4] for row in case["words"]]
    assert [w.probability for w in found] == pytest.approx(theirs, rel=1e-3, abs=1e-9)
    assert all(0 < w.probability < 1 for w in found)


@pytest.mark.parametrize("index", WINDOWS)
def test_segments_of_a_window_equal_openai(
    index: int,
    golden: dict[str, Any],
    open_window: Callable[[str, int], Window],
) -> None:
    case = golden["windows"][index]
    model, tokenizer, cross = open_window(case["model"], case["window"])
    segments = add_word_timestamps(
        *(read_segments(case), model, tokenizer, cross, case["frames"]),
        last_speech_timestamp=case["last_speech"],
        language=case["language"],
    )
    assert_found(segments, case["found"])


def test_rules_for_long_words_equal_openai(
    golden: dict[str, Any],
    open_window: Callable[[str, int], Window],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer, cross = open_window("v3", 0)
    moved = 0
    for case in golden["fuzz"]:
        timings = read_timings(case["alignment"])
        monkeypatch.setattr(
            timing, "find_alignment", lambda *_, timings=timings: timings
        )
        segments = add_word_timestamps(
            *(read_segments(case), model, tokenizer, cross, 3000),
            last_speech_timestamp=case["last_speech"],
        )
        assert_found(segments, case["found"])
        times = {t for w in timings for t in (w.start, w.end)}
        shown = {
            round(t - case["seek"] / 100, 2)
            for segment in segments
            for word in segment.words or ()
            for t in (word.start, word.end)
        }
        moved += not shown <= {round(t, 2) for t in times}
    # The rules must have had something to do.
    assert moved > len(golden["fuzz"]) / 4


def test_marks_join_their_words_as_in_openai(golden: dict[str, Any]) -> None:
    joined = 0
    for rows, kept in golden["merged"]:
        merged = merge_punctuations(read_timings(rows))
        assert [[w.word, list(w.tokens), w.start, w.end] for w in merged] == kept
        joined += len(rows) - len(kept)
    assert joined > 100


def test_other_marks_may_be_chosen() -> None:
    rows = [WordTiming(w, (i,), i, i + 1, 0.5) for i, w in enumerate((" <", " a", ">"))]
    assert [w.word for w in merge_punctuations(rows)] == [" <", " a", ">"]
    assert merge_punctuations(rows, "<", ">") == [
        WordTiming(" < a>", (0, 1, 2), 1, 2, 0.5)
    ]


def test_warping_equals_openai(golden: dict[str, Any]) -> None:
    for table, path in golden["warped"]:
        np.testing.assert_array_equal(warp(np.array(table)), path)


def test_path_follows_a_trace() -> None:
    generator = np.random.default_rng(0)
    for rows, columns in ((1, 4), (10, 10), (20, 100), (60, 700)):
        ends = np.sort(generator.choice(np.arange(1, columns), rows - 1, replace=False))
        owner = np.searchsorted(ends, np.arange(columns), side="right")
        cost = (owner != np.arange(rows)[:, None]).astype(np.float32)
        tokens, positions = warp(cost)
        assert (cost[tokens, positions] == 0).all()
        assert set(positions) == set(range(columns))


@pytest.mark.parametrize("length", [3, 4, 5, 40])
def test_median_is_that_of_reflected_neighbours(length: int) -> None:
    values = np.random.default_rng(1).normal(size=(2, 3, length)).astype(np.float32)
    found = median_filter(values, 7)
    if length <= 3:
        np.testing.assert_array_equal(found, values)
        return
    last = length - 1
    for at in range(length):
        near = [last - abs(last - abs(k)) for k in range(at - 3, at + 4)]
        np.testing.assert_array_equal(
            found[..., at], np.median(values[..., near], axis=-1)
        )


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
@pytest.mark.parametrize(("seek", "begins"), [(2898, 28.96), (0, 0.0)])
def test_words_of_one_position_lie_before_it(
    frames: int,
    seek: int,
    begins: float,
    open_window: Callable[[str, int], Window],
) -> None:
    # What openai-whisper's find_alignment gives for 0 to 3 frames is -0.02 throughout;
    # no time is before the recording.
    model, tokenizer, cross = open_window("english", 0)
    tokens = tokenizer.encode(" So short.")
    found = find_alignment(model, tokenizer, tokens, cross, frames)
    assert [(w.word, w.start, w.end) for w in found] == [
        (" So", -0.02, -0.02),
        (" short", -0.02, -0.02),
        (".", -0.02, -0.02),
    ]
    said = Segment(0, seek, seek / 100, seek / 100 + 0.02, "", tokens=tuple(tokens))
    [timed] = add_word_timestamps(
        [said], model, tokenizer, cross, frames, last_speech_timestamp=0.0
    )
    assert (timed.start, timed.end) == (begins, begins)
    assert {(word.start, word.end) for word in timed.words or ()} == {(begins, begins)}


def test_no_word_after_an_unknown_pause_begins_before_the_recording() -> None:
    words = [Word(" So", 0.0, 0.1, 1.0), Word(" short", 2.5, 3.5, 1.0)]
    first, second = shorten_after_pause(words, 0.5, last_speech=-math.inf)
    assert (first.start, first.end) == (0.0, 0.1)
    assert (second.start, second.end) == (2.5, 3.5)


def test_no_text_has_no_words(open_window: Callable[[str, int], Window]) -> None:
    model, tokenizer, cross = open_window("english", 0)
    assert find_alignment(model, tokenizer, [], cross, 100) == []
    end = {"last_speech_timestamp": 0.0}
    assert add_word_timestamps([], model, tokenizer, cross, 100, **end) == []
    silent = Segment(0, 100, 1.0, 1.5, "", tokens=(tokenizer.timestamp_begin,))
    [found] = add_word_timestamps([silent], model, tokenizer, cross, 100, **end)
    assert (found.start, found.end, found.words) == (1.0, 1.5, [])


def test_languages_go_by_name_too(open_window: Callable[[str, int], Window]) -> None:
    model, tokenizer, cross = open_window("v3", 0)
    tokens = tokenizer.encode("你好,世界。")
    by_code = find_alignment(model, tokenizer, tokens, cross, 80, "zh")
    assert find_alignment(model, tokenizer, tokens, cross, 80, "Chinese") == by_code
    assert len(by_code) > len(find_alignment(model, tokenizer, tokens, cross, 80, "en"))


def test_times_need_neither_encoder_nor_features(
    open_window: Callable[[str, int], Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, cross = open_window("english", 0)

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(Whisper, "encode", refuse)
    monkeypatch.setattr(Whisper, "cross_key_values", refuse)
    tokens = tokenizer.encode(" One pass.")
    assert len(find_alignment(model, tokenizer, tokens, cross, 100)) == 3


def test_a_head_that_looks_nowhere_does_not_spoil_the_others() -> None:
    scores = np.random.default_rng(2).normal(size=(2, 4, 9)).astype(np.float32)
    scores[1] = 3.0
    alone = attention_table(scores[:1])
    np.testing.assert_allclose(attention_table(scores), alone / 2, atol=1e-6)


def test_attention_without_numbers_is_refused(
    tiny_whisper: Callable[[str], Whisper],
    open_window: Callable[[str, int], Window],
) -> None:
    _, tokenizer, cross = open_window("english", 0)
    model = tiny_whisper("english")
    model.decoder.embed_positions = model.decoder.embed_positions * mx.nan
    with pytest.raises(SpeechError, match="no numbers"):
        find_alignment(model, tokenizer, [1, 2], cross, 100)


def test_too_many_tokens_are_refused(
    open_window: Callable[[str, int], Window],
) -> None:
    model, tokenizer, cross = open_window("english", 0)
    with pytest.raises(SpeechError, match="more than the 40"):
        find_alignment(model, tokenizer, [1] * 38, cross, 100)


def test_several_windows_are_refused(
    open_window: Callable[[str, int], Window], recipe: ModuleType
) -> None:
    model, tokenizer, _ = open_window("english", 0)
    cross = model.cross_key_values(model.encode(mx.array(recipe.mel("english"))))
    with pytest.raises(SpeechError, match="2 contexts"):
        find_alignment(model, tokenizer, [1, 2], cross, 100)
