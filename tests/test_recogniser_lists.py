"""What the bundled recogniser learnt from, and what it is judged by, do not meet."""

from __future__ import annotations

import importlib
import json
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
PARTS = ("training", "validation", "held_out")
# Words that stand in the vocabulary beside the 256 bytes: "at most 1000 pieces".
MOST_WORDS = 744


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """weights/make_recogniser_corpus.py as a module."""
    return importlib.import_module("mlx_speech.weights.make_recogniser_corpus")


def sentences(part: str) -> list[str]:
    path = WEIGHTS / "sentences" / f"recogniser_{part}.txt"
    return path.read_text(encoding="utf-8").splitlines()


def test_no_sentence_is_in_two_lists() -> None:
    for first, second in combinations(PARTS, 2):
        assert not set(sentences(first)) & set(sentences(second))
    for part in PARTS:
        assert len(set(sentences(part))) == len(sentences(part))


def test_what_is_judged_uses_words_that_were_learnt() -> None:
    def words(part: str) -> set[str]:
        return {word.strip(".,?:") for line in sentences(part) for word in line.split()}

    learnt = words("training")
    assert words("held_out") <= learnt
    assert 300 <= len({word.lower() for word in learnt}) <= MOST_WORDS


def test_unheard_variants_speak_nothing_of_the_training(script: ModuleType) -> None:
    voices = json.loads((WEIGHTS / "recogniser_voices.json").read_text())
    assert len(voices["unheard"]) >= 10
    assert not set(voices["heard"]) & set(voices["unheard"])
    trained = {take.arguments[1] for take in script.takes("training", 18_000)}
    judged = {take.arguments[1] for take in script.takes("held_out", unheard=True)}
    variants = {argument.split("+")[1] for argument in trained}
    assert variants == set(voices["heard"])
    assert not variants & {argument.split("+")[1] for argument in judged}
    assert {argument.split("+")[0] for argument in judged} <= set(voices["accents"])


def test_the_training_and_the_judging_say_different_things(script: ModuleType) -> None:
    said = {take.sentence for take in script.takes("training", 18_000)}
    assert said == set(sentences("training"))
    for unheard in (False, True):
        takes = script.takes("held_out", unheard=unheard)
        assert len(takes) == len(sentences("held_out")) > 290
        assert not said & {take.sentence for take in takes}


def test_the_grammar_makes_the_lists_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("mlx_speech.weights.make_recogniser_lists")
    monkeypatch.setattr(module, "HERE", tmp_path)
    (tmp_path / "sentences").mkdir()
    assert module.main() == 0
    for part in PARTS:
        made = tmp_path / "sentences" / f"recogniser_{part}.txt"
        assert made.read_text(encoding="utf-8").splitlines() == sentences(part)
    voices = (tmp_path / "recogniser_voices.json").read_text()
    assert voices == (WEIGHTS / "recogniser_voices.json").read_text()
