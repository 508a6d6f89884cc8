"""The transform of VITS's spectrograms: MLX's own, or a learned one from a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.butterfly.student_storage import load_rfft


@dataclass(frozen=True)
class FrontEnd:
    """A transform, and what tells its features apart from those of others.

    Attributes:
        rfft: float32 [..., n_fft] -> complex64 [..., n_fft // 2 + 1].
        digest: of the file that it is from; empty for MLX's own.
    """

    rfft: Transform = real_fft
    digest: str = ""


def load_front_end(path: str, n_fft: int) -> FrontEnd:
    """The transform that a run's settings name.

    Args:
        path: what ``mlx-speech fft`` has written; empty: MLX's own transform.
        n_fft: of the spectrogram.

    Raises:
        SpeechError: no such file, or a transform that does not fit.
    """
    if not path:
        return FrontEnd()
    rfft = load_rfft(path, n_fft)
    return FrontEnd(rfft, hashlib.sha256(Path(path).read_bytes()).hexdigest())
