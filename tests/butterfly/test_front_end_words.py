"""Word errors of Whisper behind learned transforms, where its weights are here.

pytest -m slow tests/butterfly/test_front_end_words.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import load
from mlx_speech.bench import front_end
from mlx_speech.bench.front_end import (
    CONTROL,
    LEARNED,
    MLX,
    FrontEndRow,
    SpokenText,
    front_end_rows,
    missed_limits,
)
from mlx_speech.corpus import read_corpus
from mlx_speech.models import find_listener, load_listener
from mlx_speech.text.word_errors import WordErrors
from mlx_speech.writers import Transcription

SPOKEN = Path(__file__).resolve().parents[1] / "data" / "spoken"


def spoken(count: int | None = None) -> list[SpokenText]:
    return [
        SpokenText(load(each.audio_path, 16000)[0], each.text)
        for each in read_corpus(SPOKEN)[:count]
    ]


@pytest.mark.slow
def test_an_exact_transform_changes_no_word_and_a_bad_one_does() -> None:
    folder = find_listener("bundled")
    rows = list(front_end_rows(load_listener(folder), spoken()))
    assert {row.what for row in rows} == {MLX, LEARNED, CONTROL}
    by_name = {row.what: row for row in rows}
    # It has learned to hear: else no front end could spoil anything.
    assert by_name[MLX].points < 50
    learned = by_name[LEARNED]
    assert learned.transform_error is not None and learned.transform_error < 1e-6
    assert learned.mel_change < 1e-5
    assert not missed_limits(rows)


def test_every_transform_is_handed_to_the_recogniser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recordings = spoken(2)
    frames = mx.random.normal((3, 400), key=mx.random.key(0))
    exact = np.fft.rfft(np.array(frames))

    def listen(samples: np.ndarray, model: Any, **options: Any) -> Transcription:
        """Hears all words through an exact transform, and none through another."""
        own = np.array(options["rfft"](frames))
        right = np.linalg.norm(own - exact) < 1e-5 * np.linalg.norm(exact)
        said = [each.text for each in recordings if each.samples is samples]
        return Transcription(said[0] if right else "", [], "en", 1.0)

    monkeypatch.setattr(front_end, "transcribe", listen)
    done: list[tuple[int, int]] = []
    silence = ("silence", lambda each: 0 * mx.fft.rfft(each))
    rows = list(
        front_end_rows(None, recordings, silence, lambda *each: done.append(each))
    )
    assert [row.points for row in rows] == [0, 0, 100, 100]
    assert rows[3].what == "silence" and done[-1] == (8, 8)
    assert rows[0].mel_change == 0 and rows[1].mel_change < 1e-5 < rows[2].mel_change
    assert not missed_limits(rows)


def test_missed_limits_are_named() -> None:
    def row(what: str, wrong: int) -> FrontEndRow:
        return FrontEndRow(what, None, 0.0, WordErrors(substitutions=wrong, words=1500))

    fine = [row(MLX, 100), row(LEARNED, 101), row(CONTROL, 900)]
    assert not missed_limits(fine)
    moved = [row(MLX, 100), row(LEARNED, 102), row(CONTROL, 105)]
    assert len(missed_limits(moved)) == 2
