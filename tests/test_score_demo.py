"""The demo's summary: medians over seeds, shares of the gap, the table, failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_speech.bench.voice import VoiceScore
from mlx_speech.errors import SpeechError
from mlx_speech.weights import score_demo
from mlx_speech.weights.score_demo import DemoScores, TunedScore, as_table


def score(mcd: float, mel_l1: float, ceiling: float = 2.0) -> VoiceScore:
    return VoiceScore(
        sentences=32,
        mcd=mcd,
        mel_l1=mel_l1,
        ceiling_mcd=ceiling,
        ceiling_mel_l1=ceiling / 10,
        yardstick_mcd=10.0,
        yardstick_mel_l1=1.5,
        nearest=31,
    )


@pytest.fixture
def scores() -> DemoScores:
    tuned = [(1, 3.0, 0.5, 0.9), (2, 4.0, 0.3, 0.7), (3, 9.0, 0.4, 0.8)]
    return DemoScores(
        own={"us-low": score(4.0, 0.6), "us-soft": score(5.0, 0.7)},
        untrained=score(12.0, 1.9),
        start={"us-low": score(8.0, 1.2), "us-soft": score(7.0, 1.4)},
        tuned=[
            TunedScore(seed, 200.0 + seed, score(mcd, mel_l1), heard, 0.03)
            for seed, mcd, mel_l1, heard in tuned
        ],
        originals=1.0,
        originals_shuffled=0.0,
        chance=1 / 32,
    )


def test_medians_are_over_the_seeds(scores: DemoScores) -> None:
    assert scores.median("mcd") == 4.0
    assert scores.median("mel_l1") == 0.4
    assert scores.median("relative_mcd") == 0.4
    assert scores.recognised == 0.8


def test_the_base_is_its_best_speaker_in_each_measure(scores: DemoScores) -> None:
    assert scores.nearest_base == "us-soft"
    assert scores.base_distance("mcd") == 7.0
    assert scores.base_distance("mel_l1") == 1.2


def test_the_gap_is_from_the_base_to_the_ceiling(scores: DemoScores) -> None:
    assert scores.gap_removed("mcd") == pytest.approx((7 - 4) / (7 - 2))
    assert scores.gap_removed("mel_l1") == pytest.approx((1.2 - 0.4) / (1.2 - 0.2))


def test_all_numbers_are_in_the_dictionary(scores: DemoScores) -> None:
    content = json.loads(json.dumps(scores.to_dict()))
    assert content["own"]["us-low"]["mcd"] == 4.0
    assert [each["seconds"] for each in content["tuned"]] == [201, 202, 203]
    assert content["summary"]["gap_removed_mcd"] == pytest.approx(0.6)
    assert content["summary"]["relative_ceiling_mcd"] == pytest.approx(0.2)


def test_the_table_goes_from_far_to_near(scores: DemoScores) -> None:
    lines = as_table(scores).splitlines()
    assert "32 held-out sentences, median of 3 seeds" in lines[0]
    assert lines[2:7] == [
        "| untrained (random weights) | 12.00 | 1.20 | 1.900 |",
        "| other sentences (yardstick) | 10.00 | 1.00 | 1.500 |",
        "| base, nearest of its voices | 7.00 | 0.70 | 1.200 |",
        "| fine-tuned | 4.00 | 0.40 | 0.400 |",
        "| ceiling | 2.00 | 0.20 | 0.200 |",
    ]
    assert "| us-soft | 5.00 | 0.50 | 31 of 32 |" in lines
    text = as_table(scores)
    assert "removes 60% of the gap" in text and "80% in mel L1" in text
    assert "the command took 201, 202, 203 s" in text
    assert "100% of the recordings, 80% of the fine-tuned voice" in text


def test_a_failed_training_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def fail(command: list[str], **options: object) -> object:
        asked.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(SpeechError, match="exit code 3"):
        score_demo._fine_tune(tmp_path, seed=7)
    assert asked[0][:5] == [sys.executable, "-m", "mlx_speech", "train-vits", "--demo"]
    assert asked[0][-4:] == ["--seed", "7", "--output-dir", str(tmp_path)]
