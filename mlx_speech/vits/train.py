"""VITS as a training task: one step, validation, samples, the finished voice.

The order of a step is the reference implementation's: one pass of the generator, then
the discriminators learn from it, then the generator is scored by the *updated*
discriminators. ``vits/steps.py`` holds that arithmetic; the loop is
``mlx_speech.training.loop``, which knows nothing of VITS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_speech.audio import MelSpec, log_mel, mel_from_linear, save
from mlx_speech.audio.metrics import aligned_mel_l1, mel_cepstral_distortion
from mlx_speech.audio.plot import save_spectrograms
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.corpus import BucketBatches
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.nn.conv import MODE as CONVOLUTION_MODE
from mlx_speech.training.ema import ExponentialMovingAverage
from mlx_speech.training.optim import GroupedAdamW, ParameterGroup, freeze_parts
from mlx_speech.vits.checkpoints import save_voice
from mlx_speech.vits.discriminator import Discriminators
from mlx_speech.vits.examples import Batch, ExampleSet
from mlx_speech.vits.input_checks import SpeechTooLong
from mlx_speech.vits.steps import (
    DISCRIMINATORS,
    GENERATOR,
    LossWeights,
    StepSettings,
    adversarial_step,
    draw_noise,
)
from mlx_speech.vits.training_config import BEST_METRIC, VitsTrainConfig
from mlx_speech.vits.voice import DEFAULT_INFERENCE, Voice

SPOKEN_SAMPLES = 3
# (n_fft, hop_length, win_length) of the optional multi-resolution STFT loss. By hops of
# a quarter, 12 points are transformed for each sample; the paper's three take 27.
STFT_RESOLUTIONS = ((256, 64, 256), (512, 128, 512), (1024, 256, 1024))


def step_settings(
    config: VitsTrainConfig, mel_spec: MelSpec, rfft: Transform = real_fft
) -> StepSettings:
    """What one step needs to know of a run's settings."""
    return StepSettings(
        rfft=rfft,
        mel_spec=mel_spec,
        segment_frames=config.segment_frames,
        weights=LossWeights(
            mel=config.weight_mel,
            kl=config.weight_kl,
            duration=config.weight_duration,
            adversarial=config.weight_adversarial,
            feature=config.weight_feature,
            stft=config.weight_stft,
        ),
        stft_resolutions=STFT_RESOLUTIONS,
    )


