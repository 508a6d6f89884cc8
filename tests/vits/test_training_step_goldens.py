"""Two training steps against PyTorch: losses, gradients, parameter changes.

The steps are those of ``mlx_speech.vits.steps``, the code that the trainer runs; only
the optimisers are made to keep the gradients that they are given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.optimizers import AdamW

from mlx_speech.audio import MelSpec, log_mel
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators, Judgement
from mlx_speech.vits.examples import Batch
from mlx_speech.vits.losses import discriminator_losses, generator_loss
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.steps import (
    DISCRIMINATORS,
    GENERATOR,
    StepNoise,
    StepSettings,
    adversarial_step,
    audio_loss_terms,
    cut_segments,
    decode_segments,
    discriminator_loss_terms,
    latent_loss_terms,
)

SETTINGS = StepSettings(MelSpec.preset("vits-22k"), segment_frames=32)
NETS = {"G": GENERATOR, "D": DISCRIMINATORS}
# Name of a loss in the golden and in ours.
LOSSES = {
    "disc": "loss_discriminator",
    "gen": "loss_adversarial",
    "fm": "loss_feature",
    "mel": "loss_mel",
    "dur": "loss_duration",
    "kl": "loss_kl",
    "total": "loss_generator",
    "grad_norm_d": "grad_norm_discriminators",
    "grad_norm_d_exact": "grad_norm_discriminators",
    "grad_norm_g": "grad_norm_generator",
    "grad_norm_g_exact": "grad_norm_generator",
}


class KeepingAdamW(AdamW):
    """AdamW with the reference's settings that keeps the last gradients."""

    def __init__(self) -> None:
        super().__init__(2e-4, betas=[0.8, 0.99], eps=1e-9, bias_correction=True)
        self.gradients: dict = {}

    def apply_gradients(self, gradients: dict, parameters: dict) -> dict:
        self.gradients = gradients
        return super().apply_gradients(gradients, parameters)


@dataclass
class Run:
    """What two steps left; lists have one entry a step."""

    terms: list[dict[str, float]] = field(default_factory=list)
    gradients: dict[str, dict[str, mx.array]] = field(default_factory=dict)
    changes: dict[str, dict[str, mx.array]] = field(default_factory=dict)
    judged: dict[str, list[Judgement]] = field(default_factory=dict)


def networks(golden: Any) -> dict[str, nn.Module]:
    known = VitsConfig.__dataclass_fields__
    config = {name: v for name, v in golden.config.items() if name in known}
    generator = SynthesizerTrn(VitsConfig.from_dict(config))
    judges = Discriminators(DiscriminatorConfig())
    golden.load(generator, "G")
    golden.load(judges, "D")
    generator.eval()  # the reference's dropout was 0
    return {GENERATOR: generator, DISCRIMINATORS: judges}


def inputs(golden: Any) -> tuple[Batch, StepNoise]:
    batch = Batch(
        text_bl=golden.input("in.text"),
        text_lengths_b=golden.input("in.text_lens"),
        linear_btf=golden.input("in.spec").swapaxes(1, 2),
        frame_lengths_b=golden.input("in.lens"),
        audio_bs=golden.input("in.wav")[:, 0].astype(np.float32) / 32768,
        speakers_b=np.zeros(len(golden.input("in.lens")), np.int32),
    )
    noise = StepNoise(
        mx.array(golden.input("in.ids")),
        golden.channels_last_input("in.eps"),
        golden.channels_last_input("in.dp_noise"),
    )
    return batch, noise


def difference(after: dict, before: dict) -> dict[str, mx.array]:
    return {name: value - before[name] for name, value in after.items()}


