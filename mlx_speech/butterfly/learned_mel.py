"""Learned transforms in the place of ``rfft``: in log-mel, Whisper's and VITS's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_speech.audio.mel import MelSpec, linear_spectrogram, log_mel, mel_from_linear
from mlx_speech.audio.stft import Transform
from mlx_speech.butterfly.transform import ButterflyTransform
from mlx_speech.errors import SpeechError


def as_rfft(transform: Callable[[mx.array], mx.array], n_fft: int) -> Transform:
    """A transform with the interface of a real FFT, for ``rfft=`` of the front ends.

    Args:
        transform: a butterfly of any kind (float or quantised, real or complex, routed
            by gates), or any callable [..., n_fft] -> [..., n_fft // 2 + 1], which is
            returned as it is.
        n_fft: of the front end.

    Returns:
        float32 [..., n_fft] -> complex64 [..., n_fft // 2 + 1].

    Raises:
        SpeechError: the butterfly has another size, is an inverse, or is scaled.
    """
    if not isinstance(transform, ButterflyTransform):
        return transform
    if transform.n != n_fft:
        raise SpeechError(
            f"the transform has {transform.n} points, the spectrogram needs {n_fft}",
            f"train one: mlx-speech fft train --n-fft {n_fft} --out w.safetensors",
        )
    if transform.inverse:
        raise SpeechError(
            "an inverse transform makes no spectrogram", "train it without --inverse"
        )
    if transform.norm != "backward":
        raise SpeechError(
            f"the transform is scaled by norm `{transform.norm}`, and a spectrogram "
            "needs `backward`",
            "make the transform with norm `backward`",
        )
    if transform.real:
        return transform
    bins = n_fft // 2 + 1
    return lambda frames: transform(frames)[..., :bins]


@dataclass(frozen=True)
class MelChange:
    """How far a log-mel is from that of the exact transform, in the spec's own units.

    Attributes:
        mean, largest: absolute differences over all frames and bands.
        percentile_99: that 1 % of the differences exceed.
    """

    mean: float
    percentile_99: float
    largest: float


class LearnedMel(nn.Module):
    """A drop-in for ``log_mel`` with a transform, and perhaps bands, of its own.

    Args:
        transform: as of `as_rfft`.
        spec: everything else.
        mel_weights: of the bands, float32 [n_fft // 2 + 1, n_mels]; None: the
            triangular filters.

    Raises:
        SpeechError: the transform or the weights do not fit the spec.
    """

    def __init__(
        self,
        transform: Callable[[mx.array], mx.array],
        spec: MelSpec,
        mel_weights: mx.array | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.transform = transform
        self._rfft = as_rfft(transform, spec.n_fft)
        if mel_weights is not None:
            expected = (spec.n_bins, spec.n_mels)
            if mel_weights.shape != expected:
                raise SpeechError(
                    f"mel weights {list(mel_weights.shape)} do not fit a spectrogram "
                    f"of {list(expected)} bins and bands"
                )
            self.mel_weights = mel_weights

    def __call__(self, x: mx.array) -> mx.array:
        """Log-mel: float [..., samples] to float32 [..., frames, n_mels].

        Raises:
            SpeechError: the clip is too short for one frame.
        """
        linear = linear_spectrogram(x, self.spec, self._rfft)
        return mel_from_linear(linear, self.spec, self.get("mel_weights"))

    def change(self, x: mx.array) -> MelChange:
        """The difference to ``log_mel`` by MLX's own FFT, on a recording."""
        exact = np.array(log_mel(x, self.spec))
        difference = np.abs(np.array(self(x)) - exact)
        return MelChange(
            float(difference.mean()),
            float(np.percentile(difference, 99)),
            float(difference.max()),
        )
