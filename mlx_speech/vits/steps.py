"""One adversarial training step of VITS, in the order of the reference.

The discriminators learn first, from the recording and the detached output of the
generator; then the generator is scored by the *updated* discriminators (Kim et al.
2021, arXiv 2106.06103, after Kong et al. 2020, arXiv 2010.05646). PyTorch keeps the
generator's graph alive between the two. Here the discriminators' step is nested in the
trace of the generator's loss, so that one forward pass serves both: everything that
listens to the generated audio is differentiated with respect to that audio, and the
audio times this gradient, held constant, stands for it in the loss of the generator.

Nothing here waits for a result but the alignment search of the forward pass, which runs
on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.optimizers import Optimizer

from mlx_speech.audio.mel import MelSpec, log_mel, mel_from_linear
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.audio.stft_loss import RESOLUTIONS, multi_resolution_stft_loss
from mlx_speech.errors import SpeechError
from mlx_speech.training.optim import gradient_norm
from mlx_speech.vits.discriminator import Discriminators, Judgement
from mlx_speech.vits.losses import (
    FEATURE_MATCHING_FACTOR,
    discriminator_losses,
    duration_loss,
    feature_matching_loss,
    generator_loss,
    kl_loss,
    mel_l1_loss,
)
from mlx_speech.vits.masks import slice_segments
from mlx_speech.vits.model import SynthesizerTrn, VitsForward

if TYPE_CHECKING:
    from mlx_speech.vits.examples import Batch

Terms = dict[str, mx.array]
# Names under which the two networks' optimisers are handed over.
GENERATOR = "generator"
DISCRIMINATORS = "discriminators"


@dataclass(frozen=True)
class LossWeights:
    """Factors on the loss terms; the defaults are VITS's.

    Attributes:
        mel, kl, duration, stft: reconstruction, divergence, durations, spectra.
        adversarial, feature: what the discriminators say. With both 0 they rest.
    """

    mel: float = 45.0
    kl: float = 1.0
    duration: float = 1.0
    adversarial: float = 1.0
    feature: float = FEATURE_MATCHING_FACTOR
    stft: float = 0.0

    @property
    def use_discriminators(self) -> bool:
        """Whether any term needs the discriminators."""
        return bool(self.adversarial or self.feature)


@dataclass(frozen=True)
class StepSettings:
    """What a step needs to know besides networks and data.

    Attributes:
        mel_spec: front end of the spectrogram and of the mel loss.
        segment_frames: frames of each item that are decoded.
        weights: of the loss terms.
        stft_resolutions: (n_fft, hop_length, win_length) of the STFT loss.
        rfft: the transform of the mel loss.
    """

    mel_spec: MelSpec
    segment_frames: int
    weights: LossWeights = LossWeights()
    stft_resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS
    rfft: Transform = real_fft


class StepNoise(NamedTuple):
    """Everything random in a step but dropout.

    Attributes:
        starts_b: first frame of each item's segment, int [batch].
        eps: the posterior's noise [batch, frames, inter].
        duration_noise: the stochastic duration predictor's [batch, symbols, 2].
    """

    starts_b: mx.array
    eps: mx.array
    duration_noise: mx.array


class Segments(NamedTuple):
    """What the generated and the recorded audio of a step are compared by.

    Attributes:
        real_bs: recorded samples [batch, segment_frames * hop].
        target_mel: log-mel of the recording [batch, segment_frames, mels].
    """

    real_bs: mx.array
    target_mel: mx.array


def draw_noise(
    key: mx.array, batch: Batch, inter_channels: int, segment_frames: int
) -> StepNoise:
    """Draw the noise of one step; the same key gives the same noise.

    Every segment that lies inside of its item is equally likely.
    """
    start_key, posterior_key, duration_key = mx.random.split(key, 3)
    size, frames = batch.linear_btf.shape[:2]
    choices = mx.array(batch.frame_lengths_b) - segment_frames + 1
    uniform = mx.random.uniform(shape=(size,), key=start_key)
    starts = mx.minimum((uniform * choices).astype(mx.int32), choices - 1)
    return StepNoise(
        starts,
        mx.random.normal((size, frames, inter_channels), key=posterior_key),
        mx.random.normal((*batch.text_bl.shape, 2), key=duration_key),
    )


def adversarial_step(
    generator: SynthesizerTrn,
    discriminators: Discriminators | None,
    optimizers: Mapping[str, Optimizer],
    batch: Batch,
    noise: StepNoise,
    settings: StepSettings,
) -> Terms:
    """Update the discriminators, then the generator, both in place and lazily.

    Args:
        generator: the model.
        discriminators: may be None where no weight asks for them.
        optimizers: "generator", and "discriminators" where they take part.
        batch: padded NumPy arrays, see :class:`mlx_speech.vits.examples.Batch`.
        noise: see :func:`draw_noise`.
        settings: front end, segment and weights.

    Returns:
        Lazy float32 scalars: ``loss_generator`` and its addends ``loss_mel``,
        ``loss_kl``, ``loss_duration`` and, where their weight is not 0,
        ``loss_adversarial``, ``loss_feature`` and ``loss_stft``, all with their weights
        in them; ``grad_norm_generator``; with discriminators also
        ``loss_discriminator``, its addends ``loss_discriminator_real`` and ``_fake``,
        and ``grad_norm_discriminators``.

    Raises:
        SpeechError: an utterance is shorter than a segment, or there are no
            discriminators though a weight asks for them.
    """
    _check(batch, settings, discriminators)
    if not settings.weights.use_discriminators:
        discriminators = None
    segments = cut_segments(batch, noise.starts_b, settings)

    def loss_of_generator() -> tuple[mx.array, Terms]:
        forward, fake = decode_segments(generator, batch, noise, settings)
        held = mx.stop_gradient(fake)
        terms: Terms = {}
        if discriminators is not None:
            terms |= discriminator_step(
                discriminators, optimizers[DISCRIMINATORS], segments.real_bs, held
            )

        def loss_of_audio(audio: mx.array) -> tuple[mx.array, Terms]:
            return audio_loss_terms(discriminators, segments, audio, settings)

        (audio_loss, audio_terms), gradient = mx.value_and_grad(loss_of_audio)(held)
        latent_loss, latent_terms = latent_loss_terms(forward, settings.weights)
        terms |= audio_terms | latent_terms
        terms["loss_generator"] = audio_loss + latent_loss
        carrier = (fake * mx.stop_gradient(gradient)).sum()
        return carrier + latent_loss, terms

    (_, terms), gradients = nn.value_and_grad(generator, loss_of_generator)()
    optimizers[GENERATOR].update(generator, gradients)
    terms["grad_norm_generator"] = gradient_norm(gradients)
    return terms


def cut_segments(batch: Batch, starts_b: mx.array, settings: StepSettings) -> Segments:
    """The recording's side of the comparison, from frame ``starts_b`` of each item."""
    frames, hop = settings.segment_frames, settings.mel_spec.hop_length
    linear = slice_segments(mx.array(batch.linear_btf), starts_b, frames)
    real = slice_segments(mx.array(batch.audio_bs), starts_b * hop, frames * hop)
    return Segments(real, mel_from_linear(linear, settings.mel_spec))


