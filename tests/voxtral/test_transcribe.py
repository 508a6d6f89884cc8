"""Whole recordings through the tiny model: pieces, streamed text, limits, answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio.segment import Span
from mlx_speech.errors import SpeechError
from mlx_speech.voxtral import transcribe as module
from mlx_speech.voxtral.generate import (
    Chooser,
    Generated,
    Sampling,
    generate,
    token_limit,
    within_top_p,
)
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.prompt import Turn, transcription_prompt
from mlx_speech.voxtral.tokenizer import Tekken
from mlx_speech.voxtral.transcribe import (
    TranscriptionOptions,
    VoxtralTranscription,
    ask,
    transcribe_in_pieces,
)

RATE = 16000


@pytest.fixture(scope="module")
def samples(recipe: ModuleType) -> np.ndarray:
    """Two stretches of sound with a pause of four seconds between them."""
    sound = recipe.clip("other").astype(np.float32) / 32768
    sound = np.concatenate([sound, sound * 2])
    return np.concatenate([sound, np.zeros(4 * RATE, np.float32), sound])


@pytest.fixture(autouse=True, scope="module")
def few_tokens() -> Iterator[None]:
    """Answers of the untrained model never end; a few tokens are enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "token_limit", lambda seconds: 4 + int(seconds))
        yield


@dataclass
class Heard:
    """A transcription and what was told on the way."""

    result: VoxtralTranscription
    told: list[tuple[int, float]]
    text: list[str]


@pytest.fixture(scope="module")
def heard(
    few_tokens: None, tiny: Voxtral, tekken: Tekken, samples: np.ndarray
) -> Heard:
    told: list[tuple[int, float]] = []
    text: list[str] = []
    result = transcribe_in_pieces(
        tiny,
        samples,
        TranscriptionOptions(language="german"),
        tokenizer=tekken,
        listener=lambda segments, seconds: told.append((len(segments), seconds)),
        on_text=text.append,
    )
    return Heard(result, told, text)


def test_pieces_become_segments_with_the_times_of_the_cuts(heard: Heard) -> None:
    result = heard.result
    first, second = result.segments
    assert (first.id, second.id) == (0, 1)
    assert first.start == pytest.approx(0, abs=0.2)
    assert first.end == pytest.approx(5, abs=0.3)
    assert second.start == pytest.approx(9, abs=0.3)
    assert second.end == pytest.approx(14, abs=0.2)
    assert result.language == "de" and result.duration == 14
    assert heard.told == [(1, first.end), (1, second.end), (0, 14.0)]
    assert "".join(heard.text).split() == result.text.split()
    assert result.text == first.text + second.text


def test_each_piece_is_transcribed_by_its_own_prompt(
    heard: Heard, tiny: Voxtral, tekken: Tekken, samples: np.ndarray
) -> None:
    for segment in heard.result.segments:
        first, last = round(segment.start * RATE), round(segment.end * RATE)
        piece = samples[first:last]
        prompt = transcription_prompt(tekken, tiny.config, piece, "de")
        limit = 4 + int(prompt.seconds)
        assert segment.tokens == generate(tiny, prompt, limit, 2).tokens
        assert segment.avg_logprob < 0


def test_text_that_reaches_its_limit_is_reported(
    heard: Heard, tiny: Voxtral, tekken: Tekken
) -> None:
    segments = heard.result.segments
    spans = tuple(Span(segment.start, segment.end) for segment in segments)
    assert heard.result.truncated == spans
    answer = ask(tiny, [Turn("user", ["Why?"])], max_tokens=3, tokenizer=tekken)
    assert answer.truncated and len(answer.tokens) == 3


def test_answers_are_cut_where_the_model_is_full(
    tiny: Voxtral, tekken: Tekken, samples: np.ndarray
) -> None:
    # A prompt of one chunk has 380 tokens.
    text = replace(tiny.config.text, max_position_embeddings=382)
    model = Voxtral(replace(tiny.config, text=text))
    model.update(tiny.parameters())
    result = transcribe_in_pieces(model, samples, tokenizer=tekken)
    assert [len(segment.tokens) for segment in result.segments] == [2, 2]
    assert len(result.truncated) == 2


def test_limits_grow_with_the_duration() -> None:
    # Somebody who talks fast says seven tokens a second.
    assert token_limit(1800) > 7 * 1800
    assert token_limit(0) > 0


