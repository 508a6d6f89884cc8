"""How near a voice comes to recordings that it never saw.

Every sentence is spoken without noise and compared with its recording by aligned
mel-cepstral distortion (MCD) and aligned mel L1. Two things stand beside the figures.
The *yardstick* is the distance between recordings of different sentences of the same
voice: a voice that mumbled anything would score near it. The *ceiling* is the model's
own resynthesis of the recording, through its posterior encoder: no text to speech of
this model can be expected to do better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.audio import linear_spectrogram, load, log_mel
from mlx_speech.audio.metrics import aligned_distances
from mlx_speech.corpus import Utterance
from mlx_speech.errors import SpeechError
from mlx_speech.vits.voice import Voice


@dataclass(frozen=True)
class VoiceScore:
    """Means over the sentences; MCD in decibels, mel L1 in natural logarithms.

    Attributes:
        sentences: how many were scored.
        mcd, mel_l1: spoken against the recording of the same sentence.
        ceiling_mcd, ceiling_mel_l1: resynthesised against the recording.
        yardstick_mcd, yardstick_mel_l1: recordings against those of other sentences.
        nearest: sentences whose nearest recording, by MCD, is their own.
    """

    sentences: int
    mcd: float
    mel_l1: float
    ceiling_mcd: float
    ceiling_mel_l1: float
    yardstick_mcd: float
    yardstick_mel_l1: float
    nearest: int

    def to_dict(self) -> dict[str, Any]:
        """The fields, and MCD as a share of the yardstick."""
        return {
            **asdict(self),
            "relative_mcd": self.mcd / self.yardstick_mcd,
            "relative_ceiling_mcd": self.ceiling_mcd / self.yardstick_mcd,
        }


def score_voice(
    voice: Voice,
    utterances: Sequence[Utterance],
    speaker: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VoiceScore:
    """Score ``voice`` on held-out recordings of one speaker.

    Args:
        voice: the model; put into evaluation mode.
        utterances: recordings with their text, at least two.
        speaker: as in ``Voice.speaker_ids``; the first where it is left out.
        on_progress: told (done, total) sentences.

    Raises:
        SpeechError: fewer than two recordings, or one that cannot be read.
    """
    if len(utterances) < 2:
        raise SpeechError(
            f"{len(utterances)} recording is too few to score a voice",
            "give at least two, better twenty",
        )
    voice.model.eval()
    ids = voice.speaker_ids(speaker)
    recorded, spoken, resynthesised = [], [], []
    for index, utterance in enumerate(utterances):
        audio, _ = load(utterance.audio_path, voice.mel_spec.sample_rate)
        recorded.append(voice_log_mel(audio, voice))
        said = speak_plainly(voice, utterance.text, speaker)
        spoken.append(voice_log_mel(said, voice))
        resynthesised.append(voice_log_mel(_resynthesise(voice, audio, ids), voice))
        on_progress(index + 1, len(utterances))
    return compare_sentences(recorded, spoken, resynthesised)


def compare_sentences(
    recorded: Sequence[np.ndarray],
    spoken: Sequence[np.ndarray],
    resynthesised: Sequence[np.ndarray],
) -> VoiceScore:
    """The scores of log-mels, each [frames, n_mels], in the order of the sentences."""
    # [recorded, spoken]: distances between all of them, which tells what is nearest.
    to_spoken = [aligned_distances(reference, spoken) for reference in recorded]
    mcd, mel_l1 = (np.stack(each) for each in zip(*to_spoken, strict=True))
    ceiling = [
        aligned_distances(reference, [resynthesis])
        for reference, resynthesis in zip(recorded, resynthesised, strict=True)
    ]
    # The distances are symmetric, so each pair of recordings is aligned once.
    yardstick = [
        aligned_distances(reference, recorded[index + 1 :])
        for index, reference in enumerate(recorded[:-1])
    ]
    return VoiceScore(
        sentences=len(recorded),
        mcd=float(np.diagonal(mcd).mean()),
        mel_l1=float(np.diagonal(mel_l1).mean()),
        ceiling_mcd=float(np.mean([each[0] for each in ceiling])),
        ceiling_mel_l1=float(np.mean([each[1] for each in ceiling])),
        yardstick_mcd=float(np.concatenate([each[0] for each in yardstick]).mean()),
        yardstick_mel_l1=float(np.concatenate([each[1] for each in yardstick]).mean()),
        nearest=int((mcd.argmin(axis=0) == np.arange(len(spoken))).sum()),
    )


def speak_plainly(voice: Voice, text: str, speaker: str | None = None) -> np.ndarray:
    """Speak one sentence without noise, at the voice's own pace: float32 [samples]."""
    symbols = voice.encode(text)
    result = voice.model.infer(
        mx.array([symbols]),
        mx.array([len(symbols)]),
        noise_scale=0.0,
        noise_scale_w=0.0,
        length_scale=voice.inference["length_scale"],
        speaker_ids=voice.speaker_ids(speaker),
    )
    return np.array(result.audio[0])[: int(result.lengths[0])]


def voice_log_mel(audio: np.ndarray, voice: Voice) -> np.ndarray:
    """The spectrogram that a voice was trained on, of float [samples] at its rate.

    Returns:
        float32 [frames, n_mels].
    """
    return np.array(log_mel(mx.array(audio), voice.mel_spec))


def _resynthesise(voice: Voice, audio: np.ndarray, ids: mx.array | None) -> np.ndarray:
    linear = linear_spectrogram(mx.array(audio)[None], voice.mel_spec)
    lengths = mx.array([linear.shape[1]])
    result, _ = voice.model.reconstruct(
        linear, lengths, speaker_ids=ids, noise_scale=0.0
    )
    return np.array(result[0])