def decode_segments(
    generator: SynthesizerTrn, batch: Batch, noise: StepNoise, settings: StepSettings
) -> tuple[VitsForward, mx.array]:
    """The generator's side: the forward pass, and audio [batch, frames * hop]."""
    speakers = mx.array(batch.speakers_b) if generator.config.n_speakers else None
    forward = generator.forward(
        mx.array(batch.text_bl),
        mx.array(batch.text_lengths_b),
        mx.array(batch.linear_btf),
        mx.array(batch.frame_lengths_b),
        eps=noise.eps,
        duration_noise=noise.duration_noise if generator.config.use_sdp else None,
        speaker_ids=speakers,
    )
    z = slice_segments(forward.z, noise.starts_b, settings.segment_frames)
    return forward, generator.decode(z, speakers)


def discriminator_step(
    discriminators: Discriminators,
    optimizer: Optimizer,
    real_bs: mx.array,
    fake_bs: mx.array,
) -> Terms:
    """Update the discriminators in place; their loss terms and gradient norm."""

    def loss() -> tuple[mx.array, Terms]:
        return discriminator_loss_terms(discriminators, real_bs, fake_bs)

    (total, terms), gradients = nn.value_and_grad(discriminators, loss)()
    optimizer.update(discriminators, gradients)
    return {
        "loss_discriminator": total,
        **terms,
        "grad_norm_discriminators": gradient_norm(gradients),
    }


