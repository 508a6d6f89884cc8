"""Whisper as a training task: one step, validation, the finished model.

Radford et al. 2022, section 2.4: the decoder predicts the next token of a transcript in
which times, prompts and windows without speech are tokens too. From scratch, a CTC loss
on the encoder's output beside it (Watanabe et al., "Hybrid CTC/Attention Architecture
for End-to-End Speech Recognition", 2017) makes the attention find the order of the
sounds early; its layer is not part of the finished model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_map

from mlx_speech.audio import load
from mlx_speech.audio.mel import (
    MelSpec,
    linear_spectrogram,
    normalise_log_mel,
    raw_log_mel,
)
from mlx_speech.corpus import BucketBatches, Utterance
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.nn.ctc import ctc_loss
from mlx_speech.nn.low_rank import add_low_rank, merged_parameters
from mlx_speech.text.whisper_normalizer import (
    normalize_any_language,
    normalize_english,
)
from mlx_speech.text.word_errors import word_errors
from mlx_speech.training.ema import ExponentialMovingAverage
from mlx_speech.training.optim import GroupedAdamW, clip_gradients
from mlx_speech.whisper.checkpoints import save_whisper
from mlx_speech.whisper.decoding import decode
from mlx_speech.whisper.decoding_options import DecodingOptions
from mlx_speech.whisper.mel_windows import MelWindows, mel_spec
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.training_batches import SAMPLE_RATE, Batch, BatchMaker
from mlx_speech.whisper.training_config import BEST_METRIC, WhisperTrainConfig
from mlx_speech.whisper.training_windows import Layout, Window, lay_out
from mlx_speech.whisper.vocabulary import write_vocabulary

NETWORK = "whisper"
# The layers that low-rank updates change: all of attention and feed-forward.
LORA_LAYERS = ("qkv_proj", "q_proj", "kv_proj", "out_proj", "fc1", "fc2")
# The loop knows batches by indices: epoch and place in it, in one number.
_EPOCH = 10_000_000


class TrainedWhisper(nn.Module):
    """The model, and the layer that spells for CTC.

    Args:
        whisper: the model.
        classes: of CTC; 0: no such layer.
    """

    def __init__(self, whisper: Whisper, classes: int) -> None:
        super().__init__()
        self.whisper = whisper
        if classes:
            self.ctc = nn.Linear(whisper.config.n_audio_state, classes)


class WhisperTask:
    """What the training loop asks of a model (``TrainingTask``).

    Args:
        config: the settings of the run.
        whisper: the model to train.
        maker: makes batches of the training recordings.
        layout: how these are laid out in windows.
        validation: recordings that the training never hears, each within a window.
    """

    def __init__(
        self,
        config: WhisperTrainConfig,
        whisper: Whisper,
        maker: BatchMaker,
        layout: Layout,
        validation: Sequence[Utterance],
    ) -> None:
        self.config = config
        self.maker = maker
        self.layout = layout
        self.validation = validation
        self.network = TrainedWhisper(
            whisper, maker.labels.classes if config.ctc_weight else 0
        )
        part = whisper.decoder if config.freeze_encoder else whisper
        if config.lora_rank:
            whisper.freeze()
            add_low_rank(part, LORA_LAYERS, config.lora_rank, config.lora_alpha)
        elif config.freeze_encoder:
            whisper.encoder.freeze()
        self.mel_spec = mel_spec(whisper.config)
        self.networks: dict[str, nn.Module] = {NETWORK: self.network}
        first, second = config.adam_betas
        self.optimizer = GroupedAdamW(
            self.network,
            config.learning_rate,
            betas=(first, second),
            eps=1e-8,
            weight_decay=config.weight_decay,
        )
        self.optimizers = {NETWORK: self.optimizer}
        self.averages = {}
        if config.ema_decay:
            self.averages[NETWORK] = ExponentialMovingAverage(
                self.network, config.ema_decay, warm_up=True
            )
        self.plan = lru_cache(maxsize=2)(self._plan)

    @property
    def whisper(self) -> Whisper:
        """The model."""
        return self.network.whisper

    def start_epoch(self, epoch: int) -> None:
        """Nothing depends on the epoch; learning rates depend on the step."""

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The batches of an epoch, each the numbers of its windows (see ``_EPOCH``)."""
        windows, config = self.plan(epoch), self.config
        if config.crop:
            contents = [window.content for window in windows]
            buckets = BucketBatches(contents, config.batch_size, seed=config.seed)
            batches = buckets.batches(epoch)
        else:
            places, size = list(range(len(windows))), config.batch_size
            batches = [places[at : at + size] for at in range(0, len(places), size)]
        return [[epoch * _EPOCH + place for place in batch] for batch in batches]

    def load_batch(self, indices: Sequence[int]) -> Batch:
        """Make one of :meth:`batches`; the same numbers give the same batch."""
        epoch = indices[0] // _EPOCH
        windows = [self.plan(epoch)[index % _EPOCH] for index in indices]
        return self.maker.make(windows, (self.config.seed, *divmod(indices[0], _EPOCH)))

    def step(self, batch: Batch, key: mx.array, step: int) -> dict[str, mx.array]:
        """One step; lazy, see ``TrainingTask``. All chance is in the batch."""
        self.optimizer.set_factor(self.config.rate_factor(step))
        parameters = self.network.trainable_parameters()
        everything = self.network.parameters()
        # Frozen parts too: one of single precision would make all that follows single.
        self.network.update(self._cast(everything))

        def losses(values: dict) -> tuple[mx.array, dict[str, mx.array]]:
            self.network.update(self._cast(values))
            mel = training_mel(batch, self.mel_spec)
            return training_losses(self.network, mel, batch, self.config.ctc_weight)

        (_, metrics), gradients = mx.value_and_grad(losses)(parameters)
        self.network.update(everything)
        gradients, norm = clip_gradients(gradients, self.config.gradient_clip)
        self.optimizer.update(self.network, gradients)
        for average in self.averages.values():
            average.update()
        return metrics | {"grad_norm_whisper": norm}

    def _cast(self, values: dict) -> dict:
        if self.config.precision == "float32":
            return values

        def halved(array: mx.array) -> mx.array:
            floats = mx.issubdtype(array.dtype, mx.floating)
            return array.astype(mx.bfloat16) if floats else array

        return tree_map(halved, values)

    def validate(self, step: int) -> dict[str, float]:
        """Word error rate of held-out recordings, decoded greedily without times."""
        with self._averaged():
            heard = self.transcribe_validation()
        normalize = (
            normalize_english
            if self.config.language == "en"
            else normalize_any_language
        )
        said = [utterance.text for utterance in self.validation]
        return {BEST_METRIC: word_errors(said, heard, normalize).rate}

    def transcribe_validation(self) -> list[str]:
        """What the model hears in the validation recordings."""
        size = self.config.batch_size
        options = DecodingOptions(
            task=self.config.task,
            language=self.config.language,
            without_timestamps=True,
        )
        texts = []
        for at in range(0, len(self.validation), size):
            mels = [
                self._whole_window(utterance)
                for utterance in self.validation[at : at + size]
            ]
            found = decode(
                self.whisper,
                mx.concatenate(mels).astype(self.whisper.dtype),
                options,
                tokenizer=self.maker.tokenizer,
            )
            texts += [result.text for result in found]
        return texts

    def write_samples(self, folder: Path, step: int) -> None:
        """What was said in the validation recordings, and what the model heard."""
        with self._averaged():
            heard = self.transcribe_validation()
        lines = [
            f"{utterance.identifier}\n  said:  {utterance.text}\n  heard: {text}\n"
            for utterance, text in zip(self.validation, heard, strict=True)
        ]
        (folder / "transcripts.txt").write_text("".join(lines), encoding="utf-8")

    def export(self, folder: Path) -> None:
        """Write the model in Hugging Face's layout, with its vocabulary."""
        with self._averaged():
            plain = Whisper(self.whisper.config)
            plain.load_weights(list(merged_parameters(self.whisper).items()))
            plain.folder = self.whisper.folder
            export_whisper(folder, plain, self.maker.tokenizer)

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters that are trained, and of all of the model's."""
        trained = dict(tree_flatten(self.network.trainable_parameters()))
        return {
            "trained": sum(array.size for array in trained.values()),
            "model": sum(a.size for a in flatten_parameters(self.whisper).values()),
        }

    def _averaged(self) -> AbstractContextManager:
        if NETWORK in self.averages:
            return self.averages[NETWORK].swapped(self.network)
        return nullcontext()

    def _whole_window(self, utterance: Utterance) -> mx.array:
        samples, _ = load(utterance.audio_path, SAMPLE_RATE)
        windows = MelWindows(samples, self.whisper.config)
        return windows.window(0, min(windows.frames, self.whisper.config.n_frames))

    def _plan(self, epoch: int) -> list[Window]:
        return lay_out(self.maker.clips, self.layout, self.config.seed, epoch)


