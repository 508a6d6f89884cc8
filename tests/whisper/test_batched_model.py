"""What the batched pipeline asks of the model: each window once through the encoder."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper import fallback, transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary
from mlx_speech.writers import Transcription

WORDS = Vocabulary(
    {bytes([value]): value for value in range(256)},
    SpecialTokens.following(256, ("en", "de", "ja"), timestamps=41),
    multilingual=True,
)
CONFIG = WhisperConfig(
    **{"n_mels": 80, "n_audio_ctx": 20, "n_audio_state": 16, "n_audio_head": 2},
    **{"n_audio_layer": 1, "n_vocab": WORDS.size, "n_text_ctx": 32},
    **{"n_text_state": 16, "n_text_head": 2, "n_text_layer": 1},
)


@pytest.fixture(scope="module")
def small() -> Whisper:
    mx.random.seed(3)
    model = Whisper(CONFIG)
    model.decoder.embed_positions = mx.random.normal((32, 16))
    return model


def sound(seconds: float) -> np.ndarray:
    draw = np.random.default_rng(0)
    return (0.1 * draw.standard_normal(round(16000 * seconds))).astype(np.float32)


def run(model: Whisper, seconds: float, options: Any, **keywords: Any) -> Transcription:
    return transcribe(
        model,
        sound(seconds),
        TranscriptionOptions(**{"no_speech_threshold": None, **options}),
        tokenizer=Tokenizer(WORDS),
        find_speech=None,
        **keywords,
    )


class Counter:
    """Windows that went through the encoder, and rows that were decoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.encoded: list[int] = []
        self.decoded: list[tuple[float, int]] = []
        self._encode, self._decode = Whisper.encode, fallback.decode
        patch.setattr(Whisper, "encode", lambda model, mel: self.encode(model, mel))
        patch.setattr(fallback, "decode", self.decode)

    def encode(self, model: Whisper, mel: mx.array) -> mx.array:
        self.encoded.append(mel.shape[0])
        return self._encode(model, mel)

    def decode(
        self, model: Any, windows: Any, options: Any, **more: Any
    ) -> list[DecodingResult]:
        found = self._decode(model, windows, options, **more)
        self.decoded.append((options.temperature, len(found)))
        return found

    def rows(self) -> dict[float, int]:
        """How many were decoded at each temperature."""
        found: dict[float, int] = {}
        for temperature, rows in self.decoded:
            found[temperature] = found.get(temperature, 0) + rows
        return found


@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
def test_a_window_goes_through_the_encoder_once(
    batch_size: int, small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    options = {"temperature": (0.0, 0.5, 1.0), "logprob_threshold": 0.0, "best_of": 3}
    # Without times in the text, windows follow each other.
    times = list(range(WORDS.special.timestamp_begin, WORDS.size))
    options |= {"without_timestamps": True, "suppress_tokens": times}
    found = run(small, 3.9, options, batch_size=batch_size)
    # Ten windows of 0.4 s; the language is detected, and all fail.
    assert counter.encoded == [1] * 10
    assert max(rows for _, rows in counter.decoded) == min(batch_size, 10)
    assert counter.rows() == {0.0: 10, 0.5: 10, 1.0: 10}
    assert {segment.temperature for segment in found.segments} == {1.0}


def test_times_of_words_take_no_pass_of_the_encoder(
    small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    options = {"temperature": (0.0, 0.5), "word_timestamps": True}
    found = run(small, 3.9, options, batch_size=3)
    assert found.has_words
    assert any(segment.words for segment in found.segments)
    assert len(counter.encoded) == counter.rows()[0.0] >= 10


def test_nothing_is_decoded_again_when_nothing_failed(
    small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    limits = {"logprob_threshold": None, "compression_ratio_threshold": None}
    run(small, 2.0, {"without_timestamps": True, **limits, "language": "en"})
    assert counter.decoded == [(0.0, 5)]


def test_windows_without_speech_give_no_text(small: Whisper) -> None:
    options = {"language": "en", "temperature": 0.0, "logprob_threshold": 0.0}
    assert run(small, 2.0, options).segments != []
    silent = {**options, "no_speech_threshold": -1.0}
    found = run(small, 2.0, silent)
    assert (found.text, list(found.segments)) == ("", [])


def test_draws_follow_the_seed(small: Whisper) -> None:
    def draw(seed: int) -> str:
        mx.random.seed(seed)
        return run(small, 2.0, {"language": "en", "temperature": 1.0}).text

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_language_does_not_depend_on_the_batch(small: Whisper) -> None:
    found = {
        run(small, 3.0, {"temperature": 0.0}, batch_size=size).language
        for size in (1, 3, 8)
    }
    assert len(found) == 1


def test_a_batch_takes_half_precision(small: Whisper) -> None:
    mx.random.seed(3)
    model = Whisper(CONFIG)
    model.set_dtype(mx.float16)
    options = {"temperature": 0.0, "word_timestamps": True}
    assert len(run(model, 2.0, options, batch_size=3).segments) >= 5


@pytest.mark.parametrize(
    "options",
    [
        {"word_timestamps": True},
        {"word_timestamps": True, "without_timestamps": True, "language": "ja"},
        {"language": "de", "temperature": 1.0, "best_of": 4},
        {"language": "en", "temperature": 0.7, "hotwords": "xyz"},
    ],
    ids=str,
)
@pytest.mark.parametrize("spans", [None, [(0.1, 0.35), (1.0, 2.2), (3.0, 3.1)]])
def test_text_lies_in_what_was_heard_and_in_order(
    options: dict[str, Any], spans: Any, small: Whisper
) -> None:
    mx.random.seed(0)
    finder = None if spans is None else lambda *_: spans
    settings = {"temperature": 0.0, "no_speech_threshold": None, **options}
    found = transcribe(
        small,
        sound(3.5),
        TranscriptionOptions(**settings),
        tokenizer=Tokenizer(WORDS),
        find_speech=finder,
        batch_size=3,
    )
    assert found.segments
    # A window of 0.4 s keeps 0.04 s of silence around speech.
    heard = [(0.0, 3.5)] if spans is None else [(a - 0.05, b + 0.05) for a, b in spans]
    previous = 0.0
    for segment in found.segments:
        assert previous <= segment.start <= segment.end <= 3.5
        previous = segment.start
        edges = [(segment.start, segment.end)]
        edges += [(word.start, word.end) for word in segment.words or ()]
        for start, end in edges[1:]:
            # No word reaches over a pause.
            assert any(a <= start <= end <= b for a, b in heard), (start, end)
        assert edges[1:] == sorted(edges[1:])
        for moment in edges[0]:
            assert any(a <= moment <= b for a, b in heard), moment


def test_improbable_words_amid_silence_are_dropped_on_request(small: Whisper) -> None:
    # All words of random weights are improbable, and most very short.
    options = {"language": "ja", "temperature": 0.0, "word_timestamps": True}
    assert run(small, 3.5, options).segments
    assert not run(small, 3.5, {**options, "hallucination_silence_threshold": 0.1}).text
