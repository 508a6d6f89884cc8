"""The recogniser's corpus goes on where it stopped, and says what its list says."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mlx_speech.audio import load
from mlx_speech.corpus import read_corpus

SECONDS = 0.1


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """weights/make_recogniser_corpus.py, with a voice whose loudness is its words."""
    module = importlib.import_module("mlx_speech.weights.make_recogniser_corpus")

    def speak(program: str, arguments: Sequence[str], sentence: str) -> np.ndarray:
        module.spoken.append(sentence)
        samples = round(SECONDS * module.SAMPLE_RATE)
        return np.full(samples, 0.01 * (1 + sentence.count(" ")), np.float32)

    monkeypatch.setattr(module, "spoken", [], raising=False)
    monkeypatch.setattr(module, "find_espeak", lambda: "a program")
    monkeypatch.setattr(module, "speak", speak)
    return module


def heard(folder: Path) -> dict[str, int]:
    """Words that each recording of a corpus sounds like."""
    return {
        each.identifier: round(float(load(each.audio_path)[0].mean()) * 100)
        for each in read_corpus(folder)
    }


def words(takes: Sequence) -> dict[str, int]:
    return {take.identifier: len(take.sentence.split(" ")) for take in takes}


def test_a_second_run_speaks_nothing_again(script: ModuleType, tmp_path: Path) -> None:
    takes = script.takes("held_out", 4)
    assert script.make(tmp_path, takes) == pytest.approx(4 * SECONDS)
    assert script.make(tmp_path, takes) == pytest.approx(4 * SECONDS)
    assert sorted(script.spoken) == sorted(take.sentence for take in takes)
    assert heard(tmp_path) == words(takes)


def test_a_changed_sentence_is_spoken_anew(script: ModuleType, tmp_path: Path) -> None:
    takes = script.takes("held_out", 4)
    script.make(tmp_path, takes)
    longer = replace(takes[1], sentence=f"{takes[1].sentence} And more.")
    changed = [takes[0], longer, *takes[2:]]
    script.spoken.clear()
    script.make(tmp_path, changed)
    assert script.spoken == [longer.sentence]
    assert heard(tmp_path) == words(changed)


def test_a_stopped_run_goes_on_and_notices_changes_too(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = script.takes("held_out", 4)
    plain: Callable = script.speak

    def stop(program: str, arguments: Sequence[str], sentence: str) -> np.ndarray:
        if sentence == takes[2].sentence:
            raise KeyboardInterrupt
        return plain(program, arguments, sentence)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(script, "speak", stop)
        script.make(tmp_path, takes)
    changed = [replace(takes[0], sentence="No."), *takes[1:]]
    script.spoken.clear()
    script.make(tmp_path, changed)
    assert {"No.", takes[2].sentence} <= set(script.spoken)
    assert takes[1].sentence not in script.spoken
    assert heard(tmp_path) == words(changed)


def test_recordings_that_nothing_is_known_of_are_spoken_anew(
    script: ModuleType, tmp_path: Path
) -> None:
    takes = script.takes("held_out", 3)
    script.make(tmp_path, takes)
    (tmp_path / "metadata.csv").unlink()
    script.spoken.clear()
    script.make(tmp_path, takes)
    assert len(script.spoken) == 3
