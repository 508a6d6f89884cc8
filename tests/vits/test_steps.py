"""The adversarial step on tiny networks: what each loss reaches, what is logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.optimizers import AdamW
from mlx.utils import tree_flatten

from mlx_speech.audio import MelSpec, linear_spectrogram
from mlx_speech.errors import SpeechError
from mlx_speech.vits.config import DiscriminatorConfig, VitsConfig
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.examples import Batch
from mlx_speech.vits.model import SynthesizerTrn
from mlx_speech.vits.steps import (
    DISCRIMINATORS,
    GENERATOR,
    LossWeights,
    StepSettings,
    adversarial_step,
    audio_loss_terms,
    cut_segments,
    decode_segments,
    discriminator_loss_terms,
    draw_noise,
    generator_loss_terms,
    latent_loss_terms,
)

MEL = MelSpec(8000, 64, 16, 64, 10)
SETTINGS = StepSettings(
    MEL, 12, LossWeights(stft=1.0), stft_resolutions=((64, 16, 64), (32, 8, 32))
)
CONFIG = VitsConfig(
    n_vocab=8,
    spec_channels=33,
    inter_channels=4,
    hidden_channels=8,
    filter_channels=8,
    n_layers=1,
    p_dropout=0.0,
    posterior_layers=2,
    flow_layers=1,
    n_flows=2,
    upsample_initial_channel=16,
    upsample_rates=(4, 4),
    upsample_kernel_sizes=(8, 8),
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 3),),
)
PARTS = {"enc_p", "enc_q", "flow", "dp", "dec"}
# What each term of the generator's loss teaches; every other part gets exactly zero.
# The alignment passes no gradient on, and the duration predictor's input is detached.
REACHES = {
    "loss_mel": {"dec", "enc_q"},
    "loss_stft": {"dec", "enc_q"},
    "loss_adversarial": {"dec", "enc_q"},
    "loss_feature": {"dec", "enc_q"},
    "loss_kl": {"enc_p", "enc_q", "flow"},
    "loss_duration": {"dp"},
}


def make_networks(**changes: Any) -> tuple[SynthesizerTrn, Discriminators]:
    mx.random.seed(3)
    generator = SynthesizerTrn(replace(CONFIG, **changes))
    # Layers that start at zero (the flow's last, the spline's) pass no gradient on.
    moved = [
        (name, value + 0.05 * mx.random.normal(value.shape))
        for name, value in tree_flatten(generator.parameters())
    ]
    generator.load_weights(moved)
    generator.eval()
    judges = Discriminators(DiscriminatorConfig(periods=(2, 3), channels_scale=1 / 64))
    return generator, judges


@pytest.fixture(scope="module")
def batch() -> Batch:
    draw = np.random.default_rng(0)
    audio = (0.1 * draw.standard_normal((2, 30 * MEL.hop_length))).astype(np.float32)
    return Batch(
        text_bl=draw.integers(0, 8, (2, 9)).astype(np.int32),
        text_lengths_b=np.array([9, 7], np.int32),
        linear_btf=np.array(linear_spectrogram(mx.array(audio), MEL)),
        frame_lengths_b=np.array([30, 25], np.int32),
        audio_bs=audio,
        speakers_b=np.array([0, 1], np.int32),
    )


def make_optimizers() -> dict[str, AdamW]:
    return {
        name: AdamW(1e-3, betas=[0.8, 0.99], eps=1e-9, bias_correction=True)
        for name in (GENERATOR, DISCRIMINATORS)
    }


def snapshot(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(v) for name, v in tree_flatten(network.parameters())}


def part_sizes(gradients: dict) -> dict[str, float]:
    """Largest absolute gradient of each top-level part."""
    sizes: dict[str, float] = {}
    for name, value in tree_flatten(gradients):
        part = name.split(".")[0]
        sizes[part] = max(sizes.get(part, 0.0), mx.abs(value).max().item())
    return sizes


def terms_of(
    generator: SynthesizerTrn, judges: Discriminators, batch: Batch
) -> dict[str, mx.array]:
    """Every loss term of the generator, without taking a step."""
    noise = draw_noise(mx.random.key(5), batch, 4, SETTINGS.segment_frames)
    segments = cut_segments(batch, noise.starts_b, SETTINGS)
    forward, fake = decode_segments(generator, batch, noise, SETTINGS)
    _, terms = audio_loss_terms(judges, segments, fake, SETTINGS)
    return terms | latent_loss_terms(forward, SETTINGS.weights)[1]


@pytest.mark.parametrize("term", REACHES)
@pytest.mark.parametrize("use_sdp", [True, False])
def test_each_term_reaches_its_parts_and_no_other(
    batch: Batch, term: str, use_sdp: bool
) -> None:
    generator, judges = make_networks(use_sdp=use_sdp)
    loss: Callable[[], mx.array] = lambda: terms_of(generator, judges, batch)[term]  # noqa: E731
    _, gradients = nn.value_and_grad(generator, loss)()
    sizes = part_sizes(gradients)
    assert set(sizes) == PARTS
    assert {part for part, size in sizes.items() if size > 0} == REACHES[term]


def test_speaker_table_learns_from_audio_divergence_and_durations(batch: Batch) -> None:
    generator, judges = make_networks(n_speakers=2, gin_channels=3)
    for term in ("loss_mel", "loss_kl"):
        loss = lambda term=term: terms_of(generator, judges, batch)[term]  # noqa: E731
        _, gradients = nn.value_and_grad(generator, loss)()
        assert part_sizes(gradients)["emb_g"] > 0, term


def test_discriminators_loss_reaches_the_discriminators_only(batch: Batch) -> None:
    generator, judges = make_networks()
    noise = draw_noise(mx.random.key(5), batch, 4, SETTINGS.segment_frames)
    segments = cut_segments(batch, noise.starts_b, SETTINGS)

    def loss() -> mx.array:
        _, fake = decode_segments(generator, batch, noise, SETTINGS)
        return discriminator_loss_terms(judges, segments.real_bs, fake)[0]

    _, to_generator = nn.value_and_grad(generator, loss)()
    assert set(part_sizes(to_generator).values()) == {0.0}
    _, to_discriminators = nn.value_and_grad(judges, loss)()
    for name, gradient in tree_flatten(to_discriminators):
        assert mx.abs(gradient).max().item() > 0, name


def test_step_equals_two_separate_steps(batch: Batch) -> None:
    """The nested step against the plain order, with a second forward pass."""
    noise = draw_noise(mx.random.key(7), batch, 4, SETTINGS.segment_frames)
    generator, judges = make_networks()
    terms = adversarial_step(
        generator, judges, make_optimizers(), batch, noise, SETTINGS
    )

    plain_generator, plain_judges = make_networks()
    optimizers = make_optimizers()
    segments = cut_segments(batch, noise.starts_b, SETTINGS)
    _, fake = decode_segments(plain_generator, batch, noise, SETTINGS)

    def discriminators_loss() -> mx.array:
        return discriminator_loss_terms(plain_judges, segments.real_bs, fake)[0]

    expected_discriminators, gradients = nn.value_and_grad(
        plain_judges, discriminators_loss
    )()
    optimizers[DISCRIMINATORS].update(plain_judges, gradients)

    def loss() -> mx.array:
        forward, fake = decode_segments(plain_generator, batch, noise, SETTINGS)
        audio, _ = audio_loss_terms(plain_judges, segments, fake, SETTINGS)
        return audio + latent_loss_terms(forward, SETTINGS.weights)[0]

    expected, gradients = nn.value_and_grad(plain_generator, loss)()
    optimizers[GENERATOR].update(plain_generator, gradients)

    assert terms["loss_discriminator"].item() == expected_discriminators.item()
    assert terms["loss_generator"].item() == pytest.approx(expected.item(), rel=1e-6)
    squares = sum((np.array(g) ** 2).sum() for _, g in tree_flatten(gradients))
    assert terms["grad_norm_generator"].item() == pytest.approx(squares**0.5, rel=1e-5)
    for ours, plain in ((judges, plain_judges), (generator, plain_generator)):
        found, wanted = snapshot(ours), snapshot(plain)
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], atol=2e-6)


def test_logged_losses_equal_recomputed_ones(batch: Batch) -> None:
    generator, judges = make_networks()
    noise = draw_noise(mx.random.key(9), batch, 4, SETTINGS.segment_frames)
    segments = cut_segments(batch, noise.starts_b, SETTINGS)
    forward, fake = decode_segments(generator, batch, noise, SETTINGS)
    recomputed = dict(discriminator_loss_terms(judges, segments.real_bs, fake)[1])
    terms = adversarial_step(
        generator, judges, make_optimizers(), batch, noise, SETTINGS
    )
    # The discriminators have moved: this is what the reference scores the generator by.
    recomputed |= audio_loss_terms(judges, segments, fake, SETTINGS)[1]
    recomputed |= latent_loss_terms(forward, SETTINGS.weights)[1]
    for name, value in recomputed.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert terms["loss_generator"].item() == pytest.approx(
        sum(recomputed[name].item() for name in REACHES), rel=1e-5
    )
    assert terms["loss_discriminator"].item() == pytest.approx(
        terms["loss_discriminator_real"].item()
        + terms["loss_discriminator_fake"].item(),
        rel=1e-6,
    )
    gradients_named = {"grad_norm_generator", "grad_norm_discriminators"}
    totals = {"loss_generator", "loss_discriminator"}
    assert set(terms) == set(recomputed) | gradients_named | totals


def test_weights_scale_their_terms(batch: Batch) -> None:
    generator, judges = make_networks()
    _, fake = decode_segments(
        generator, batch, draw_noise(mx.random.key(1), batch, 4, 12), SETTINGS
    )
    real = cut_segments(batch, mx.array([3, 4]), SETTINGS).real_bs
    _, one = generator_loss_terms(judges, real, fake, LossWeights(feature=1.0))
    total, three = generator_loss_terms(
        judges, real, fake, LossWeights(adversarial=3.0, feature=2.0)
    )
    found = {name: three[name].item() / one[name].item() for name in one}
    assert found == pytest.approx({"loss_adversarial": 3.0, "loss_feature": 2.0})
    assert total.item() == pytest.approx(sum(v.item() for v in three.values()))
    _, alone = generator_loss_terms(judges, real, fake, LossWeights(adversarial=0.0))
    assert set(alone) == {"loss_feature"}


def test_without_their_weights_the_discriminators_stay_untouched(batch: Batch) -> None:
    weights = LossWeights(adversarial=0.0, feature=0.0)
    settings = replace(SETTINGS, weights=weights)
    generator, judges = make_networks()
    before, optimizers = snapshot(judges), make_optimizers()
    noise = draw_noise(mx.random.key(0), batch, 4, settings.segment_frames)
    terms = adversarial_step(generator, judges, optimizers, batch, noise, settings)
    assert not any("discriminator" in name for name in terms)
    assert not {"loss_adversarial", "loss_feature", "loss_stft"} & set(terms)
    assert optimizers[DISCRIMINATORS].step.item() == 0
    for name, value in snapshot(judges).items():
        np.testing.assert_array_equal(value, before[name])

    alone, _ = make_networks()
    only = {GENERATOR: make_optimizers()[GENERATOR]}
    adversarial_step(alone, None, only, batch, noise, settings)
    for name, value in snapshot(alone).items():
        np.testing.assert_array_equal(value, snapshot(generator)[name])


def test_frozen_parts_do_not_move(batch: Batch) -> None:
    generator, judges = make_networks()
    generator.enc_p.freeze()
    before = snapshot(generator)
    noise = draw_noise(mx.random.key(0), batch, 4, SETTINGS.segment_frames)
    adversarial_step(generator, judges, make_optimizers(), batch, noise, SETTINGS)
    moved = {
        name.split(".")[0]
        for name, value in snapshot(generator).items()
        if not np.array_equal(value, before[name])
    }
    assert moved == PARTS - {"enc_p"}


def test_a_value_that_is_not_finite_shows_in_the_terms(batch: Batch) -> None:
    generator, judges = make_networks()
    noise = draw_noise(mx.random.key(0), batch, 4, SETTINGS.segment_frames)
    generator.dec.conv_post.weight = generator.dec.conv_post.weight * float("nan")
    broken = adversarial_step(
        generator, judges, make_optimizers(), batch, noise, SETTINGS
    )
    for name in ("loss_mel", "loss_generator", "grad_norm_generator"):
        assert np.isnan(broken[name].item()), name
    assert np.isfinite(broken["loss_kl"].item())


def test_segments_lie_inside_of_their_items(batch: Batch) -> None:
    lengths = np.array([12, 30], np.int32)
    short = replace(batch, frame_lengths_b=lengths)
    drawn = [
        np.array(draw_noise(mx.random.key(seed), short, 4, 12).starts_b)
        for seed in range(300)
    ]
    assert {int(starts[0]) for starts in drawn} == {0}
    assert {int(starts[1]) for starts in drawn} == set(range(19))


def test_noise_is_a_function_of_the_key(batch: Batch) -> None:
    one, same, other = (draw_noise(mx.random.key(k), batch, 4, 12) for k in (1, 1, 2))
    for name in one._fields:
        assert mx.array_equal(getattr(one, name), getattr(same, name))
    assert not mx.array_equal(one.eps, other.eps)


def test_refuses_an_utterance_shorter_than_a_segment(batch: Batch) -> None:
    generator, judges = make_networks()
    noise = draw_noise(mx.random.key(0), batch, 4, 12)
    settings = replace(SETTINGS, segment_frames=26)
    with pytest.raises(SpeechError, match="25 frames is shorter"):
        adversarial_step(generator, judges, make_optimizers(), batch, noise, settings)


def test_refuses_adversarial_weights_without_discriminators(batch: Batch) -> None:
    generator, _ = make_networks()
    noise = draw_noise(mx.random.key(0), batch, 4, 12)
    with pytest.raises(SpeechError, match="need discriminators"):
        adversarial_step(generator, None, make_optimizers(), batch, noise, SETTINGS)