def discriminator_loss_terms(
    discriminators: Discriminators, real_bs: mx.array, fake_bs: mx.array
) -> tuple[mx.array, Terms]:
    """Loss of the discriminators and its two addends; no gradient reaches the audio.

    Args:
        discriminators: scored as they are.
        real_bs, fake_bs: [batch, samples].
    """
    size = real_bs.shape[0]
    audio = mx.stop_gradient(mx.concatenate([real_bs, fake_bs]))
    scores = [scores for scores, _ in discriminators(audio)]
    real, fake = discriminator_losses(
        [score[:size] for score in scores], [score[size:] for score in scores]
    )
    terms = {"loss_discriminator_real": real, "loss_discriminator_fake": fake}
    return real + fake, terms


def generator_loss_terms(
    discriminators: Discriminators,
    real_bs: mx.array,
    fake_bs: mx.array,
    weights: LossWeights = LossWeights(),
) -> tuple[mx.array, Terms]:
    """What the discriminators say to the generator: their scores and their features.

    Args:
        discriminators: no step is taken on them.
        real_bs, fake_bs: [batch, samples].
        weights: a term whose weight is 0 is left out.
    """
    judged = discriminators(fake_bs)
    terms: Terms = {}
    if weights.adversarial:
        scores = [scores for scores, _ in judged]
        terms["loss_adversarial"] = weights.adversarial * generator_loss(scores)
    if weights.feature:
        terms["loss_feature"] = feature_matching_loss(
            _features(discriminators(real_bs)),
            _features(judged),
            factor=weights.feature,
        )
    return _total(terms), terms


def audio_loss_terms(
    discriminators: Discriminators | None,
    segments: Segments,
    fake_bs: mx.array,
    settings: StepSettings,
) -> tuple[mx.array, Terms]:
    """Every loss term that depends on the generated audio [batch, samples]."""
    weights = settings.weights
    predicted = log_mel(fake_bs, settings.mel_spec, settings.rfft)
    terms = {"loss_mel": weights.mel * mel_l1_loss(segments.target_mel, predicted)}
    if weights.stft:
        terms["loss_stft"] = weights.stft * multi_resolution_stft_loss(
            fake_bs, segments.real_bs, settings.stft_resolutions
        )
    if discriminators is not None:
        terms |= generator_loss_terms(
            discriminators, segments.real_bs, fake_bs, weights
        )[1]
    return _total(terms), terms


def latent_loss_terms(
    forward: VitsForward, weights: LossWeights
) -> tuple[mx.array, Terms]:
    """The loss terms that do not depend on the generated audio."""
    kl = kl_loss(
        forward.z_p,
        forward.logs_q,
        forward.m_p,
        forward.logs_p,
        forward.spec_mask,
    )
    terms = {
        "loss_kl": weights.kl * kl,
        "loss_duration": weights.duration * duration_loss(forward.duration_loss),
    }
    return _total(terms), terms


def _features(judgements: Sequence[Judgement]) -> list[list[mx.array]]:
    return [features for _, features in judgements]


def _total(terms: Terms) -> mx.array:
    return sum(terms.values(), mx.array(0.0))


def _check(
    batch: Batch, settings: StepSettings, discriminators: Discriminators | None
) -> None:
    shortest = int(np.min(batch.frame_lengths_b))
    if shortest < settings.segment_frames:
        raise SpeechError(
            f"an utterance of {shortest} frames is shorter than a training segment of "
            f"{settings.segment_frames}",
            "leave short utterances out or set `segment_frames` lower",
        )
    if settings.weights.use_discriminators and discriminators is None:
        raise SpeechError(
            "the adversarial and feature losses need discriminators",
            "give them, or set both weights to 0",
        )
