"""Windows of a recording's log-mel, made when they are wanted.

Whisper clips the spectrogram relative to the loudest moment of the whole recording:
that is found in one pass over the samples, and no more of the spectrogram than one
window exists at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_speech.audio.mel import (
    MelSpec,
    normalise_log_mel,
    raw_log_mel_of_padded,
)
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.audio.streaming import log_mel_peak
from mlx_speech.errors import SpeechError
from mlx_speech.whisper.config import WhisperConfig

_BLOCK_SECONDS = 30


def mel_spec(config: WhisperConfig) -> MelSpec:
    """The spectrogram that a model was trained on, of any number of bands."""
    return MelSpec.from_dict(
        MelSpec.preset("whisper-80").to_dict() | {"n_mels": config.n_mels}
    )


class MelWindows:
    """Log-mel of one recording.

    Args:
        samples: float [samples] at 16 kHz, mono.
        config: of the model: bands, and frames of a window.
        rfft: the transform of frames, see `mlx_speech.audio.stft`; a learned one of
            400 points, for example.

    Attributes:
        frames: of 10 ms, in the recording.

    Raises:
        SpeechError: samples of several channels, or that are no numbers.
    """

    def __init__(
        self,
        samples: np.ndarray,
        config: WhisperConfig,
        rfft: Transform = real_fft,
    ) -> None:
        self._samples = np.asarray(samples, dtype=np.float32)
        if self._samples.ndim != 1:
            raise SpeechError(
                f"the recording has the shape {self._samples.shape}, not one axis",
                "mix its channels down to one",
            )
        if not np.isfinite(self._samples).all():
            raise SpeechError(
                "the recording holds values that are no numbers (NaN or infinite)",
                "export it again",
            )
        self._spec = mel_spec(config)
        self._rfft = rfft
        self._window = config.n_frames
        self.frames = len(self._samples) // self._spec.hop_length
        self._peak = mx.array(log_mel_peak(self._blocks(), self._spec, rfft))

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self._samples) / self._spec.sample_rate

    def window(self, start: int, frames: int) -> mx.array:
        """Frames from ``start`` on, filled up with zeros to a whole window.

        Args:
            start: first frame.
            frames: how many, at most a window's. Those after the recording's end are
                the spectrum of silence, not zeros.

        Returns:
            float32 [1, window, n_mels].
        """
        return self.joined([(start, frames)])

    def joined(self, pieces: Sequence[tuple[int, int]]) -> mx.array:
        """Frames from several places, one after the other, as one window.

        Args:
            pieces: first frame and how many, as for :meth:`window`, together at most a
                window's.

        Returns:
            float32 [1, window, n_mels].
        """
        parts = [self._frames(start, frames) for start, frames in pieces]
        logs = mx.concatenate(parts) if len(parts) > 1 else parts[0]
        return mx.pad(logs, [(0, self._window - logs.shape[0]), (0, 0)])[None]

    def _frames(self, start: int, frames: int) -> mx.array:
        """Log-mel of the frames from ``start`` on, [frames, n_mels]."""
        spec = self._spec
        first = start * spec.hop_length - spec.pad
        # The transform drops the last frame that it could make.
        end = (start + frames) * spec.hop_length - spec.pad + spec.n_fft
        padded = mx.array(self._slice(first, end))
        logs = raw_log_mel_of_padded(padded, spec, self._rfft)
        return normalise_log_mel(logs, self._peak, spec)

    def _slice(self, first: int, end: int) -> np.ndarray:
        """Samples ``first`` to ``end``: mirrored at the start, then silence."""
        samples = self._samples[max(first, 0) : max(end, 0)]
        samples = np.pad(samples, (0, end - max(first, 0) - len(samples)))
        if first < 0:
            # Silence follows a recording that is shorter than its mirror image.
            head = self._samples[1 : 1 - first]
            head = np.pad(head, (0, -first - len(head)))
            samples = np.concatenate([head[::-1], samples])
        return samples

    def _blocks(self) -> list[np.ndarray]:
        """The recording, and as much silence as a frame that begins in it can see."""
        length = _BLOCK_SECONDS * self._spec.sample_rate
        blocks = [
            self._samples[at : at + length]
            for at in range(0, len(self._samples), length)
        ]
        return [*blocks, np.zeros(2 * self._spec.n_fft, np.float32)]
