"""``import mlx_speech``: its public names, found at first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mlx_speech

PROMISED = {
    "SpeechError": "mlx_speech.errors",
    "load": "mlx_speech.audio",
    "save": "mlx_speech.audio",
    "stft": "mlx_speech.audio",
    "istft": "mlx_speech.audio",
    "log_mel": "mlx_speech.audio",
    "MelSpec": "mlx_speech.audio",
    "load_model": "mlx_speech.models",
    "speak": "mlx_speech.models",
    "transcribe": "mlx_speech.models",
    "ButterflyFFT": "mlx_speech.butterfly",
}


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_name_is_the_thing_of_its_module(name: str) -> None:
    assert getattr(mlx_speech, name) is getattr(import_module(PROMISED[name]), name)
    assert name in mlx_speech.__all__


@pytest.mark.parametrize("name", mlx_speech.__all__)
def test_every_listed_name_resolves(name: str) -> None:
    assert getattr(mlx_speech, name) is not None


def test_listing_shows_the_public_names() -> None:
    assert dir(mlx_speech) == sorted(mlx_speech.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="mlx_speech' has no attribute 'nonsense'"):
        mlx_speech.nonsense  # noqa: B018
    assert not hasattr(mlx_speech, "nonsense")
    with pytest.raises(ImportError):
        exec("from mlx_speech import nonsense")


def test_names_are_found_at_first_use_only(tmp_path: Path) -> None:
    code = (
        "import sys, mlx_speech\n"
        "assert 'mlx_speech.audio' not in sys.modules\n"
        "assert 'stft' not in vars(mlx_speech)\n"
        "from mlx_speech import stft\n"
        "assert vars(mlx_speech)['stft'] is stft\n"
        "assert 'mlx_speech.models' not in sys.modules\n"
        "from mlx_speech import *\n"
        "print(load_model.__name__, speak.__name__, __version__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"load_model speak {mlx_speech.__version__}\n"