def training_losses(
    network: TrainedWhisper, mel_bfm: mx.array, batch: Batch, ctc_weight: float
) -> tuple[mx.array, dict[str, mx.array]]:
    """What a step minimises, and its parts.

    Args:
        network: the model, with its layer for CTC if ``ctc_weight`` is above 0.
        mel_bfm: log-mel [batch, frames, n_mels].
        batch: of it the tokens, targets and labels.
        ctc_weight: of the CTC loss.

    Returns:
        The sum, float32 scalar: cross-entropy per token that counts, plus the weight
        times the CTC loss per label. The parts by name.
    """
    whisper = network.whisper
    features = whisper.encode(mel_bfm)
    cross = whisper.cross_key_values(features)
    logits = whisper.decode(mx.array(batch.tokens_bl), cross)
    counted = mx.array(batch.counted_bl)
    wrong = nn.losses.cross_entropy(logits, mx.array(batch.targets_bl))
    tokens = (wrong * counted).sum() / counted.sum()
    if not ctc_weight:
        return tokens, {"loss_tokens": tokens}
    scores = network.ctc(features).astype(mx.float32)
    missed = ctc_loss(
        nn.log_softmax(scores, axis=-1),
        batch.positions_b,
        batch.labels_bn,
        batch.label_lengths_b,
    )
    labels = missed.sum() / max(int(batch.label_lengths_b.sum()), 1)
    total = tokens + ctc_weight * labels
    return total, {"loss_total": total, "loss_tokens": tokens, "loss_ctc": labels}


