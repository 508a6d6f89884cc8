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
from mlx_speech.audio.segment import Span, SpeechOptions, cut_at_silences, find_speech
from mlx_speech.audio.stft import istft, stft
from mlx_speech.audio.stft_loss import multi_resolution_stft_loss
from mlx_speech.audio.streaming import AudioBlocks, log_mel_peak, stream_log_mel

__all__ = [
    "MEL_PRESETS",
    "AudioBlocks",
    "MelSpec",
    "Span",
    "SpeechOptions",
    "cut_at_silences",
    "find_speech",
    "istft",
    "linear_spectrogram",
    "load",
    "log_mel",
    "log_mel_peak",
    "mel_filterbank",
    "mel_from_linear",
    "multi_resolution_stft_loss",
    "resample",
    "save",
    "stft",
    "stream_log_mel",
]
