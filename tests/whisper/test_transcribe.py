"""Windows of a recording, cutting into segments, clips, prompts and bad input."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio.mel import log_mel
from mlx_speech.errors import SpeechError
from mlx_speech.whisper import transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.mel_windows import MelWindows, mel_spec
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.segments import Piece, cut_window
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

TIME = 1000
SMALL = Vocabulary(
    {bytes([value]): value for value in range(256)},
    SpecialTokens.following(256, ("en", "de", "ja"), timestamps=41),
    multilingual=True,
)
CONFIG = WhisperConfig(
    **{"n_mels": 80, "n_audio_ctx": 20, "n_audio_state": 16, "n_audio_head": 2},
    **{"n_audio_layer": 1, "n_vocab": SMALL.size, "n_text_ctx": 32},
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
    time = np.arange(round(seconds * 16000)) / 16000
    level = np.linspace(0.01, 0.5, len(time))
    tone = level * np.sin(2 * np.pi * 330 * time)
    return (tone + 0.003 * draw.standard_normal(len(time))).astype(np.float32)


def run(model: Whisper, samples: np.ndarray, **options: Any) -> Any:
    settings = {"language": "en", "temperature": 0.0, **options}
    return transcribe(
        model,
        samples,
        TranscriptionOptions(**settings),
        exact=True,
        tokenizer=Tokenizer(SMALL),
    )


@pytest.mark.parametrize("seconds", [0.01, 0.02, 0.4, 1.013, 2.5])
def test_windows_equal_the_spectrogram_of_the_whole(seconds: float) -> None:
    samples = sound(seconds)
    padded = np.pad(samples, (0, 6400))
    whole = np.array(log_mel(mx.array(padded), mel_spec(CONFIG)))
    mel = MelWindows(samples, CONFIG)
    assert mel.frames == len(samples) // 160
    assert mel.seconds == pytest.approx(seconds)
    for start in range(0, mel.frames + 1, 23):
        for frames in (40, min(40, mel.frames - start)):
            if frames < 1:
                continue
            window = np.array(mel.window(start, frames))
            assert window.shape == (1, 40, 80)
            np.testing.assert_allclose(
                window[0, :frames], whole[start : start + frames], atol=2e-5
            )
            assert not window[0, frames:].any()


def test_a_window_at_the_peak_of_a_long_recording() -> None:
    # The peak lies in another block than the window, and changes its floor.
    samples = 1e-4 * sound(31)
    samples[-800:] = sound(31)[-800:]
    padded = np.pad(samples, (0, 6400))
    whole = np.array(log_mel(mx.array(padded), mel_spec(CONFIG)))
    window = np.array(MelWindows(samples, CONFIG).window(100, 40))
    np.testing.assert_allclose(window[0], whole[100:140], atol=2e-5)


def test_another_transform_of_the_frames_is_used_for_windows_and_their_peak() -> None:
    samples = sound(1.3)
    own = np.array(MelWindows(samples, CONFIG).window(20, 40))
    doubled = MelWindows(samples, CONFIG, lambda frames: 2 * mx.fft.rfft(frames))
    # Twice the magnitude is log10(4) / 4 more everywhere, the floor included.
    np.testing.assert_allclose(
        np.array(doubled.window(20, 40)), own + np.log10(4) / 4, atol=2e-5
    )
    model = Whisper(CONFIG)
    heard: list[int] = []

    def listened(frames: mx.array) -> mx.array:
        heard.append(frames.shape[-1])
        return mx.fft.rfft(frames)

    settings = TranscriptionOptions(language="en", temperature=0.0)
    transcribe(model, samples, settings, tokenizer=Tokenizer(SMALL), rfft=listened)
    assert set(heard) == {400}


def test_closed_segments_are_cut_and_an_open_one_left_to_the_next_window() -> None:
    tokens = [TIME, 5, 6, TIME + 10, TIME + 12, 7, TIME + 30, TIME + 30, 8]
    cut = cut_window(tokens, TIME, 200)
    assert cut.pieces == (
        Piece(0.0, 0.2, (TIME, 5, 6, TIME + 10)),
        Piece(0.24, 0.6, (TIME + 12, 7, TIME + 30)),
    )
    assert cut.advance == 60
    assert not cut.ends_in_silence


def test_silence_after_the_last_segment_is_passed_over() -> None:
    tokens = [TIME, 5, TIME + 10, TIME + 12, 7, TIME + 30]
    cut = cut_window(tokens, TIME, 180)
    assert [piece.end for piece in cut.pieces] == [0.2, 0.6]
    assert cut.advance == 180
    assert cut.ends_in_silence


@pytest.mark.parametrize(
    ("tokens", "end"),
    [([TIME, 5, 6], 1.8), ([TIME, 5, TIME + 50], 1.0), ([5, 6], 1.8), ([], 1.8)],
)
def test_a_window_without_closed_segments_is_one(tokens: list[int], end: float) -> None:
    cut = cut_window(tokens, TIME, 180)
    assert cut.pieces == (Piece(0.0, end, tuple(tokens)),)
    assert cut.advance == 180


def test_a_window_never_ends_where_it_began() -> None:
    assert cut_window([5, TIME, TIME, 6], TIME, 180).advance == 180


def test_clips() -> None:
    def clips(given: Any) -> list[tuple[int, int]]:
        return TranscriptionOptions(clip_timestamps=given).clips(1000, 100)

    assert clips("0") == [(0, 1000)]
    assert clips("") == clips(()) == [(0, 1000)]
    assert clips("1,2.5,4") == [(100, 250), (400, 1000)]
    assert clips([1, 2, 3, 40]) == [(100, 200), (300, 1000)]
    assert clips("50") == [(5000, 1000)]


@pytest.mark.parametrize("threshold", [-1.0, float("nan")])
def test_silence_of_less_than_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(SpeechError, match="hallucination_silence_threshold"):
        TranscriptionOptions(hallucination_silence_threshold=threshold)


@pytest.mark.parametrize("given", ["a", "1,x", "3,2", "-1", [5.0, 4.0]])
def test_impossible_clips_are_refused(given: Any) -> None:
    with pytest.raises(SpeechError, match="clip_timestamps"):
        TranscriptionOptions(clip_timestamps=given).clips(1000, 100)


def test_only_clips_are_transcribed(small: Whisper) -> None:
    found = run(small, sound(3), clip_timestamps="0.5,0.9,2,2.3")
    seeks = {segment.seek for segment in found.segments}
    assert all(50 <= seek < 90 or 200 <= seek < 230 for seek in seeks)
    assert run(small, sound(1), clip_timestamps="5").segments == []


def result(logprob: float, silence: float, ratio: float) -> DecodingResult:
    return DecodingResult(
        audio_features=mx.zeros((1, 1)),
        language="en",
        avg_logprob=logprob,
        no_speech_prob=silence,
        compression_ratio=ratio,
    )


@pytest.mark.parametrize(
    ("found", "failed", "silent"),
    [
        (result(-0.5, 0.1, 1.5), False, False),
        (result(-1.5, 0.1, 1.5), True, False),
        (result(-0.5, 0.1, 2.5), True, False),
        (result(-0.5, 0.9, 2.5), True, False),
        (result(-1.5, 0.9, 1.5), False, True),
        (result(-1.5, 0.9, 2.5), False, True),
        (result(-1.0, 0.9, 1.5), False, True),
    ],
)
def test_thresholds(found: DecodingResult, failed: bool, silent: bool) -> None:
    options = TranscriptionOptions()
    assert options.failed(found) is failed
    assert options.silent(found) is silent


def test_a_window_is_encoded_once_for_all_its_temperatures(
    small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = Whisper.encode
    monkeypatch.setattr(
        Whisper, "encode", lambda self, mel: calls.append(1) or encode(self, mel)
    )
    options = {"temperature": (0.0, 0.5, 1.0), "logprob_threshold": 0.0}
    found = run(small, sound(0.4), no_speech_threshold=None, **options, language=None)
    assert {segment.temperature for segment in found.segments} == {1.0}
    assert len({segment.seek for segment in found.segments}) == 1
    assert len(calls) == 1


def test_the_listener_hears_every_segment_as_it_comes(small: Whisper) -> None:
    heard: list[Any] = []
    done: list[float] = []

    def listen(segments: Any, seconds: float) -> None:
        heard.extend(segments)
        done.append(seconds)

    found = transcribe(
        small,
        sound(2),
        TranscriptionOptions(language="en", temperature=0.0),
        tokenizer=Tokenizer(SMALL),
        listener=listen,
    )
    assert heard == list(found.segments)
    assert done == sorted(done)
    assert done[-1] == 2.0


def test_short_sounds_and_none_at_all(small: Whisper) -> None:
    assert run(small, np.zeros(0, np.float32)).segments == []
    assert run(small, sound(0.005)).segments == []
    found = run(small, sound(0.01))
    assert found.duration == pytest.approx(0.01)
    assert all(segment.end <= 0.8 for segment in found.segments)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(small: Whisper, wrong: float) -> None:
    samples = sound(0.5)
    samples[100] = wrong
    with pytest.raises(SpeechError, match="no numbers"):
        run(small, samples)


def test_several_channels_are_refused(small: Whisper) -> None:
    with pytest.raises(SpeechError, match="one axis"):
        run(small, np.zeros((2, 100), np.float32))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("language", ["klingon", ""])
def test_an_unknown_language_is_refused(
    small: Whisper, language: str, exact: bool
) -> None:
    options = TranscriptionOptions(language=language)
    keywords = {"exact": exact, "tokenizer": Tokenizer(SMALL)}
    with pytest.raises(SpeechError, match=f"language '{language}' is not known"):
        transcribe(small, sound(0.5), options, **keywords)


def test_no_temperature_is_refused(small: Whisper) -> None:
    with pytest.raises(SpeechError, match="temperature"):
        run(small, sound(0.5), temperature=())
