"""The VITS synthesiser: text to speech, trained end to end.

Kim et al. 2021, "Conditional Variational Autoencoder with Adversarial Learning for
End-to-End Text-to-Speech" (arXiv 2106.06103). Layout is [batch, time, channels];
attribute names are the keys of the reference implementation's checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError
from mlx_speech.vits.alignment import (
    alignment_score,
    maximum_path,
    path_from_durations,
)
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.duration import DurationPredictor, StochasticDurationPredictor
from mlx_speech.vits.flow import ResidualCouplingBlock
from mlx_speech.vits.generator import HifiGanGenerator
from mlx_speech.vits.input_checks import check_speakers, check_text, frame_count
from mlx_speech.vits.istft_decoder import IstftDecoder
from mlx_speech.vits.masks import sequence_mask
from mlx_speech.vits.posterior import PosteriorEncoder, sample_latent
from mlx_speech.vits.text_encoder import TextEncoder

DEFAULT_MAX_FRAMES = 8192


@dataclass(frozen=True)
class VitsForward:
    """What a training step needs of one pass.

    Attributes:
        z: sampled posterior latents [batch, frames, inter].
        z_p: the same through the flow.
        m_p, logs_p: the prior of each frame, by the alignment, [batch, frames, inter].
        m_q, logs_q: the posterior [batch, frames, inter].
        text_mask: 1 at valid symbols, float32 [batch, symbols].
        spec_mask: 1 at valid frames, float32 [batch, frames].
        duration_loss: the items' shares, [batch]; the loss is their sum.
        path: the alignment [batch, frames, symbols].
    """

    z: mx.array
    z_p: mx.array
    m_p: mx.array
    logs_p: mx.array
    m_q: mx.array
    logs_q: mx.array
    text_mask: mx.array
    spec_mask: mx.array
    duration_loss: mx.array
    path: mx.array


class InferredLatent(NamedTuple):
    """Synthesis up to the decoder.

    Attributes:
        z, z_p: latents after and before the inverse flow, [batch, frames, inter].
        mask: 1 at valid frames, [batch, frames, 1].
        durations: frames of each symbol, int32 [batch, symbols].
        log_durations: the predictor's output [batch, symbols].
    """

    z: mx.array
    z_p: mx.array
    mask: mx.array
    durations: mx.array
    log_durations: mx.array


class InferredSpeech(NamedTuple):
    """Synthesised speech.

    Attributes:
        audio: float32 [batch, samples].
        lengths: valid samples of each item, int32 [batch].
        durations: frames of each symbol, int32 [batch, symbols].
    """

    audio: mx.array
    lengths: mx.array
    durations: mx.array


class SynthesizerTrn(nn.Module):
    """Text encoder, posterior encoder, flow, duration predictor and decoder.

    Args:
        config: fixes every shape.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.config = config
        self.enc_p = TextEncoder(config)
        self.enc_q = PosteriorEncoder(config)
        self.flow = ResidualCouplingBlock(config)
        self.dp: StochasticDurationPredictor | DurationPredictor = (
            StochasticDurationPredictor(config)
            if config.use_sdp
            else DurationPredictor(config)
        )
        self.dec: HifiGanGenerator | IstftDecoder = (
            HifiGanGenerator(config)
            if config.decoder == "hifigan"
            else IstftDecoder(config)
        )
        if config.n_speakers:
            self.emb_g = nn.Embedding(config.n_speakers, config.gin_channels)
            shape = (config.n_speakers, config.gin_channels)
            self.emb_g.weight = mx.random.normal(shape)

    def speaker_vectors(self, speaker_ids_b: mx.array | None) -> mx.array | None:
        """Rows of the speaker table, [batch, 1, gin]; None for a model of one voice.

        Raises:
            SpeechError: ids are missing, or given to a model of one voice.
        """
        if self.config.n_speakers:
            if speaker_ids_b is None:
                raise SpeechError(
                    f"this model has {self.config.n_speakers} speakers and none is "
                    "chosen",
                    f"give speaker ids from 0 to {self.config.n_speakers - 1}",
                )
            return self.emb_g(speaker_ids_b)[:, None, :]
        if speaker_ids_b is not None:
            raise SpeechError(
                "speaker ids are given to a model of one voice", "leave them out"
            )
        return None

    def forward(
        self,
        text_bl: mx.array,
        text_lengths_b: mx.array,
        spec_btf: mx.array,
        spec_lengths_b: mx.array,
        eps: mx.array | None = None,
        duration_noise: mx.array | None = None,
        speaker_ids: mx.array | None = None,
        key: mx.array | None = None,
    ) -> VitsForward:
        """Everything of a training step but the decoder.

        Args:
            text_bl: symbol ids, int [batch, symbols].
            text_lengths_b: valid symbols, int [batch].
            spec_btf: magnitude spectrogram [batch, frames, spec_channels].
            spec_lengths_b: valid frames, int [batch], at least the symbols.
            eps: the posterior's standard normal noise [batch, frames, inter].
            duration_noise: the stochastic duration predictor's [batch, symbols, 2].
            speaker_ids: int [batch]; for models of several voices only.
            key: where noise that is not given comes from; None for the global state.

        Raises:
            SpeechError: speaker ids do not fit, or an item has fewer frames than
                symbols.
        """
        posterior_key, duration_key = _split_key(key)
        g = self.speaker_vectors(speaker_ids)
        x, m_p, logs_p, text_mask = self.enc_p(text_bl, text_lengths_b)
        spec_mask = sequence_mask(spec_lengths_b, spec_btf.shape[1])
        m_q, logs_q = self.enc_q(spec_btf, spec_mask, g)
        if eps is None:
            eps = mx.random.normal(m_q.shape, key=posterior_key)
        z = sample_latent(m_q, logs_q, eps, spec_mask)
        z_p = self.flow(z, spec_mask, g)

        score = alignment_score(z_p, m_p, logs_p)
        path = maximum_path(score, spec_mask * text_mask.swapaxes(1, 2))
        if duration_noise is None and self.config.use_sdp:
            duration_noise = mx.random.normal((*text_bl.shape, 2), key=duration_key)
        duration_loss = self.dp.loss(
            x, text_mask, mx.sum(path, axis=1), duration_noise, g
        )
        return VitsForward(
            z=z,
            z_p=z_p,
            m_p=path @ m_p,
            logs_p=path @ logs_p,
            m_q=m_q,
            logs_q=logs_q,
            text_mask=text_mask[..., 0],
            spec_mask=spec_mask[..., 0],
            duration_loss=duration_loss,
            path=path,
        )

    def decode(self, z_btc: mx.array, speaker_ids: mx.array | None = None) -> mx.array:
        """Latents [batch, frames, inter] to audio [batch, frames * hop_length]."""
        return self.dec(z_btc, self.speaker_vectors(speaker_ids))

    def infer(
        self,
        text_bl: mx.array,
        text_lengths_b: mx.array,
        noise_scale: float = 0.667,
        length_scale: float = 1.0,
        noise_scale_w: float = 0.8,
        speaker_ids: mx.array | None = None,
        key: mx.array | None = None,
        prior_noise: mx.array | None = None,
        duration_noise: mx.array | None = None,
        max_frames: int = DEFAULT_MAX_FRAMES,
    ) -> InferredSpeech:
        """Speak a padded batch of texts; arguments as in :meth:`infer_latent`."""
        latent = self.infer_latent(
            text_bl,
            text_lengths_b,
            noise_scale,
            length_scale,
            noise_scale_w,
            speaker_ids,
            key,
            prior_noise,
            duration_noise,
            max_frames,
        )
        audio = self.decode(latent.z * latent.mask, speaker_ids)
        frames_b = mx.sum(latent.mask, axis=(1, 2)).astype(mx.int32)
        return InferredSpeech(
            audio, frames_b * self.config.hop_length, latent.durations
        )

    def infer_latent(
        self,
        text_bl: mx.array,
        text_lengths_b: mx.array,
        noise_scale: float = 0.667,
        length_scale: float = 1.0,
        noise_scale_w: float = 0.8,
        speaker_ids: mx.array | None = None,
        key: mx.array | None = None,
        prior_noise: mx.array | None = None,
        duration_noise: mx.array | None = None,
        max_frames: int = DEFAULT_MAX_FRAMES,
    ) -> InferredLatent:
        """Text to the latents that the decoder speaks.

        Args:
            text_bl: symbol ids, int [batch, symbols].
            text_lengths_b: valid symbols, int [batch].
            noise_scale: standard deviations of the prior's noise; 0 draws none.
            length_scale: factor on all durations; larger is slower.
            noise_scale_w: the same as ``noise_scale`` for the stochastic durations.
            speaker_ids: int [batch]; for models of several voices only.
            key: where noise that is not given comes from; None for the global state.
            prior_noise: standard normal [batch, at least the frames, inter].
            duration_noise: standard normal [batch, symbols, 2].
            max_frames: longest speech that is allowed.

        Raises:
            SpeechError: a text is empty, an id is out of range, or the speech would be
                longer than ``max_frames``.
        """
        check_text(text_bl, text_lengths_b, self.config.n_vocab)
        check_speakers(speaker_ids, self.config.n_speakers)
        prior_key, duration_key = _split_key(key)
        g = self.speaker_vectors(speaker_ids)
        x, m_p, logs_p, text_mask = self.enc_p(text_bl, text_lengths_b)
        if not self.config.use_sdp or noise_scale_w == 0:
            duration_noise = None
        elif duration_noise is None:
            duration_noise = mx.random.normal((*text_bl.shape, 2), key=duration_key)
        if duration_noise is not None:
            duration_noise = noise_scale_w * duration_noise
        log_durations = self.dp.predict(x, text_mask, duration_noise, g)
        exact = mx.exp(log_durations) * text_mask[..., 0] * length_scale
        durations = mx.ceil(exact)
        frames_b = mx.maximum(mx.sum(durations, axis=1), 1)
        frames = frame_count(frames_b, max_frames)
        durations = durations.astype(mx.int32)
        mask = sequence_mask(frames_b, frames)

        path = path_from_durations(durations, frames)
        z_p = path @ m_p
        if noise_scale != 0:
            if prior_noise is None:
                prior_noise = mx.random.normal(z_p.shape, key=prior_key)
            noise = prior_noise[:, :frames]
            z_p = z_p + noise * mx.exp(path @ logs_p) * noise_scale
        z = self.flow.reverse(z_p, mask, g)
        return InferredLatent(z, z_p, mask, durations, log_durations)

    def reconstruct(
        self,
        spec_btf: mx.array,
        spec_lengths_b: mx.array,
        speaker_ids: mx.array | None = None,
        noise_scale: float = 1.0,
        eps: mx.array | None = None,
        key: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Speech through the posterior encoder and the decoder.

        Args:
            spec_btf, spec_lengths_b, speaker_ids, eps, key: as in :meth:`forward`.
            noise_scale: factor on the posterior's noise; 0 takes its mean.

        Returns:
            audio [batch, frames * hop_length] and its valid samples, int32 [batch].
        """
        check_speakers(speaker_ids, self.config.n_speakers)
        z, mask = self._posterior_latent(
            spec_btf, spec_lengths_b, speaker_ids, noise_scale, eps, key
        )
        lengths_b = spec_lengths_b.astype(mx.int32) * self.config.hop_length
        return self.decode(z * mask, speaker_ids), lengths_b

    def convert_voice(
        self,
        spec_btf: mx.array,
        spec_lengths_b: mx.array,
        source_ids: mx.array,
        target_ids: mx.array,
        noise_scale: float = 1.0,
        eps: mx.array | None = None,
        key: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """The same words in another of the model's voices.

        Args:
            spec_btf, spec_lengths_b, eps, key: as in :meth:`forward`.
            source_ids: who speaks in the recording, int [batch].
            target_ids: who shall speak, int [batch].
            noise_scale: factor on the posterior's noise; 0 takes its mean.

        Returns:
            audio [batch, frames * hop_length] and its valid samples, int32 [batch].

        Raises:
            SpeechError: the model has one voice, or an id is out of range.
        """
        if not self.config.n_speakers:
            raise SpeechError(
                "this model has one voice, so there is none to convert to",
                "convert with a model that was trained on several speakers",
            )
        check_speakers(source_ids, self.config.n_speakers)
        check_speakers(target_ids, self.config.n_speakers)
        z, mask = self._posterior_latent(
            spec_btf, spec_lengths_b, source_ids, noise_scale, eps, key
        )
        z_p = self.flow(z, mask, self.speaker_vectors(source_ids))
        z = self.flow.reverse(z_p, mask, self.speaker_vectors(target_ids))
        lengths_b = spec_lengths_b.astype(mx.int32) * self.config.hop_length
        return self.decode(z * mask, target_ids), lengths_b

    def _posterior_latent(
        self,
        spec_btf: mx.array,
        spec_lengths_b: mx.array,
        speaker_ids: mx.array | None,
        noise_scale: float,
        eps: mx.array | None,
        key: mx.array | None,
    ) -> tuple[mx.array, mx.array]:
        """Sampled latents [batch, frames, inter] and the frames' mask."""
        mask = sequence_mask(spec_lengths_b, spec_btf.shape[1])
        m_q, logs_q = self.enc_q(spec_btf, mask, self.speaker_vectors(speaker_ids))
        if noise_scale == 0:
            return m_q, mask
        if eps is None:
            eps = mx.random.normal(m_q.shape, key=key)
        return sample_latent(m_q, logs_q, noise_scale * eps, mask), mask


def _split_key(key: mx.array | None) -> tuple[mx.array | None, mx.array | None]:
    if key is None:
        return None, None
    first, second = mx.random.split(key)
    return first, second
