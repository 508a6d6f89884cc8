"""Log-mel spectrograms of whole chunks, as Voxtral 2507 hears a recording.

Silence fills the recording up to whole chunks, one transform goes over all of it, and
the loudest moment of all of it is what quiet sounds are clipped by; then it is cut into
chunks. Made in blocks, so that only the result grows with the recording.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_speech.audio.mel import MelSpec
from mlx_speech.audio.streaming import stream_log_mel
from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.config import AudioConfig

SAMPLE_RATE = 16000
HOP_SAMPLES = 160


def chunk_samples(config: AudioConfig) -> int:
    """Samples of one chunk: 30 s for the released models."""
    return 2 * config.max_source_positions * HOP_SAMPLES


def mel_spec(config: AudioConfig, preset: str = "voxtral") -> MelSpec:
    """The spectrogram that a model was trained on, of any number of bands."""
    return MelSpec.from_dict(
        MelSpec.preset(preset).to_dict() | {"n_mels": config.num_mel_bins}
    )


def chunk_features(samples: np.ndarray, config: AudioConfig) -> mx.array:
    """Log-mel of a recording in whole chunks.

    Args:
        samples: float [samples] at 16 kHz.
        config: of the audio tower.

    Returns:
        float32 [chunks, frames, mel bands].

    Raises:
        SpeechError: several channels, no samples, or samples that are no numbers.
    """
    samples = np.asarray(samples, dtype=np.float32)
    check_samples(samples)
    length = chunk_samples(config)
    blocks = [samples[at : at + length] for at in range(0, len(samples), length)]
    blocks[-1] = np.pad(blocks[-1], (0, length - len(blocks[-1])))
    logs = mx.concatenate(list(stream_log_mel(blocks, mel_spec(config))))
    return logs.reshape(-1, 2 * config.max_source_positions, config.num_mel_bins)


def check_samples(samples: np.ndarray) -> None:
    """Raise SpeechError unless samples are numbers along one axis, one at least."""
    if samples.ndim != 1 or not len(samples):
        raise SpeechError(
            f"the recording has the shape {list(samples.shape)}, not [samples]",
            "give a mono recording that is not empty",
        )
    if not np.isfinite(samples).all():
        raise SpeechError(
            "the recording holds values that are no numbers (NaN or infinite)",
            "export it again",
        )
