"""Both pipelines on the same recordings: the measurement, and what it must show."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.bench import pipelines
from mlx_speech.bench.pipelines import PAUSES, compare_pipelines, join_sentences
from mlx_speech.errors import SpeechError
from mlx_speech.models import BUNDLED_FOLDER
from mlx_speech.whisper.checkpoints import load_whisper
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Transcription

ROOT = Path(__file__).resolve().parents[2]
RECOGNISER = ROOT / "weights" / BUNDLED_FOLDER
CONFIG = WhisperConfig(
    **{"n_mels": 80, "n_audio_ctx": 50, "n_audio_state": 8, "n_audio_head": 2},
    **{"n_audio_layer": 1, "n_vocab": 51864, "n_text_ctx": 16},
    **{"n_text_state": 8, "n_text_head": 2, "n_text_layer": 1},
)


def test_sentences_are_joined_by_silences() -> None:
    spoken = [(np.full(1600, 0.5), "one two"), (np.full(3200, 0.5), "three")]
    joined = join_sentences(spoken, seed=1)
    assert joined.text == "one two three"
    loud = np.flatnonzero(np.diff(joined.samples > 0.25, prepend=0, append=0))
    starts, ends = loud[::2], loud[1::2]
    assert (ends - starts).tolist() == [1600, 3200]
    silences = np.array([starts[0], starts[1] - ends[0], len(joined.samples) - ends[1]])
    assert (silences >= 0.4 * 16000).all()
    assert (silences <= 6 * 16000).all()
    assert 0 < np.abs(joined.samples[: starts[0]]).max() < 0.02
    again = join_sentences(spoken, seed=1).samples
    np.testing.assert_array_equal(again, joined.samples)


def test_errors_and_times_of_both_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 25.0, 30.0, 32.0])
    monkeypatch.setattr(pipelines.time, "process_time", lambda: next(clock))
    heard: list[tuple[bool, int]] = []

    def hear(model: Any, samples: np.ndarray, *rest: Any, **options: Any) -> Any:
        heard.append((options["exact"], len(samples)))
        text = "red green blue" if options["exact"] else "red grey blue"
        return Transcription(text, [], "en", 0.0)

    monkeypatch.setattr(pipelines, "transcribe", hear)
    spoken = [(np.zeros(16000), "red green"), (np.zeros(16000), "blue")]
    recordings = [join_sentences(spoken, seed) for seed in (0, 1)]
    found = compare_pipelines(Whisper(CONFIG), recordings)
    lengths = [len(recording.samples) for recording in recordings]
    # A window of 1 s first, which is not timed.
    assert heard[0] == (True, 16000)
    assert heard[1:] == [(exact, n) for n in lengths for exact in (True, False)]
    assert (found.exact.seconds, found.batched.seconds) == (8.0, 3.0)
    assert (found.exact.errors.errors, found.batched.errors.errors) == (0, 2)
    assert found.difference == pytest.approx(100 * 2 / 6)
    assert found.time_ratio == 3 / 8
    assert found.audio_seconds == pytest.approx(sum(lengths) / 16000)


def test_recordings_of_few_windows_are_refused() -> None:
    model = Whisper(CONFIG)
    short = pipelines.LongRecording(np.zeros(16000, np.float32), "")
    with pytest.raises(SpeechError, match="5 windows of 1 s"):
        compare_pipelines(model, [short])
    with pytest.raises(SpeechError, match=r"0\.0 s"):
        compare_pipelines(model, [])


@pytest.fixture(scope="module")
def sentences() -> list[tuple[np.ndarray, str]]:
    """280 that the recogniser never heard, spoken now; each is 0.3 points of errors."""
    folder = ROOT / "weights"
    path = folder / "make_recogniser_corpus.py"
    spec = importlib.util.spec_from_file_location("make_recogniser_corpus", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        # A dataclass looks for its module by name.
        patch.setitem(sys.modules, spec.name, script)
        spec.loader.exec_module(script)
    program = script.find_espeak()
    return [
        (script.speak(program, take.arguments, take.sentence), take.sentence)
        for take in script.takes("held_out")[:280]
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
@pytest.mark.parametrize("longest_pause", [2.0, PAUSES[1]])
def test_batched_and_exact_are_as_good_and_batched_is_quicker(
    sentences: list[tuple[np.ndarray, str]], longest_pause: float
) -> None:
    mx.random.seed(0)
    recordings = [
        join_sentences(sentences[at : at + 20], at, (PAUSES[0], longest_pause))
        for at in range(0, len(sentences), 20)
    ]
    found = compare_pipelines(
        load_whisper(RECOGNISER), recordings, TranscriptionOptions(language="en")
    )
    print(f"batched - exact {found.difference:+.2f}, time {found.time_ratio:.2f}")
    assert abs(found.difference) <= 1.0, (found.batched.errors, found.exact.errors)
    assert found.batched.errors.rate < 0.1
    assert found.time_ratio < 1.0
