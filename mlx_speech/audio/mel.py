"""Mel spectrograms: one frozen description, from samples to log-mel.

Every family of speech models pads, windows, weighs, logs and clips a little
differently, and a model fed with another's features fails quietly. So all of it stands
in a ``MelSpec``, and the presets are the only place where the numbers are written.

Two ways of padding are in use. "center" is Whisper's: n_fft / 2 reflected samples on
both sides, and the last frame dropped. "same" is that of the HiFi-GAN and VITS family:
(n_fft - hop) / 2 on both sides, which gives one frame per whole hop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.audio.stft import Transform, hann_window, pad_signal, real_fft
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.log_mel import log_bands, magnitudes
from mlx_speech.metal_kernels.log_mel import log_mel as fused_log_mel
from mlx_speech.metal_kernels.log_mel_plan import LogMelPlan

_CHOICES: dict[str, tuple[object, ...]] = {
    "padding": ("center", "same"),
    "power": (1, 2),
    "norm": ("slaney", None),
    "mel_scale": ("slaney", "htk"),
    "log": ("ln", "log10"),
}


@dataclass(frozen=True)
class MelSpec:
    """Everything that fixes a log-mel spectrogram.

    Attributes:
        sample_rate: hertz.
        n_fft, hop_length, win_length: samples; periodic Hann window.
        n_mels, fmin, fmax: mel bands and their range in hertz; fmax None is half the
            rate.
        padding: "center" or "same", see the head of this file.
        drop_last_frame: leave out the last frame.
        power: 1 for the magnitude sqrt(re^2 + im^2 + eps), 2 for re^2 + im^2.
        eps: keeps the gradient of the magnitude finite at silence.
        norm: "slaney" gives each band unit area; None, unit peak.
        mel_scale: "slaney" or "htk".
        log: "ln" or "log10".
        floor: smallest mel value, before the log.
        log_range: the log is clipped to this much below ``log_peak``; None is never.
        log_peak: fixed peak of that clipping; None takes the largest value of each
            clip.
        log_shift, log_scale: the log-mel is (log + log_shift) / log_scale.
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    win_length: int
    n_mels: int
    fmin: float = 0.0
    fmax: float | None = None
    padding: str = "same"
    drop_last_frame: bool = False
    power: int = 1
    eps: float = 1e-6
    norm: str | None = "slaney"
    mel_scale: str = "slaney"
    log: str = "ln"
    floor: float = 1e-5
    log_range: float | None = None
    log_peak: float | None = None
    log_shift: float = 0.0
    log_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SpeechError(
                    f"{name} of a mel spectrogram cannot be `{getattr(self, name)}`",
                    f"choose one of {', '.join(str(value) for value in allowed)}",
                )
        for name in ("sample_rate", "n_fft", "hop_length", "win_length", "n_mels"):
            if getattr(self, name) < 1:
                raise SpeechError(f"{name} must be positive, not {getattr(self, name)}")
        if self.win_length > self.n_fft or self.hop_length > self.n_fft:
            raise SpeechError(
                f"win_length {self.win_length} and hop_length {self.hop_length} must "
                f"not exceed n_fft {self.n_fft}"
            )
        if not 0 <= self.fmin < self.top <= self.sample_rate / 2:
            raise SpeechError(
                f"the mel range {self.fmin}..{self.top} Hz does not fit into "
                f"0..{self.sample_rate / 2} Hz"
            )

    @property
    def top(self) -> float:
        """Upper end of the highest band in hertz."""
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def n_bins(self) -> int:
        """Bins of the linear spectrogram."""
        return self.n_fft // 2 + 1

    @property
    def pad(self) -> int:
        """Reflected samples on either side."""
        if self.padding == "center":
            return self.n_fft // 2
        return (self.n_fft - self.hop_length) // 2

    def n_frames(self, samples: int) -> int:
        """Frames of a clip of so many samples (0 when it is too short for one)."""
        room = samples + 2 * self.pad - self.n_fft
        if samples < 1 or room < 0:
            return 0
        return 1 + room // self.hop_length - int(self.drop_last_frame)

    @classmethod
    def preset(cls, name: str) -> MelSpec:
        """One of ``MEL_PRESETS`` by name.

        Raises:
            SpeechError: an unknown name; the hint lists the known ones.
        """
        if name not in MEL_PRESETS:
            raise SpeechError(
                f"unknown mel preset `{name}`",
                f"choose one of {', '.join(MEL_PRESETS)}",
            )
        return MEL_PRESETS[name]

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary (JSON and YAML can hold it)."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelSpec:
        """Build from a dictionary.

        Raises:
            SpeechError: unknown or missing keys, named.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        missing = [key for key in known[:5] if key not in values]
        if unknown or missing:
            raise SpeechError(
                f"mel settings with unknown keys {unknown} and missing keys {missing}",
                f"the keys are {', '.join(known)}",
            )
        return cls(**values)


def _whisper(n_mels: int, log_peak: float | None = None) -> MelSpec:
    return MelSpec(
        sample_rate=16000,
        n_fft=400,
        hop_length=160,
        win_length=400,
        n_mels=n_mels,
        padding="center",
        drop_last_frame=True,
        power=2,
        eps=0.0,
        log="log10",
        floor=1e-10,
        log_range=8.0,
        log_peak=log_peak,
        log_shift=4.0,
        log_scale=4.0,
    )


MEL_PRESETS: dict[str, MelSpec] = {
    "whisper-80": _whisper(80),
    "whisper-128": _whisper(128),
    # Voxtral takes Whisper's features of audio padded to whole 30 s windows.
    "voxtral": _whisper(128),
    # The fixed peak is what lets it work on a live stream.
    "voxtral-realtime": _whisper(128, log_peak=1.5),
    "vits-22k": MelSpec(22050, 1024, 256, 1024, 80),
    "mms-16k": MelSpec(16000, 1024, 256, 1024, 80),
    "sovits-32k": MelSpec(32000, 2048, 640, 2048, 128, eps=1e-8),
    "demo-16k": MelSpec(16000, 1024, 256, 1024, 80, fmax=8000.0),
}


def linear_spectrogram(
    x: mx.array, spec: MelSpec, rfft: Transform = real_fft
) -> mx.array:
    """Magnitude (or power, as ``spec.power`` says) of each frame.

    Args:
        x: [..., samples] float, at ``spec.sample_rate``.
        spec: the description.
        rfft: the transform, see :func:`mlx_speech.audio.stft.stft`.

    Returns:
        float32 [..., frames, n_fft // 2 + 1].

    Raises:
        SpeechError: the clip is too short for one frame.
    """
    return spectrum_of_padded(_padded(x, spec), spec, rfft)


def _padded(x: mx.array, spec: MelSpec) -> mx.array:
    if spec.n_frames(x.shape[-1]) < 1:
        raise SpeechError(
            f"{x.shape[-1]} samples are too few for one frame of "
            f"{spec.hop_length} samples at {spec.sample_rate} Hz",
            "give a longer recording",
        )
    return pad_signal(x.astype(mx.float32), spec.pad, spec.pad)


def spectrum_of_padded(
    padded: mx.array, spec: MelSpec, rfft: Transform = real_fft
) -> mx.array:
    """:func:`linear_spectrogram` of samples that already have their padding."""
    spectrum = magnitudes(padded, _plan(spec), rfft)
    return spectrum[..., :-1, :] if spec.drop_last_frame else spectrum


def mel_from_linear(
    magnitude: mx.array, spec: MelSpec, weights: mx.array | None = None
) -> mx.array:
    """Log-mel of a linear spectrogram.

    Args:
        magnitude: [..., frames, n_fft // 2 + 1], what :func:`linear_spectrogram` gives.
        spec: the description.
        weights: of the bands, [n_fft // 2 + 1, n_mels]; None: the triangular filters.

    Returns:
        float32 [..., frames, n_mels].
    """
    return _clipped(raw_log_mel(magnitude, spec, weights), spec)


def _clipped(logs: mx.array, spec: MelSpec) -> mx.array:
    if spec.log_range is None:
        return normalise_log_mel(logs, None, spec)
    if spec.log_peak is not None:
        return normalise_log_mel(logs, mx.array(spec.log_peak), spec)
    return normalise_log_mel(logs, logs.max(axis=(-2, -1), keepdims=True), spec)


def raw_log_mel(
    magnitude: mx.array, spec: MelSpec, weights: mx.array | None = None
) -> mx.array:
    """The floored logarithm of the mel bands, before clipping and scaling."""
    return log_bands(magnitude, _plan(spec), weights)


def raw_log_mel_of_padded(
    padded: mx.array, spec: MelSpec, rfft: Transform = real_fft
) -> mx.array:
    """:func:`raw_log_mel` of samples that already have their padding, in one go.

    Raises:
        SpeechError: the samples are too few for one frame.
    """
    if rfft is not real_fft:
        return raw_log_mel(spectrum_of_padded(padded, spec, rfft), spec)
    n_frames = 1 + (padded.shape[-1] - spec.n_fft) // spec.hop_length
    return fused_log_mel(padded, _plan(spec), n_frames - int(spec.drop_last_frame))


def normalise_log_mel(logs: mx.array, peak: mx.array | None, spec: MelSpec) -> mx.array:
    """Clip to ``log_range`` below ``peak``, then shift and scale."""
    if peak is not None and spec.log_range is not None:
        logs = mx.maximum(logs, peak - spec.log_range)
    if spec.log_shift == 0.0 and spec.log_scale == 1.0:
        return logs
    return (logs + spec.log_shift) / spec.log_scale


def log_mel(x: mx.array, spec: MelSpec, rfft: Transform = real_fft) -> mx.array:
    """Log-mel spectrogram: [..., samples] -> float32 [..., frames, n_mels].

    Raises:
        SpeechError: the clip is too short for one frame.
    """
    return _clipped(raw_log_mel_of_padded(_padded(x, spec), spec, rfft), spec)


def mel_filterbank(spec: MelSpec) -> mx.array:
    """Triangular mel filters, float32 [n_fft // 2 + 1, n_mels], built once per spec."""
    return _filterbank(
        spec.sample_rate,
        spec.n_fft,
        spec.n_mels,
        spec.fmin,
        spec.top,
        spec.mel_scale,
        spec.norm,
    )


@lru_cache(maxsize=32)
def _plan(spec: MelSpec) -> LogMelPlan:
    return LogMelPlan(
        hann_window(spec.n_fft, spec.win_length),
        np.array(mel_filterbank(spec)),
        spec.hop_length,
        power=spec.power,
        eps=spec.eps,
        floor=spec.floor,
        log=spec.log,
    )


@lru_cache(maxsize=32)
def _filterbank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    mel_scale: str,
    norm: str | None,
) -> mx.array:
    to_mel, to_hertz = _SCALES[mel_scale]
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    ends = to_mel(np.array([fmin, fmax]))
    edges = to_hertz(np.linspace(ends[0], ends[1], n_mels + 2))
    widths = np.diff(edges)
    distance = edges[None, :] - bins[:, None]
    rising = -distance[:, :-2] / widths[:-1]
    falling = distance[:, 2:] / widths[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if norm == "slaney":
        weights *= 2.0 / (edges[2:] - edges[:-2])
    return mx.array(weights.astype(np.float32))


# Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, then 27 steps for each
# factor of 6.4.
_LINEAR_STEP = 200.0 / 3.0
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _LINEAR_STEP
_LOG_STEP = np.log(6.4) / 27.0


def _slaney_mel(hertz: np.ndarray) -> np.ndarray:
    above = np.log(np.maximum(hertz, _BREAK_HERTZ) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HERTZ, hertz / _LINEAR_STEP, _BREAK_MEL + above)


def _slaney_hertz(mel: np.ndarray) -> np.ndarray:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_STEP, above)


def _htk_mel(hertz: np.ndarray) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _htk_hertz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


_SCALES = {
    "slaney": (_slaney_mel, _slaney_hertz),
    "htk": (_htk_mel, _htk_hertz),
}