def test_pieces_without_words_make_no_segment(
    tiny: Voxtral, tekken: Tekken, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[], tekken.encode(" Hello.")])

    def answer(*arguments: Any) -> Generated:
        tokens = next(answers)
        for token in tokens:
            arguments[-1](token)
        return Generated(tokens, -0.1, False)

    monkeypatch.setattr(module, "generate", answer)
    told: list[int] = []
    text: list[str] = []
    result = transcribe_in_pieces(
        tiny,
        samples,
        tokenizer=tekken,
        listener=lambda segments, seconds: told.append(len(segments)),
        on_text=text.append,
    )
    assert [(each.id, each.text) for each in result.segments] == [(0, "Hello.")]
    assert result.segments[0].start == pytest.approx(9, abs=0.3)
    assert "".join(text) == result.text == "Hello."
    assert told == [0, 1, 0]


def test_silence_has_no_text(tiny: Voxtral, tekken: Tekken) -> None:
    told: list[float] = []
    result = transcribe_in_pieces(
        tiny,
        np.zeros(5 * RATE, np.float32),
        tokenizer=tekken,
        listener=lambda segments, seconds: told.append(seconds),
    )
    assert result.segments == [] and result.text == "" and told == [5.0]
    assert result.language == "und" and result.truncated == ()


def test_long_speech_is_cut_into_pieces_that_fit(recipe: ModuleType) -> None:
    samples = recipe.sound("talk", 50 * RATE).astype(np.float32) / 32768
    spans = module.pieces(samples, 12.0)
    assert all(span.seconds <= 12.0 for span in spans) and len(spans) > 3


def test_answers_are_streamed_and_reproducible(
    tiny: Voxtral, tekken: Tekken, recipe: ModuleType
) -> None:
    clip = recipe.clip("other").astype(np.float32) / 32768
    turns = [Turn("user", [clip, "What is it?"])]
    written: list[str] = []
    first = ask(tiny, turns, max_tokens=9, tokenizer=tekken, on_text=written.append)
    again = ask(tiny, turns, max_tokens=9, tokenizer=tekken)
    other = ask(
        tiny,
        turns,
        max_tokens=9,
        tokenizer=tekken,
        sampling=Sampling(temperature=2.0, seed=1),
    )
    assert first == again and first.tokens != other.tokens
    assert "".join(written).strip() == first.text == tekken.decode(first.tokens).strip()


def test_draws_follow_the_probabilities_within_top_p() -> None:
    probabilities = np.array([0.1, 0.5, 0.05, 0.3, 0.05])
    logits = mx.array(np.log(probabilities), mx.float32)[None]
    kept = np.isfinite(np.array(within_top_p(logits, 0.75)))[0]
    assert kept.tolist() == [False, True, False, True, False]
    assert np.isfinite(np.array(within_top_p(logits, 0.4)))[0].sum() == 1
    choose = Chooser(Sampling(temperature=1.0, top_p=0.85, seed=3))
    draws = Counter(int(choose(logits)[0].item()) for _ in range(600))
    assert set(draws) == {0, 1, 3}
    assert draws[1] / 600 == pytest.approx(0.5 / 0.9, abs=0.06)


def test_the_likeliest_token_has_its_log_probability() -> None:
    logits = mx.array([[0.0, 2.0, 1.0]])
    token, logprob = Chooser(Sampling())(logits)
    expected = 2 - np.log(np.exp([0.0, 2.0, 1.0]).sum())
    assert token.tolist() == [1]
    assert logprob.item() == pytest.approx(expected, rel=1e-6)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(SpeechError, match="does not know the language 'xx'"):
        TranscriptionOptions(language="xx")
    with pytest.raises(SpeechError, match="pieces of 4000 s cannot be transcribed"):
        TranscriptionOptions(piece_seconds=4000)
    with pytest.raises(SpeechError, match="the seed -1 is out of range"):
        Sampling(seed=-1)
    with pytest.raises(SpeechError, match="nothing can be drawn at temperature -1"):
        TranscriptionOptions(temperature=-1)


def test_empty_audio_and_absent_tokenizers_are_refused(
    tiny: Voxtral, tekken: Tekken, tmp_path: Path
) -> None:
    with pytest.raises(SpeechError, match=r"has the shape \[0\]"):
        transcribe_in_pieces(tiny, np.zeros(0, np.float32), tokenizer=tekken)
    with pytest.raises(SpeechError, match="was not loaded from a folder"):
        transcribe_in_pieces(tiny, np.zeros(RATE, np.float32))
    loaded = Voxtral(tiny.config)
    loaded.folder = tmp_path
    with pytest.raises(SpeechError, match=r"has no tokenizer, tekken\.json"):
        ask(loaded, [Turn("user", ["Why?"])])


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    tiny: Voxtral, recipe: ModuleType, tmp_path: Path
) -> None:
    text = replace(tiny.config.text, vocab_size=500)
    model = Voxtral(replace(tiny.config, text=text))
    model.folder = tmp_path
    (tmp_path / "tekken.json").write_text(json.dumps(recipe.tekken()))
    with pytest.raises(SpeechError, match="has 512 tokens and the model 500"):
        ask(model, [Turn("user", ["Why?"])])
