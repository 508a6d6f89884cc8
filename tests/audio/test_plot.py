"""Spectrogram pictures are written whole, and a missing matplotlib is explained."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mlx_speech.audio import MelSpec
from mlx_speech.audio.plot import save_spectrograms
from mlx_speech.errors import SpeechError

SPEC = MelSpec.preset("demo-16k")


def panel(frames: int) -> np.ndarray:
    return np.random.default_rng(frames).normal(size=(frames, 80))


def test_two_panels_become_one_picture(tmp_path):
    path = tmp_path / "new folder" / "mel.png"
    save_spectrograms(path, {"target": panel(50), "voice": panel(40)}, SPEC)
    from matplotlib.image import imread

    picture = imread(path)
    assert picture.shape[0] > 300
    assert picture[..., :3].std() > 0.05
    assert [file.name for file in path.parent.iterdir()] == ["mel.png"]


def test_silence_can_be_drawn(tmp_path):
    save_spectrograms(tmp_path / "mel.svg", {"silence": np.zeros((9, 80))}, SPEC)
    assert b"<svg" in (tmp_path / "mel.svg").read_bytes()


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SpeechError, match="matplotlib") as caught:
        save_spectrograms(tmp_path / "mel.png", {"a": panel(5)}, SPEC)
    assert "plot" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "panels", "message"),
    [
        ("mel.png", {}, "no spectrogram"),
        ("mel.png", {"a": np.zeros((5, 79))}, r"5, 79"),
        ("mel.gif", {"a": np.zeros((5, 80))}, "mel.gif"),
    ],
)
def test_bad_requests_are_explained(name, panels, message, tmp_path):
    with pytest.raises(SpeechError, match=message):
        save_spectrograms(tmp_path / name, panels, SPEC)
    assert not list(tmp_path.iterdir())
