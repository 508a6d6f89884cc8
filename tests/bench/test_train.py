"""Timing a training step: what is measured, and the shapes that are bundled."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_speech.audio import MelSpec
from mlx_speech.bench.train import (
    CASES,
    TrainCase,
    TrainTiming,
    demo_case,
    measure,
    paper_case,
)
from mlx_speech.text import EnglishPhonemeVocabulary
from mlx_speech.training import load_config
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.setup import fresh_discriminators, model_config
from mlx_speech.vits.training_config import VitsTrainConfig


@pytest.fixture
def case(tiny_settings: Path) -> TrainCase:
    config = load_config(VitsTrainConfig, tiny_settings)
    return TrainCase("tiny", config, frames=32, symbols=8)


def counts(config: VitsTrainConfig) -> tuple[int, int]:
    """Parameters of the generator and of the discriminators."""
    vocabulary = EnglishPhonemeVocabulary(add_blank=config.add_blank)
    shapes = model_config(config, MelSpec.preset(config.mel), vocabulary.size)
    networks = (SynthesizerTrn(shapes), fresh_discriminators(config))
    generator, discriminators = (
        sum(value.size for _, value in tree_flatten(network.parameters()))
        for network in networks
    )
    return generator, discriminators


def test_a_step_and_its_parts_are_timed(case: TrainCase) -> None:
    told: list[tuple[int, int]] = []
    timing = measure(case, 2, lambda done, total: told.append((done, total)))
    assert told == [(done, 9) for done in range(1, 10)]
    assert (timing.name, timing.batch, timing.frames, timing.symbols) == (
        "tiny",
        case.config.batch_size,
        32,
        8,
    )
    assert (timing.generator_parameters, timing.discriminator_parameters) == counts(
        case.config
    )
    assert timing.forward_s > 0
    assert timing.discriminator_s > 0
    assert timing.step_s > 0
    assert timing.generator_s == timing.step_s - timing.discriminator_s


def test_without_discriminators_the_generator_is_all(case: TrainCase) -> None:
    config = replace(case.config, discriminator_start=-1)
    timing = measure(replace(case, config=config), 1)
    assert timing.discriminator_parameters == 0
    assert timing.discriminator_s == 0
    assert timing.generator_s == timing.step_s > 0


def test_the_median_is_of_the_runs_after_the_first(
    case: TrainCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = iter([100, 3, 1, 2] * 3)
    now = 0.0

    def clock() -> float:
        """Every second call ends a run of the next length."""
        nonlocal now, started
        now += next(lengths) if started else 0
        started = not started
        return now

    started = False
    monkeypatch.setattr("mlx_speech.bench.train.time.perf_counter", clock)
    timing = measure(case, 3)
    assert (timing.forward_s, timing.discriminator_s, timing.step_s) == (2, 2, 2)
    assert timing.generator_s == 0


def test_the_demo_case_is_the_demos_step() -> None:
    weights = Path(__file__).resolve().parents[2] / "weights"
    base = load_config(VitsTrainConfig, weights / "base.yaml")
    demo = load_config(VitsTrainConfig, weights / "demo.yaml")
    case = demo_case()
    assert case.config.decoder == base.decoder
    assert case.config.hidden_channels == base.hidden_channels
    assert case.config.batch_size == demo.batch_size
    assert case.config.segment_frames == demo.segment_frames
    assert case.config.uses_discriminators == demo.uses_discriminators
    assert case.config.segment_frames <= case.frames


def test_the_paper_case_has_the_papers_size() -> None:
    """Counted without computing: the networks are never evaluated."""
    case = paper_case()
    assert case.config == replace(VitsTrainConfig(), batch_size=4)
    generator, discriminators = counts(case.config)
    assert generator == pytest.approx(36.3e6, rel=0.02)
    assert discriminators == pytest.approx(46.7e6, rel=0.01)


def test_every_case_fits_its_model() -> None:
    for name, make in CASES.items():
        case = make()
        assert case.name == name
        # Every symbol takes at least one frame.
        assert case.symbols <= case.frames


def test_a_timing_has_no_hidden_arrays(case: TrainCase) -> None:
    timing = measure(case, 1)
    assert isinstance(timing, TrainTiming)
    assert not any(isinstance(value, mx.array) for value in vars(timing).values())
    assert all(math.isfinite(v) for v in vars(timing).values() if v != timing.name)
