"""Memory does not grow with the recording, but for its samples.

The hour is slow; `pytest -m slow tests/whisper/test_transcription_memory.py` runs it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

# A process of its own: what other tests have used shall not count.
SCRIPT = """
import resource
import sys
import mlx.core as mx
import numpy as np
from mlx_speech.whisper import transcribe
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

minutes, pipeline = float(sys.argv[1]), sys.argv[2]
vocabulary = Vocabulary(
    {bytes([value]): value for value in range(256)},
    SpecialTokens.following(256, ("en", "de"), timestamps=401),
    multilingual=True,
)
config = WhisperConfig(
    **{"n_mels": 80, "n_audio_ctx": 400, "n_audio_state": 32, "n_audio_head": 2},
    **{"n_audio_layer": 1, "n_vocab": vocabulary.size, "n_text_ctx": 16},
    **{"n_text_state": 32, "n_text_head": 2, "n_text_layer": 1},
)
mx.random.seed(0)
model = Whisper(config)
second = np.arange(16000, dtype=np.float32) / 16000
tone = 0.2 * np.sin(2 * np.pi * 300 * second) * (second < 0.6)
tone += 0.001 * np.random.default_rng(0).standard_normal(len(tone))
samples = np.tile(tone.astype(np.float32), round(60 * minutes))
mx.reset_peak_memory()
options = TranscriptionOptions(
    language=None, temperature=(0.0, 0.4), sample_len=4, without_timestamps=True
)
ways = {"exact": {"exact": True}, "packed": {}, "fixed": {"find_speech": None}}
found = transcribe(
    model, samples, options, tokenizer=Tokenizer(vocabulary), **ways[pipeline]
)
assert len(found.segments) > 60 * minutes / 16, len(found.segments)
# Of the whole process: bytes on macOS, kilobytes elsewhere.
unit = 1 if sys.platform == "darwin" else 1024
resident = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(mx.get_peak_memory(), resident, samples.nbytes)
"""


def peak(minutes: float, pipeline: str) -> tuple[int, int, int]:
    """Peaks of MLX's memory and of the process's, and the samples, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(minutes), pipeline],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mlx, process, samples = map(int, done.stdout.split())
    return mlx, process, samples


def assert_bounded(pipeline: str, short: float, long: float) -> None:
    mlx_before, process_before, _ = peak(short, pipeline)
    mlx, process, samples = peak(long, pipeline)
    # The samples are numpy's: MLX's own share does not grow at all.
    assert mlx <= 1.1 * mlx_before
    assert process <= 1.1 * process_before + samples


@pytest.mark.parametrize("pipeline", ["exact", "packed", "fixed"])
def test_four_minutes_take_no_more_memory_than_one(pipeline: str) -> None:
    assert_bounded(pipeline, 1, 4)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["exact", "packed", "fixed"])
def test_an_hour_takes_no_more_memory_than_five_minutes(pipeline: str) -> None:
    assert_bounded(pipeline, 5, 60)
