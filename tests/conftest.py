"""Shared by all tests: one BLAS thread, no compiled CPU kernels, a hint when absent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# Both are read when the libraries start, so they are set before any import of ours.
# mx.compile on a CPU runs a C++ compiler per kernel: minutes, and no gain.
os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: the
# tests of interruptions shall pass there too.
signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    import mlx_speech.cli  # noqa: F401
except ImportError:
    pytest.exit("mlx-speech is not installed: run `pip install -e '.[test]'`", 4)

TINY = """\
mel: demo-16k
batch_size: 2
segment_frames: 16
hidden_channels: 16
inter_channels: 16
filter_channels: 16
n_layers: 1
posterior_layers: 1
flow_layers: 1
n_flows: 2
use_sdp: false
decoder: istft
istft_channels: 16
istft_layers: 1
discriminator_scale: 0.02
discriminator_periods: [2]
max_steps: 2
validation_share: 0.2
validate_every: 0
sample_every: 0
log_every: 1
"""
TEXTS = ("one two", "a cat", "the sun", "go on", "red sky", "my hat")


@pytest.fixture(scope="session")
def record_tones() -> Callable[..., Path]:
    """Make a folder of six recordings of about 1 s, each with a .txt beside it."""

    def record(folder: Path, texts: Sequence[str] = TEXTS, rate: int = 16000) -> Path:
        import numpy as np
        import soundfile

        folder.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(0)
        for index, text in enumerate(texts):
            time = np.arange(rate + index * rate // 20) / rate
            tone = 0.3 * np.sin(2 * np.pi * (150 + 20 * index) * time)
            noise = 0.01 * draw.standard_normal(len(time))
            soundfile.write(folder / f"r{index}.wav", tone + noise, rate)
            (folder / f"r{index}.txt").write_text(text, encoding="utf-8")
        return folder

    return record


@pytest.fixture
def read_by_rule(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Find the words of a text for which neither dictionary nor parts have a reading.

    By listening at the letter rules while the text is read.
    """
    from mlx_speech.text import english

    def listen(text: str) -> list[str]:
        heard: list[str] = []
        rules = english.pronounce_by_rule

        def pronounce(word: str) -> tuple[str, ...]:
            heard.append(word)
            return rules(word)

        with monkeypatch.context() as patch:
            patch.setattr(english, "pronounce_by_rule", pronounce)
            english.phonemize(text)
        return list(dict.fromkeys(heard))

    return listen


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YAML file of settings under which a step of VITS takes a tenth of a second."""
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(TINY)
    return path
