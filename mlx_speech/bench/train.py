"""Seconds of one VITS training step, and of its parts, on random data.

The parts are measured on their own, from their inputs to evaluated results, so they
need not add up to the step. Times are the clock's: on a busy machine they grow.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_speech.audio import MelSpec
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.text import EnglishPhonemeVocabulary
from mlx_speech.training.config import load_config
from mlx_speech.training.optim import GroupedAdamW
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.examples import Batch
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.setup import fresh_discriminators, model_config
from mlx_speech.vits.steps import (
    DISCRIMINATORS,
    GENERATOR,
    StepSettings,
    adversarial_step,
    cut_segments,
    decode_segments,
    discriminator_step,
    draw_noise,
)
from mlx_speech.vits.train import step_settings
from mlx_speech.vits.training_config import VitsTrainConfig


@dataclass(frozen=True)
class TrainCase:
    """The shapes of a step: settings, and the padded lengths of its batch.

    Attributes:
        name: what this case is called.
        config: shapes of the networks, batch size, segment, loss weights.
        frames, symbols: padded lengths; all utterances of the batch are this long.
    """

    name: str
    config: VitsTrainConfig
    frames: int
    symbols: int


@dataclass(frozen=True)
class TrainTiming:
    """Medians, in seconds.

    Attributes:
        name, batch, frames, symbols: what was measured.
        generator_parameters, discriminator_parameters: counts, 0 where there is none.
        forward_s: the generator's forward pass, with the alignment search.
        discriminator_s: the discriminators' losses, gradients and update; 0 where there
            are none.
        step_s: a whole step as the trainer makes it.
    """

    name: str
    batch: int
    frames: int
    symbols: int
    generator_parameters: int
    discriminator_parameters: int
    forward_s: float
    discriminator_s: float
    step_s: float

    @property
    def generator_s(self) -> float:
        """The rest of the step: forward pass, the generator's gradients and update."""
        return self.step_s - self.discriminator_s


def demo_case() -> TrainCase:
    """The step of ``train-vits --demo``: its sentences are about three seconds long."""
    folder = Path(str(files("mlx_speech.weights")))
    shapes = load_config(VitsTrainConfig, folder / "base.yaml")
    schedule = load_config(VitsTrainConfig, folder / "demo.yaml")
    of_a_step = (
        "batch_size",
        "segment_frames",
        "weight_mel",
        "weight_kl",
        "weight_duration",
        "weight_adversarial",
        "weight_feature",
        "weight_stft",
        "max_steps",
        "discriminator_start",
        "discriminator_scale",
        "discriminator_periods",
    )
    config = replace(shapes, **{name: getattr(schedule, name) for name in of_a_step})
    return TrainCase("demo", config, frames=192, symbols=96)


def paper_case() -> TrainCase:
    """The paper's networks, batch 4, utterances of LJSpeech's mean length (6.6 s)."""
    return TrainCase("paper", VitsTrainConfig(batch_size=4), frames=576, symbols=208)


CASES: dict[str, Callable[[], TrainCase]] = {"demo": demo_case, "paper": paper_case}


def measure(
    case: TrainCase,
    repeats: int = 5,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainTiming:
    """Time one case on the current device, after one step to warm up.

    Args:
        case: shapes and settings.
        repeats: runs of which the median is taken, at least 1.
        on_progress: told (done, total) measured runs.

    Raises:
        SpeechError: the settings describe no model.
    """
    config = case.config
    mel_spec = MelSpec.preset(config.mel)
    vocabulary = EnglishPhonemeVocabulary(add_blank=config.add_blank)
    mx.random.seed(config.seed)
    generator = SynthesizerTrn(model_config(config, mel_spec, vocabulary.size))
    discriminators = (
        fresh_discriminators(config) if config.uses_discriminators else None
    )
    settings = step_settings(config, mel_spec)
    if discriminators is None:
        weights = replace(settings.weights, adversarial=0.0, feature=0.0)
        settings = replace(settings, weights=weights)
    batch = _random_batch(case, mel_spec, vocabulary.size)
    step = _Step(generator, discriminators, settings, batch)
    parts = [step.forward, step.whole]
    if discriminators is not None:
        parts.append(step.discriminate)
    total = len(parts) * (repeats + 1)
    medians: dict[str, float] = {}
    done = 0
    for part in parts:
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            part()
            times.append(time.perf_counter() - start)
            done += 1
            on_progress(done, total)
        medians[part.__name__] = statistics.median(times[1:])
    return TrainTiming(
        name=case.name,
        batch=config.batch_size,
        frames=case.frames,
        symbols=case.symbols,
        generator_parameters=_count(generator),
        discriminator_parameters=_count(discriminators)
        if discriminators is not None
        else 0,
        forward_s=medians["forward"],
        discriminator_s=medians.get("discriminate", 0.0),
        step_s=medians["whole"],
    )


class _Step:
    """One training step that can be run in parts, each evaluated."""

    def __init__(
        self,
        generator: SynthesizerTrn,
        discriminators: Discriminators | None,
        settings: StepSettings,
        batch: Batch,
    ) -> None:
        self.generator = generator
        self.discriminators = discriminators
        self.settings = settings
        self.batch = batch
        self.optimizers = {GENERATOR: GroupedAdamW(generator, 2e-4)}
        if discriminators is not None:
            self.optimizers[DISCRIMINATORS] = GroupedAdamW(discriminators, 2e-4)
        self.noise = draw_noise(
            mx.random.key(0),
            batch,
            generator.config.inter_channels,
            settings.segment_frames,
        )
        self.real = cut_segments(batch, self.noise.starts_b, settings).real_bs
        self.fake = mx.random.normal(self.real.shape, key=mx.random.key(1)) * 0.1
        networks = [
            network for network in (generator, discriminators) if network is not None
        ]
        for network in networks:
            network.train()
        mx.eval(self.noise, self.real, self.fake, *(n.parameters() for n in networks))

    def forward(self) -> None:
        _, audio = decode_segments(
            self.generator, self.batch, self.noise, self.settings
        )
        mx.eval(audio)

    def discriminate(self) -> None:
        assert self.discriminators is not None
        optimizer = self.optimizers[DISCRIMINATORS]
        terms = discriminator_step(self.discriminators, optimizer, self.real, self.fake)
        mx.eval(terms, self.discriminators.parameters(), optimizer.state)

    def whole(self) -> None:
        terms = adversarial_step(
            self.generator,
            self.discriminators,
            self.optimizers,
            self.batch,
            self.noise,
            self.settings,
        )
        states = [optimizer.state for optimizer in self.optimizers.values()]
        mx.eval(terms, self.generator.parameters(), states)


def _random_batch(case: TrainCase, mel_spec: MelSpec, n_vocab: int) -> Batch:
    size, frames = case.config.batch_size, case.frames
    generator = np.random.default_rng(0)
    audio = generator.normal(0, 0.1, (size, frames * mel_spec.hop_length))
    linear = generator.rayleigh(1.0, (size, frames, mel_spec.n_bins))
    return Batch(
        text_bl=generator.integers(0, n_vocab, (size, case.symbols), np.int32),
        text_lengths_b=np.full(size, case.symbols, np.int32),
        linear_btf=linear.astype(np.float32),
        frame_lengths_b=np.full(size, frames, np.int32),
        audio_bs=audio.astype(np.float32),
        speakers_b=np.zeros(size, np.int32),
    )


def _count(network: SynthesizerTrn | Discriminators) -> int:
    return sum(array.size for array in flatten_parameters(network).values())
