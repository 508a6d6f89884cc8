"""Audio in and out: files, STFT, mel, metrics, pictures."""

from mlx_speech.audio.io import load, resample, save
from mlx_speech.audio.mel import (
    MEL_PRESETS,
    MelSpec,
    linear_spectrogram,
    log_mel,
    mel_filterbank,
    mel_from_linear,
)
from mlx_speech.audio.stft import istft, stft

__all__ = [
    "MEL_PRESETS",
    "MelSpec",
    "istft",
    "linear_spectrogram",
    "load",
    "log_mel",
    "mel_filterbank",
    "mel_from_linear",
    "resample",
    "save",
    "stft",
]