@pytest.fixture(scope="module")
def run(high: Any, recipe: ModuleType) -> Run:
    nets = networks(high)
    batch, noise = inputs(high)
    optimizers = {name: KeepingAdamW() for name in nets}
    before = {name: recipe.flat(net.parameters()) for name, net in nets.items()}
    found = Run()
    for step in range(2):
        terms = adversarial_step(
            nets[GENERATOR], nets[DISCRIMINATORS], optimizers, batch, noise, SETTINGS
        )
        mx.eval(terms, *(net.parameters() for net in nets.values()))
        found.terms.append({name: value.item() for name, value in terms.items()})
        if step == 0:
            for name, net in nets.items():
                after = recipe.flat(net.parameters())
                found.gradients[name] = recipe.flat(optimizers[name].gradients)
                found.changes[name] = difference(after, before[name])
            mx.eval(found.gradients, found.changes)
            real = cut_segments(batch, noise.starts_b, SETTINGS).real_bs
            fake = mx.array(high.arrays["fwd.y_hat"][:, 0])
            judges = nets[DISCRIMINATORS]
            found.judged = {"real": judges(real), "fake": judges(fake)}
            mx.eval(found.judged)
    return found


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradient_norms_of_a_step(
    high: Any, run: Run, step: int, name: str
) -> None:
    high.check(f"loss{step}.{name}", run.terms[step][LOSSES[name]])


def test_every_value_was_finite(run: Run) -> None:
    assert all(np.isfinite(value) for terms in run.terms for value in terms.values())


@pytest.mark.parametrize("net", NETS)
def test_gradient_of_every_parameter(high: Any, run: Run, net: str) -> None:
    high.check_parameters(net, "grad", run.gradients[NETS[net]])


@pytest.mark.parametrize("net", NETS)
def test_change_of_every_parameter(high: Any, run: Run, net: str) -> None:
    high.check_parameters(net, "delta", run.changes[NETS[net]])


@pytest.mark.parametrize("side", ["real", "fake"])
def test_updated_discriminators(high: Any, run: Run, side: str) -> None:
    for index, (scores, features) in enumerate(run.judged[side]):
        high.check(f"d1.{index}.{side}", scores)
        for layer, feature in enumerate(features):
            first_axes = np.moveaxis(np.array(feature), -1, 1)
            high.check(f"fmap.{index}.{layer}.{side}", first_axes)


def test_generator_is_scored_by_the_updated_discriminators(high: Any, run: Run) -> None:
    each = [generator_loss([scores]).item() for scores, _ in run.judged["fake"]]
    high.check("loss0.gen_i", each)


@pytest.mark.parametrize("model", ["high", "medium"])
def test_mel_of_recording_and_of_generated_audio(
    model: str, request: pytest.FixtureRequest, recipe: ModuleType
) -> None:
    golden = request.getfixturevalue(model)
    batch, noise = inputs(golden)
    target = cut_segments(batch, noise.starts_b, SETTINGS).target_mel
    fake = mx.array(golden.arrays["fwd.y_hat"][:, 0])
    golden.check("mel.target", recipe.channels_first(target), strict=True)
    predicted = log_mel(fake, SETTINGS.mel_spec)
    golden.check("mel.hat", recipe.channels_first(predicted), strict=True)


def test_losses_of_the_medium_model(medium: Any) -> None:
    nets, (batch, noise) = networks(medium), inputs(medium)
    generator, judges = nets[GENERATOR], nets[DISCRIMINATORS]
    segments = cut_segments(batch, noise.starts_b, SETTINGS)
    forward, fake = decode_segments(generator, batch, noise, SETTINGS)
    discriminators_loss, _ = discriminator_loss_terms(judges, segments.real_bs, fake)
    audio_loss, terms = audio_loss_terms(judges, segments, fake, SETTINGS)
    latent_loss, latent_terms = latent_loss_terms(forward, SETTINGS.weights)
    terms |= latent_terms
    terms["loss_discriminator"] = discriminators_loss
    terms["loss_generator"] = audio_loss + latent_loss
    medium.check("fwd.l_length", forward.duration_loss)
    for name in ("disc", "gen", "fm", "mel", "dur", "kl", "total"):
        medium.check(f"lossI.{name}", terms[LOSSES[name]].item(), strict=True)

    real_scores = [scores for scores, _ in judges(segments.real_bs)]
    fake_scores = [scores for scores, _ in judges(fake)]
    each = [
        discriminator_losses([real], [fake])
        for real, fake in zip(real_scores, fake_scores, strict=True)
    ]
    medium.check("lossI.disc_r", [real.item() for real, _ in each])
    medium.check("lossI.disc_g", [fake.item() for _, fake in each])
    medium.check("lossI.gen_i", [generator_loss([s]).item() for s in fake_scores])