class VitsTask:
    """What the training loop asks of a model (``TrainingTask``).

    Args:
        config: the settings of the run.
        voice: the model to train, with its vocabulary, mel and speakers.
        discriminators: trained beside it, or None for a run that never uses them.
        training, validation: the data.
    """

    def __init__(
        self,
        config: VitsTrainConfig,
        voice: Voice,
        discriminators: Discriminators | None,
        training: ExampleSet,
        validation: ExampleSet,
    ) -> None:
        self.config = config
        self.voice = voice
        self.training = training
        self.validation = validation
        self.discriminators = discriminators
        self.buckets = BucketBatches(
            training.frame_lengths, config.batch_size, seed=config.seed
        )
        freeze_parts(voice.model, config.frozen_parts)
        self.networks: dict[str, nn.Module] = {GENERATOR: voice.model}
        self.optimizers = {GENERATOR: self._optimizer(voice.model)}
        if discriminators is not None:
            self.networks[DISCRIMINATORS] = discriminators
            self.optimizers[DISCRIMINATORS] = self._optimizer(discriminators)
        self.averages = {
            GENERATOR: ExponentialMovingAverage(
                voice.model, config.ema_decay, warm_up=True
            )
        }
        self.settings = step_settings(config, voice.mel_spec, training.front_end.rfft)

    def _optimizer(self, network: nn.Module) -> GroupedAdamW:
        config = self.config
        groups = []
        if network is self.voice.model and config.slow_parts:
            rate = config.learning_rate * config.slow_rate
            groups = [ParameterGroup("slow", tuple(config.slow_parts), rate)]
        first, second = config.adam_betas
        return GroupedAdamW(
            network,
            config.learning_rate,
            groups=groups,
            decay=config.lr_decay,
            betas=(first, second),
            eps=config.adam_eps,
            weight_decay=config.weight_decay,
        )

    def start_epoch(self, epoch: int) -> None:
        for optimizer in self.optimizers.values():
            optimizer.set_epoch(epoch)

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        return self.buckets.batches(epoch)

    def load_batch(self, indices: Sequence[int]) -> Batch:
        return self.training.load_batch(indices)

    def step(self, batch: Batch, key: mx.array, step: int) -> dict[str, mx.array]:
        """One step of discriminators and generator; lazy, see ``TrainingTask``."""
        model = self.voice.model
        model.train()
        settings = replace(self.settings, weights=self.weights_at(step))
        noise = draw_noise(
            key, batch, model.config.inter_channels, settings.segment_frames
        )
        metrics = adversarial_step(
            model, self.discriminators, self.optimizers, batch, noise, settings
        )
        self.averages[GENERATOR].update()
        return metrics

    def weights_at(self, step: int) -> LossWeights:
        """Loss weights of a step: discriminators late, KL rising, where asked for."""
        weights = self.settings.weights
        if not 0 <= self.config.discriminator_start < step:
            weights = replace(weights, adversarial=0.0, feature=0.0)
        if step < self.config.kl_warmup_steps:
            share = step / self.config.kl_warmup_steps
            weights = replace(weights, kl=weights.kl * share)
        return weights

    def validate(self, step: int) -> dict[str, float]:
        """Aligned mel L1 and mel-cepstral distortion of spoken held-out sentences.

        The averaged generator speaks without noise, so the score is a function of its
        weights; infinity where it would not end a sentence.
        """
        model = self.voice.model
        with self.averages[GENERATOR].swapped(model):
            model.eval()
            spoken = self.speak_validation(range(len(self.validation)))
            model.train()
        if len(spoken) < len(self.validation):
            return {BEST_METRIC: math.inf, "mel_l1": math.inf}
        distortions, distances = [], []
        for index, audio in spoken.items():
            reference = self._reference_mel(index)
            mel = np.array(log_mel(mx.array(audio), self.voice.mel_spec))
            distortions.append(mel_cepstral_distortion(reference, mel))
            distances.append(aligned_mel_l1(reference, mel))
        return {
            BEST_METRIC: float(np.mean(distortions)),
            "mel_l1": float(np.mean(distances)),
        }

    def speak_validation(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """Validation sentences spoken without noise, by index.

        One at a time, since a decoder at audio rate takes gigabytes for a dozen. Those
        that a voice in its first steps would not end are left out.
        """
        spoken = {}
        for index in indices:
            batch = self.validation.load_batch([index])
            try:
                result = self.voice.model.infer(
                    mx.array(batch.text_bl),
                    mx.array(batch.text_lengths_b),
                    noise_scale=0.0,
                    noise_scale_w=0.0,
                    speaker_ids=self._speakers(batch.speakers_b),
                )
            except SpeechTooLong:
                continue
            spoken[index] = np.array(result.audio[0])[: int(result.lengths[0])]
        return spoken

    def write_samples(self, folder: Path, step: int) -> None:
        """Some held-out sentences as text, sound and, beside the recording, a picture.

        The recordings themselves go into the first folder that is written; another one
        beside ``folder`` that holds them is looked for.
        """
        model = self.voice.model
        with self.averages[GENERATOR].swapped(model):
            model.eval()
            indices = range(min(SPOKEN_SAMPLES, len(self.validation)))
            spoken = self.speak_validation(indices)
            model.train()
        spec = self.voice.mel_spec
        for index in indices:
            text = self.validation.utterances[index].text
            (folder / f"{index}.txt").write_text(f"{text}\n", encoding="utf-8")
            recording = f"{index}-recording.wav"
            if not any(folder.parent.glob(f"*/{recording}")):
                batch = self.validation.load_batch([index])
                samples = batch.frame_lengths_b[0] * spec.hop_length
                audio = batch.audio_bs[0, :samples]
                save(folder / recording, audio, spec.sample_rate)
        for index, audio in spoken.items():
            save(folder / f"{index}.wav", np.clip(audio, -1, 1), spec.sample_rate)
        panels = {}
        for index, audio in spoken.items():
            panels[f"{index}: recording"] = self._reference_mel(index)
            panels[f"{index}: spoken"] = np.array(log_mel(mx.array(audio), spec))
        if panels and find_spec("matplotlib"):
            save_spectrograms(folder / "mel.png", panels, spec)

    def export(self, folder: Path) -> None:
        """Write the averaged generator as a voice that ``speak`` takes.

        Discriminators go with it only if they have learnt from it: a base's own would
        judge another voice.
        """
        model = self.voice.model
        learnt = (
            self.discriminators is not None
            and int(self.optimizers[DISCRIMINATORS].step) > 0
        )
        voice = replace(
            self.voice,
            inference=self._inference(),
            discriminators=self.discriminators if learnt else None,
        )
        with self.averages[GENERATOR].swapped(model):
            save_voice(folder, voice)

    def record(self) -> dict[str, str]:
        """What results depend on besides versions and BLAS; kept in checkpoints."""
        return {"convolutions": CONVOLUTION_MODE}

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters of each network."""
        return {
            name: sum(array.size for array in flatten_parameters(network).values())
            for name, network in self.networks.items()
        }

    def _inference(self) -> dict[str, float]:
        return {name: getattr(self.config, name) for name in DEFAULT_INFERENCE}

    def _speakers(self, speakers_b: np.ndarray) -> mx.array | None:
        return mx.array(speakers_b) if self.voice.model.config.n_speakers else None

    def _reference_mel(self, index: int) -> np.ndarray:
        batch = self.validation.load_batch([index])
        linear = mx.array(batch.linear_btf[0, : batch.frame_lengths_b[0]])
        return np.array(mel_from_linear(linear, self.voice.mel_spec))
