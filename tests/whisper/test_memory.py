"""How much memory a transcription takes is known beforehand, and bounds the batch.

Published sizes are counted without making their weights: MLX is lazy.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech import backend
from mlx_speech.bench.whisper import SIZES
from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.whisper import batched, sequential, transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import EncodedWindows, encode_windows
from mlx_speech.whisper.memory import bytes_needed, fitting_windows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions

GIGABYTE = 10**9
# What the commands ask for when nothing else is said.
USUAL = TranscriptionOptions(best_of=5)
TEXT_ALONE = [-1, *range(Tokenizer.for_size(51865).eot, 51865)]


def whisper(
    size: tuple[int, ...], half: bool = False, positions: int = 1500
) -> Whisper:
    mels, channels, heads, encoder, decoder, vocabulary = size
    config = WhisperConfig(
        **{"n_mels": mels, "n_audio_ctx": positions, "n_vocab": vocabulary},
        **{"n_audio_state": channels, "n_text_state": channels, "n_text_ctx": 448},
        **{"n_audio_head": heads, "n_text_head": heads},
        **{"n_audio_layer": encoder, "n_text_layer": decoder},
    )
    model = Whisper(config)
    model.set_dtype(mx.float16 if half else mx.float32)
    return model


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_memory_limit", None)
    monkeypatch.setattr(mx, "set_memory_limit", lambda limit: limit)
    monkeypatch.setattr(mx, "set_cache_limit", lambda limit: limit)


@pytest.fixture(scope="module")
def narrow() -> Whisper:
    """Its encoder needs much more on the way than it makes."""
    mx.random.seed(0)
    model = whisper((80, 128, 2, 1, 2, 51865))
    mx.eval(model.parameters())
    return model


@pytest.mark.parametrize(
    ("name", "half", "machine", "windows"),
    [
        ("turbo", True, 8, 8),
        ("distil-large-v3", True, 8, 8),
        ("small", True, 8, 8),
        ("medium", True, 8, 5),
        ("large-v3", True, 8, 1),
        ("large-v3", True, 16, 7),
        ("large-v3", True, 24, 8),
        ("turbo", False, 16, 8),
        ("tiny", False, 2, 8),
        # Even alone it takes more than half: as little as possible is tried.
        ("large-v3", False, 8, 1),
    ],
)
def test_the_usual_batch_fits_in_half_of_the_machine(
    name: str, half: bool, machine: int, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx, "get_memory_limit", lambda: machine * GIGABYTE)
    model = whisper(SIZES[name], half)
    assert fitting_windows(model, USUAL) == windows
    if windows > 1:
        assert bytes_needed(model, USUAL, windows) <= machine * GIGABYTE / 2
    if windows < 8:
        assert bytes_needed(model, USUAL, windows + 1) > machine * GIGABYTE / 2


@pytest.mark.parametrize(
    ("batch_size", "options"),
    [
        (1, {"temperature": 0.0}),
        (8, {"temperature": 0.0}),
        (8, {"temperature": (0.0, 0.4), "best_of": 5, "logprob_threshold": 0.0}),
        (4, {"temperature": 0.0, "beam_size": 5}),
        (2, {"temperature": 0.0, "sample_len": 40, "word_timestamps": True}),
    ],
    ids=["one", "batch", "failing", "beams", "words"],
)
def test_what_is_needed_is_known(
    batch_size: int, options: dict[str, Any], narrow: Whisper
) -> None:
    common: dict[str, Any] = {
        **{"language": "en", "sample_len": 6, "suppress_tokens": TEXT_ALONE},
        **{"without_timestamps": True, "no_speech_threshold": None},
        **{"logprob_threshold": None, "compression_ratio_threshold": None},
    }
    wanted = TranscriptionOptions(**common | options)
    # Two batches: the first one must be gone when the second comes.
    draw = np.random.default_rng(0)
    seconds = 30 * (batch_size + 2)
    samples = 0.05 * draw.standard_normal(16000 * seconds, dtype=np.float32)
    # The copy of the table of tokens belongs to the measurement.
    narrow.decoder.embed_tokens = type(narrow.decoder.embed_tokens)(51865, 128)
    mx.eval(narrow.parameters())
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    transcribe(narrow, samples, wanted, batch_size=batch_size, find_speech=None)
    taken = mx.get_peak_memory() - before
    weights = sum(array.nbytes for array in flatten_parameters(narrow).values())
    needed = bytes_needed(narrow, wanted, batch_size) - weights
    assert taken <= needed <= 1.6 * taken


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "batched"])
def test_windows_are_gone_when_the_next_are_encoded(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[EncodedWindows]] = []

    def encode(*given: Any) -> EncodedWindows:
        assert all(earlier() is None for earlier in alive)
        windows = encode_windows(*given)
        alive.append(weakref.ref(windows))
        return windows

    monkeypatch.setattr(sequential if exact else batched, "encode_windows", encode)
    model = whisper((80, 32, 2, 1, 1, 51865), positions=50)
    # The language is detected on a window that is decoded afterwards.
    options = TranscriptionOptions(temperature=0.0, sample_len=2)
    samples = np.random.default_rng(0).standard_normal(16000 * 5, dtype=np.float32)
    transcribe(model, samples, options, exact=exact, batch_size=2, find_speech=None)
    assert len(alive) >= 3


def test_a_draft_counts_but_not_an_encoder_that_is_shared() -> None:
    model, draft = whisper(SIZES["large-v3"]), whisper(SIZES["distil-large-v3"])
    apart = bytes_needed(model, USUAL, 1, draft)
    draft.encoder = model.encoder
    encoder = sum(array.nbytes for array in flatten_parameters(model.encoder).values())
    assert bytes_needed(model, USUAL, 1, draft) == apart - encoder
    assert apart - encoder > bytes_needed(model, USUAL, 1)
    assert fitting_windows(model, USUAL, draft) == 1


def test_a_limit_makes_the_batch_smaller() -> None:
    model = whisper(SIZES["small"])
    for windows in (1, 3, 8):
        backend.limit_memory(bytes_needed(model, USUAL, windows))
        assert fitting_windows(model, USUAL) == windows
    # More than half of the machine is fine when somebody says so.
    backend.limit_memory(10**15)
    assert fitting_windows(model, USUAL) == 8


def test_a_limit_that_no_window_fits_in_is_refused(narrow: Whisper) -> None:
    backend.limit_memory(bytes_needed(narrow, USUAL, 1) - 1)
    samples = np.zeros(1600, np.float32)
    for way in ({}, {"exact": True}, {"batch_size": 1}):
        with pytest.raises(SpeechError, match=r"one window take \d+ MB") as caught:
            transcribe(narrow, samples, USUAL, **way)
        assert "smaller" in caught.value.hint


def test_a_transcription_takes_as_many_windows_as_fit(
    narrow: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def note(*given: Any, batch_size: int, **more: Any) -> None:
        taken.append(batch_size)

    module = sys.modules["mlx_speech.whisper.transcribe"]
    monkeypatch.setattr(module, "transcribe_in_batches", note)
    samples = np.zeros(1600, np.float32)
    backend.limit_memory(bytes_needed(narrow, USUAL, 3))
    transcribe(narrow, samples, USUAL)
    transcribe(narrow, samples, USUAL, batch_size=5)
    assert taken == [3, 5]
