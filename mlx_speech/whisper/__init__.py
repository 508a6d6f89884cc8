"""Whisper: transcription of speech with OpenAI's models and those shaped like them."""

from __future__ import annotations

from mlx_speech.whisper.checkpoints import load_whisper as load_model

# The module of this name is hidden by its function, which is what the name promises.
from mlx_speech.whisper.transcribe import transcribe

__all__ = ["load_model", "transcribe"]
