"""Voxtral Realtime against transformers, in one piece and as a stream."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio.mel import MelSpec, log_mel
from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.realtime import (
    HeardToken,
    RealtimeReader,
    stream_tokens,
    transcribe_stream,
)
from mlx_speech.voxtral.realtime_audio import (
    PaddedStream,
    StreamSettings,
    embed_stream,
    samples_per_token,
)
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.tokenizer import Tekken

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
NAMES = ("long", "short", "quick")
Relative = Callable[[Any, Any], float]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "voxtral_realtime.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return json.loads((GOLDENS / "voxtral_realtime.json").read_text())


@pytest.fixture(scope="module")
def tekken_6(realtime: ModuleType) -> Tekken:
    return Tekken(realtime.tekken(6))


@pytest.fixture(scope="module")
def settings(tiny_realtime: VoxtralRealtime, tekken_6: Tekken) -> StreamSettings:
    return StreamSettings.of(tiny_realtime, tekken_6)


def clip(realtime: ModuleType, name: str) -> np.ndarray:
    return realtime.clip(name).astype(np.float32) / 32768


def heard(
    model: VoxtralRealtime,
    blocks: np.ndarray | list[np.ndarray],
    settings: StreamSettings,
) -> list[HeardToken]:
    stream = PaddedStream(blocks, settings, samples_per_token(model))
    return [token for some in stream_tokens(model, stream, settings) for token in some]


@pytest.mark.parametrize("name", NAMES)
def test_network_equals_transformers(
    name: str,
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    arrays: dict[str, np.ndarray],
    answers: dict[str, Any],
    relative: Relative,
) -> None:
    model, delay = tiny_realtime, realtime.CLIPS[name][1]
    settings = StreamSettings.of(model, Tekken(realtime.tekken(delay)))
    stream = list(PaddedStream(clip(realtime, name), settings, 1280))
    mel = log_mel(mx.array(np.concatenate(stream)), MelSpec.preset("voxtral-realtime"))
    features = model.audio_tower(mel[None], model.audio_tower.new_state())[0]
    audio = model.encode(mel, model.audio_tower.new_state())
    tokens = answers[name]["prompt"] + answers[name]["tokens"]
    assert settings.prompt == answers[name]["prompt"]
    caches = model.language_model.new_caches()
    logits = model.read(mx.array(tokens), audio, caches, model.delay_scales(delay))
    fields = {
        "features": mel,
        "encoder": features,
        "projector": audio,
        "logits": logits,
    }
    for field, value in fields.items():
        ours = realtime.sample(field, np.array(value))
        assert relative(ours, arrays[f"{name}/{field}"]) < 1e-5, field


@pytest.mark.parametrize("name", NAMES)
def test_tokens_equal_transformers_in_one_piece(
    name: str,
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    answers: dict[str, Any],
) -> None:
    tokenizer = Tekken(realtime.tekken(realtime.CLIPS[name][1]))
    settings = StreamSettings.of(tiny_realtime, tokenizer)
    found = heard(tiny_realtime, clip(realtime, name), settings)
    assert [token.token for token in found] == answers[name]["tokens"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_streaming_equals_one_shot_for_blocks_of_any_length(
    seed: int,
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    settings: StreamSettings,
    answers: dict[str, Any],
) -> None:
    samples, draw = clip(realtime, "long"), random.Random(seed)
    blocks = []
    while len(samples):
        size = draw.choice([0, 1, 160, 777, 1280, 4000, 20000])
        blocks.append(samples[:size])
        samples = samples[size:]
    found = heard(tiny_realtime, blocks, settings)
    assert [token.token for token in found] == answers["long"]["tokens"]


def test_tokens_come_as_soon_as_their_audio_is_there(
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    settings: StreamSettings,
) -> None:
    given = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal given
        for start in range(0, 40_000, 1280):
            given = start + 1280
            yield clip(realtime, "long")[start:given]

    stream = PaddedStream(blocks(), settings, samples_per_token(tiny_realtime))
    before = len(settings.prompt)
    position = before - 1
    for some in stream_tokens(tiny_realtime, stream, settings):
        position += len(some)
        if some and stream.total_tokens is None:
            # All tokens of audio but the one whose frames still see the future.
            assert position >= settings.left_tokens + given // 1280 - 1
    assert stream.total_tokens == position + 1


def test_times_follow_the_positions(
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    settings: StreamSettings,
) -> None:
    found = heard(tiny_realtime, clip(realtime, "short"), settings)
    times = [token.seconds for token in found]
    # The prompt has 39 tokens: the first token is about the second 80 ms of audio.
    assert times[:3] == pytest.approx([0.08, 0.16, 0.24])
    assert np.allclose(np.diff(times), 0.08)
    assert all(0 < token.probability <= 1 for token in found)


def test_the_model_goes_on_when_it_ends_in_the_middle(
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    settings: StreamSettings,
    answers: dict[str, Any],
) -> None:
    tokens = answers["long"]["tokens"]
    # A token that comes first at the fourth place shall be the end of the text.
    index = 7
    end = tokens[index - 1]
    index = tokens.index(end)
    other = StreamSettings(
        settings.begin, settings.pad, end, settings.left_tokens, settings.delay_tokens
    )
    found = [t.token for t in heard(tiny_realtime, clip(realtime, "long"), other)]
    assert found[:index] == tokens[:index]
    assert end not in found
    # Begun anew by hand, with the audio before and nothing else.
    stream = PaddedStream(clip(realtime, "long"), other, 1280)
    audio = mx.concatenate(list(embed_stream(tiny_realtime, stream)))
    position = len(settings.prompt) + index
    logits = tiny_realtime.read(
        mx.array(settings.prompt),
        audio[position - len(settings.prompt) : position],
        tiny_realtime.language_model.new_caches(),
        tiny_realtime.delay_scales(6),
    )
    again = mx.argmax(logits[-1]).item()
    assert found[index] == (settings.pad if again == end else again)


def test_an_end_in_the_silence_after_the_audio_ends_the_text(
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    settings: StreamSettings,
    answers: dict[str, Any],
) -> None:
    tokens = answers["long"]["tokens"]
    end = tokens[-1]
    assert end not in tokens[:-17]
    other = StreamSettings(
        settings.begin, settings.pad, end, settings.left_tokens, settings.delay_tokens
    )
    found = [t.token for t in heard(tiny_realtime, clip(realtime, "long"), other)]
    assert found == tokens[: tokens.index(end)]


def test_another_delay_may_be_asked_for(
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    tekken_6: Tekken,
    answers: dict[str, Any],
) -> None:
    settings = StreamSettings.of(tiny_realtime, tekken_6, delay_tokens=3)
    found = heard(tiny_realtime, clip(realtime, "quick"), settings)
    assert [token.token for token in found] == answers["quick"]["tokens"]
    for delay in (0, 31):
        with pytest.raises(SpeechError, match=f"cannot be {delay} tokens"):
            StreamSettings.of(tiny_realtime, tekken_6, delay_tokens=delay)


@pytest.mark.parametrize(
    "name", ["transcription_delay_ms", "streaming_n_left_pad_tokens"]
)
def test_a_setting_of_the_tokenizer_of_a_wrong_kind_is_named(
    realtime: ModuleType, tiny_realtime: VoxtralRealtime, name: str
) -> None:
    content = realtime.tekken(6)
    content["audio"][name] = "long"
    with pytest.raises(SpeechError, match=f"{name} is 'long'"):
        StreamSettings.of(tiny_realtime, Tekken(content))


def test_transcriptions_hold_the_text_of_all_tokens(
    tiny_realtime: VoxtralRealtime,
    realtime: ModuleType,
    tekken_6: Tekken,
    answers: dict[str, Any],
) -> None:
    written: list[str] = []
    told: list[float] = []
    result = transcribe_stream(
        tiny_realtime,
        clip(realtime, "long"),
        tokenizer=tekken_6,
        on_text=written.append,
        listener=lambda segments, seconds: told.append(seconds),
    )
    text = tekken_6.decode(answers["long"]["tokens"]).strip()
    assert "".join(written).strip() == result.text == text
    assert result.duration == 73_211 / 16000 and result.has_words
    assert told == sorted(told) and told[-1] == result.duration
    times = [(w.start, w.end) for s in result.segments for w in s.words or ()]
    assert all(start < end for start, end in times)
    assert [start for start, _ in times] == sorted(start for start, _ in times)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (np.zeros(0, np.float32), "the stream has no samples"),
        ([np.zeros((3, 2), np.float32)], r"a block of the stream, \[3, 2\]"),
        ([np.array([np.nan], np.float32)], "is no mono sound"),
    ],
)
def test_streams_that_are_no_sound_are_refused(
    tiny_realtime: VoxtralRealtime, tekken_6: Tekken, blocks: Any, message: str
) -> None:
    with pytest.raises(SpeechError, match=message):
        transcribe_stream(tiny_realtime, blocks, tokenizer=tekken_6)


def memory_in_use(
    model: VoxtralRealtime, settings: StreamSettings, blocks: int, seconds: int
) -> list[int]:
    """Bytes in use after each block of so many seconds of noise."""
    generator = np.random.default_rng(3)
    used: list[int] = []

    def noise() -> Iterator[np.ndarray]:
        for _ in range(blocks * seconds):
            yield (0.1 * generator.standard_normal(16000)).astype(np.float32)

    stream = PaddedStream(noise(), settings, samples_per_token(model))
    reader = RealtimeReader(model, settings)
    for audio in embed_stream(model, stream):
        reader.read(audio, stream.total_tokens, stream.real_tokens)
        if stream.samples % (seconds * 16000) == 0:
            used.append(mx.get_active_memory())
    return used


def test_memory_does_not_grow_with_the_stream(
    tiny_realtime: VoxtralRealtime, settings: StreamSettings
) -> None:
    used = memory_in_use(tiny_realtime, settings, blocks=5, seconds=10)
    assert len(used) >= 5
    # Buffers are made anew now and then, so it goes up and down a little.
    assert max(used[2:]) < 1.1 * max(used[:2])


@pytest.mark.slow
def test_twenty_minutes_take_no_more_memory_than_two(
    tiny_realtime: VoxtralRealtime, settings: StreamSettings
) -> None:
    """Half a minute of processor time; `pytest -m slow tests/voxtral`.

    After 21.8 minutes the encoder counts its positions anew.
    """
    used = memory_in_use(tiny_realtime, settings, blocks=23, seconds=60)
    assert len(used) >= 23
    assert max(used[2:]) < 1.1 * max(used[:2])
