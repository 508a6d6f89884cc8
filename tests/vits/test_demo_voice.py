"""The demo is what it promises: `train-vits --demo` makes a voice that speaks.

Fine-tunes with three seeds and scores them on sentences that neither the base nor the
fine-tuning saw: half an hour on two cores.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlx_speech.weights.score_demo import (
    SEEDS,
    DemoScores,
    as_table,
    draw_sentence,
    score_demo,
)

pytestmark = pytest.mark.slow

# 32 sentences guessed at: more than 4 right happens in one run of three hundred.
NEAR_CHANCE = 4 / 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def scores(folder: Path) -> DemoScores:
    pytest.importorskip("pocketsphinx")
    if not shutil.which("espeak-ng"):
        pytest.skip("needs espeak-ng")
    found = score_demo(folder, SEEDS)
    # Shown by pytest where a bound is missed, and with -s.
    print(as_table(found))
    return found


def test_twenty_sentences_and_three_seeds_are_scored(scores: DemoScores) -> None:
    assert len(scores.tuned) >= 3
    assert all(each.score.sentences >= 20 for each in scores.tuned)


def test_the_base_speaks_new_sentences_in_its_own_voices(scores: DemoScores) -> None:
    shares = {name: s.mcd / s.yardstick_mcd for name, s in scores.own.items()}
    assert max(shares.values()) <= 0.5, shares


def test_the_ceiling_is_low(scores: DemoScores) -> None:
    assert scores.median("relative_ceiling_mcd") <= 0.35


def test_fine_tuning_removes_half_of_the_gap(scores: DemoScores) -> None:
    for measure in ("mcd", "mel_l1"):
        base = scores.base_distance(measure)
        assert base > scores.median(f"ceiling_{measure}")
        assert scores.gap_removed(measure) >= 0.5, measure


def test_fine_tuning_ends_near_the_demo_voice(scores: DemoScores) -> None:
    assert scores.median("relative_mcd") <= 0.45


def test_every_sentence_is_nearest_to_its_own_recording(scores: DemoScores) -> None:
    for each in scores.tuned:
        assert each.score.nearest == each.score.sentences, each.seed


def test_the_recogniser_understands_recordings_and_voice(scores: DemoScores) -> None:
    assert scores.originals >= 0.7
    assert scores.recognised >= 0.8 * scores.originals


def test_nothing_is_understood_after_shuffling(scores: DemoScores) -> None:
    assert scores.originals_shuffled <= NEAR_CHANCE
    for each in scores.tuned:
        assert each.recognised_shuffled <= NEAR_CHANCE, each.seed


def test_the_picture_is_drawn(scores: DemoScores, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_sentence(folder, scores, folder / "demo.png")
    assert (folder / "demo.png").stat().st_size > 20_000
