"""Whatever a model writes, a transcription ends, and its times are in order and inside.

A stand-in for the decoder writes nonsense: by the grammar of times, or any tokens at
all. The network around it is real, so that words are timed too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper import fallback, transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import EncodedWindows
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary
from mlx_speech.writers import Segment

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
MOST_WINDOWS = 200


@pytest.fixture(scope="module")
def model() -> Whisper:
    mx.random.seed(1)
    return Whisper(CONFIG)


def by_the_grammar(draw: random.Random) -> list[int]:
    tokens: list[int] = []
    time = draw.randint(0, 50)
    for _ in range(draw.randint(0, 5)):
        start = draw.randint(time, time + 60)
        time = start + draw.randint(1, 120)
        if time > POSITIONS:
            break
        letters = [ord(draw.choice("abc.,")) for _ in range(draw.randint(1, 4))]
        tokens += [TIME + start, ord(" "), *letters, TIME + time]
    still_open = bool(tokens) and draw.random() < 0.4
    return tokens[:-1] if still_open else tokens


def anything(draw: random.Random) -> list[int]:
    times = [TIME, TIME + draw.randint(0, POSITIONS)]
    return draw.choices([*times, *map(ord, " ab.")], k=draw.randint(0, 14))


@pytest.mark.parametrize("write", [by_the_grammar, anything])
@pytest.mark.parametrize("seed", range(40))
def test_any_text_ends_and_is_placed_in_the_recording(
    write: Any, seed: int, model: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    heard = 0

    def decode(
        model: Whisper, windows: EncodedWindows, options: Any, **_: Any
    ) -> list[DecodingResult]:
        nonlocal heard
        heard += 1
        assert heard < MOST_WINDOWS, "the same window again and again"
        return [nonsense(features, options) for features in windows.features]

    def nonsense(features: mx.array, options: Any) -> DecodingResult:
        # The same for the same window.
        draw = random.Random(f"{seed} {options.temperature} {features.sum().item()}")
        return DecodingResult(
            features,
            "en",
            tokens=write(draw),
            avg_logprob=draw.choice([-0.1, -0.5, -2.0]),
            no_speech_prob=draw.choice([0.1, 0.1, 0.9]),
            temperature=options.temperature,
            compression_ratio=draw.choice([1.0, 3.0]),
        )

    monkeypatch.setattr(fallback, "decode", decode)
    seconds = draw.choice([0.3, 3.0, 8.0, 20.0])
    noise = np.random.default_rng(seed).standard_normal(round(16000 * seconds))
    starts = np.arange(draw.uniform(0, 1), seconds, 2.5)
    speech = [(start, min(start + 1.2, seconds)) for start in starts]
    told: list[Segment] = []
    done: list[float] = []

    def listener(segments: Sequence[Segment], until: float) -> None:
        told.extend(segments)
        done.append(until)

    found = transcribe(
        model,
        0.1 * noise.astype(np.float32),
        TranscriptionOptions(
            language="en",
            temperature=(0.0, 0.4),
            without_timestamps=write is anything,
            word_timestamps=draw.random() < 0.5,
            hallucination_silence_threshold=draw.choice([None, 0.0, 1.0]),
            clip_timestamps=draw.choice([(0.0,), (1.0, 3.0, 5.0)]),
        ),
        batch_size=draw.choice([1, 3]),
        find_speech=draw.choice([None, lambda samples, rate: speech]),
        tokenizer=Tokenizer(WORDS),
        listener=listener,
    )
    assert told == list(found.segments)
    assert done == sorted(done)
    for index, segment in enumerate(found.segments):
        assert segment.id == index
        assert 0 <= segment.start <= segment.end <= seconds
        for word in segment.words or ():
            assert segment.start <= word.start <= word.end <= segment.end