def training_mel(batch: Batch, spec: MelSpec) -> mx.array:
    """Log-mel [batch, frames, n_mels] as transcription would make it, then masked.

    Frames after the end of a recording are zeros, and the floor follows the loudest
    moment of the whole recording, of which a window is a part.
    """
    logs = raw_log_mel(linear_spectrogram(mx.array(batch.audio_bs), spec), spec)
    peaks = logs.max(axis=(1, 2), keepdims=True)
    mel = normalise_log_mel(logs, peaks + mx.array(batch.louder_b)[:, None, None], spec)
    ended = np.arange(mel.shape[1]) >= batch.frames_b[:, None]
    kept = mx.array(np.where(ended, 0.0, batch.kept_bf).astype(np.float32))
    return mel * kept[:, :, None] * mx.array(batch.kept_bm)[:, None]


def export_whisper(folder: Path, whisper: Whisper, tokenizer: Tokenizer) -> None:
    """Write a model in Hugging Face's layout, its own vocabulary beside it."""
    if whisper.config.has_openai_vocabulary:
        save_whisper(folder, whisper)
        return
    special = tokenizer.special
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    tokens = dict.fromkeys(names, special.eot) | {"decoder_start_token_id": special.sot}
    save_whisper(folder, whisper, special_tokens=tokens)
    write_vocabulary(folder, tokenizer.vocabulary)
