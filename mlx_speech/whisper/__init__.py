"""Whisper: transcription of speech with OpenAI's models and those shaped like them."""

from __future__ import annotations

from mlx_speech.whisper.checkpoints import load_whisper as load_model
from mlx_speech.whisper.decoding import decode, detect_language
from mlx_speech.whisper.decoding_options import DecodingOptions

# The function hides the module of the same name: the name means the function.
from mlx_speech.whisper.transcribe import transcribe
from mlx_speech.whisper.transcription_options import TranscriptionOptions

__all__ = [
    "DecodingOptions",
    "TranscriptionOptions",
    "decode",
    "detect_language",
    "load_model",
    "transcribe",
]
