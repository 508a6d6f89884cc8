"""From utterances to padded batches: symbols, spectrogram, waveform, speaker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlx_speech.audio import MelSpec, linear_spectrogram, load
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.corpus.buckets import padded_length
from mlx_speech.corpus.cache import FeatureCache
from mlx_speech.corpus.readers import Utterance
from mlx_speech.errors import SpeechError
from mlx_speech.vits.front_end import FrontEnd

# Batches are padded to multiples of these, so that few shapes occur.
FRAME_MULTIPLE = 32
SYMBOL_MULTIPLE = 16


class Encoder(Protocol):
    """The part of a vocabulary that reading examples needs."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text; SpeechError when it cannot be spoken."""


@dataclass(frozen=True)
class Batch:
    """Padded NumPy arrays of one training step.

    Attributes:
        text_bl: symbol ids, int32 [batch, symbols].
        text_lengths_b, frame_lengths_b: valid symbols and frames, int32 [batch].
        linear_btf: magnitude spectrogram, float32 [batch, frames, bins].
        audio_bs: waveform, float32 [batch, frames * hop].
        speakers_b: speaker ids, int32 [batch].
    """

    text_bl: np.ndarray
    text_lengths_b: np.ndarray
    linear_btf: np.ndarray
    frame_lengths_b: np.ndarray
    audio_bs: np.ndarray
    speakers_b: np.ndarray


class ExampleSet:
    """The utterances of one split with their features, ready to be batched.

    Args:
        utterances: what to read.
        vocabulary: text to symbol ids; a voice will do.
        mel_spec: sampling rate and spectrogram.
        cache: where features are kept between runs.
        speakers: names in the order of the model's speaker table; empty for one voice.
        shortest: utterances of fewer frames are left out.
        on_note: told what was left out and why.
        on_progress: told (done, total) while features are made.
        front_end: the transform of the spectrogram; None: MLX's own.

    Raises:
        SpeechError: an utterance is unreadable or has unknown symbols, or none is left.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        vocabulary: Encoder,
        mel_spec: MelSpec,
        cache: FeatureCache,
        speakers: Sequence[str] = (),
        shortest: int = 1,
        on_note: Callable[[str], None] = lambda note: None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        front_end: FrontEnd | None = None,
    ) -> None:
        front_end = front_end or FrontEnd()
        self.front_end = front_end
        self.mel_spec = mel_spec
        self.cache = cache
        self._recipe = (
            feature_settings(mel_spec, front_end),
            partial(make_features, mel_spec=mel_spec, rfft=front_end.rfft),
        )
        self.utterances: list[Utterance] = []
        self.text_ids: list[list[int]] = []
        self.frame_lengths: list[int] = []
        self.speaker_ids: list[int] = []
        left_out: list[str] = []
        for index, utterance in enumerate(utterances):
            text_ids = vocabulary.encode(utterance.text)
            frames = cache.shapes(utterance, *self._recipe)["linear"][0]
            # Every symbol takes at least one frame in a monotonic alignment.
            if frames < max(shortest, len(text_ids)):
                left_out.append(utterance.identifier)
            else:
                self.utterances.append(utterance)
                self.text_ids.append(text_ids)
                self.frame_lengths.append(frames)
                self.speaker_ids.append(speaker_id(utterance.speaker, speakers))
            on_progress(index + 1, len(utterances))
        if left_out:
            on_note(
                f"{len(left_out)} of {len(utterances)} utterances are too short for "
                f"their text or for a training segment and are left out: "
                f"{', '.join(left_out[:5])}{' ...' if len(left_out) > 5 else ''}"
            )
        if not self.utterances:
            raise SpeechError(
                f"none of {len(utterances)} recordings has the {shortest} frames that "
                "are needed, and one for every symbol of its text",
                "lower `segment_frames`, or check the recordings with "
                "`mlx-speech check-data`",
            )

    def __len__(self) -> int:
        return len(self.utterances)

    def load_batch(self, indices: Sequence[int]) -> Batch:
        """Read and pad the utterances at ``indices``.

        Any thread may: NumPy and files, and MLX only for an entry of the cache that
        was lost since the start.
        """
        hop = self.mel_spec.hop_length
        frames = padded_length(
            max(self.frame_lengths[i] for i in indices), FRAME_MULTIPLE
        )
        symbols = padded_length(
            max(len(self.text_ids[i]) for i in indices), SYMBOL_MULTIPLE
        )
        size = len(indices)
        text_bl = np.zeros((size, symbols), np.int32)
        bins = self.mel_spec.n_fft // 2 + 1
        linear_btf = np.zeros((size, frames, bins), np.float32)
        audio_bs = np.zeros((size, frames * hop), np.float32)
        for row, index in enumerate(indices):
            ids = self.text_ids[index]
            text_bl[row, : len(ids)] = ids
            features = self.cache.get(self.utterances[index], *self._recipe)
            linear_btf[row, : self.frame_lengths[index]] = features["linear"]
            audio = features["audio"]
            audio_bs[row, : len(audio)] = audio
        return Batch(
            text_bl=text_bl,
            text_lengths_b=np.array([len(self.text_ids[i]) for i in indices], np.int32),
            linear_btf=linear_btf,
            frame_lengths_b=np.array(
                [self.frame_lengths[i] for i in indices], np.int32
            ),
            audio_bs=audio_bs,
            speakers_b=np.array([self.speaker_ids[i] for i in indices], np.int32),
        )


def feature_settings(mel_spec: MelSpec, front_end: FrontEnd) -> dict[str, object]:
    """Everything but the recording that its features depend on, for the cache."""
    settings: dict[str, object] = {"features": "vits", "mel": mel_spec.to_dict()}
    if front_end.digest:
        settings["transform"] = front_end.digest
    return settings


def make_features(
    utterance: Utterance, mel_spec: MelSpec, rfft: Transform = real_fft
) -> dict[str, np.ndarray]:
    """The features of one utterance.

    Returns:
        ``audio``, float32 [frames * hop], and ``linear``, the magnitude spectrogram,
        float16 [frames, bins] (its relative rounding, 5e-4, is inaudible).
    """
    audio, _ = load(utterance.audio_path, mel_spec.sample_rate)
    frames = len(audio) // mel_spec.hop_length
    audio = audio[: frames * mel_spec.hop_length]
    if not frames:
        bins = mel_spec.n_fft // 2 + 1
        return {"audio": audio, "linear": np.zeros((0, bins), np.float16)}
    linear = linear_spectrogram(mx.array(audio), mel_spec, rfft)
    return {"audio": audio, "linear": np.array(linear[:frames]).astype(np.float16)}


def speaker_id(name: str | None, speakers: Sequence[str]) -> int:
    """Row of ``name`` in the speaker table; 0 where there is one voice only.

    Raises:
        SpeechError: the name is not in the table.
    """
    if not speakers or (len(speakers) == 1 and name is None):
        return 0
    if name is None or name not in speakers:
        raise SpeechError(
            f"unknown speaker `{name}`", f"choose one of: {', '.join(speakers)}"
        )
    return list(speakers).index(name)
