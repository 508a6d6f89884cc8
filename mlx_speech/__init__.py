"""Speech on Apple silicon with MLX: transcription, voices, learned transforms."""

from __future__ import annotations

from mlx_speech import backend

__version__ = "0.1.0"

backend.prepare()

# Public names and where they live; imported at first use, so that
# `import mlx_speech` stays quick.
_LAZY = {
    "SpeechError": "mlx_speech.errors",
    "load": "mlx_speech.audio",
    "save": "mlx_speech.audio",
    "stft": "mlx_speech.audio",
    "istft": "mlx_speech.audio",
    "log_mel": "mlx_speech.audio",
    "MelSpec": "mlx_speech.audio",
    "load_model": "mlx_speech.models",
    "speak": "mlx_speech.models",
    "transcribe": "mlx_speech.models",
    "ButterflyFFT": "mlx_speech.butterfly",
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'mlx_speech' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
