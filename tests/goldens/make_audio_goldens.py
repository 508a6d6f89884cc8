"""Make the audio goldens: what torch, librosa, whisper and transformers compute.

Run from the root of the checkout, in an environment of its own:

    pip install torch==2.13.0 transformers==5.23.0 openai-whisper librosa
    python tests/goldens/make_audio_goldens.py

Writes audio_presets.npz, audio_stft.npz and audio_filterbanks.npz beside this file.
Names are CASE/CLIP/QUANTITY. Arrays lie as the references give them, turned so that
frames come before bins. References that are plain torch run in float64, so that only
our own rounding is measured; the libraries' feature extractors run as they are.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import torch
import whisper
from transformers import WhisperFeatureExtractor
from transformers.models.voxtral_realtime.feature_extraction_voxtral_realtime import (
    VoxtralRealtimeFeatureExtractor,
)

HERE = Path(__file__).parent

# name: sample_rate, n_fft, hop, n_mels, eps of the magnitude, fmax
VITS_LIKE = {
    "vits-22k": (22050, 1024, 256, 80, 1e-6, None),
    "mms-16k": (16000, 1024, 256, 80, 1e-6, None),
    "sovits-32k": (32000, 2048, 640, 128, 1e-8, None),
    "demo-16k": (16000, 1024, 256, 80, 1e-6, 8000.0),
}
WHISPER_LIKE = {
    "whisper-80": 80,
    "whisper-128": 128,
    "voxtral": 128,
    "voxtral-realtime": 128,
}
# (n_fft, hop, win_length, center): odd sizes, a hop that does not divide, a short
# window.
STFT_CASES = [(400, 160, 400, True), (128, 24, 100, True), (63, 17, 50, True)]
STFT_CASES += [(96, 32, 96, False)]
LINEAR_STRIDE = 7
VITS_NOISE = 0.003
LOSS_RESOLUTIONS = [(256, 30, 150), (128, 50, 128)]


def clip(samples: int, rate: int, seed: int, noise: float = 0.0) -> np.ndarray:
    """Something like speech: a gliding voiced tone, a hiss, a quiet end; 16 bits.

    Noise throughout keeps the gradient of the log well-conditioned: without it float32
    torch is itself 1e-3 away from float64.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    pitch = 2 * np.pi * np.cumsum(110 + 60 * np.sin(9 * time)) / rate
    voice = sum(np.sin(k * pitch + k * k) / k for k in range(1, 25))
    wave = 0.25 * voice * np.sin(np.pi * np.arange(samples) / samples) ** 2
    wave += 0.05 * rng.standard_normal(samples) * (np.sin(23 * time) > 0.3)
    wave[-samples // 5 :] *= 0.01
    wave += noise * rng.standard_normal(samples)
    return np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)


def weights(shape: tuple[int, ...]) -> np.ndarray:
    """What the outputs are multiplied with before the sum whose gradient is taken."""
    return np.cos(0.37 * np.arange(np.prod(shape))).reshape(shape)


def rows(spectrum: torch.Tensor) -> np.ndarray:
    """[..., bins, frames] -> [..., frames, bins] numpy, float32 or complex64."""
    values = spectrum.detach().transpose(-1, -2).contiguous().numpy()
    return values.astype(np.complex64 if np.iscomplexobj(values) else np.float32)


def reflect(x: torch.Tensor, pad: int) -> torch.Tensor:
    """Reflection that also works for clips shorter than ``pad`` (as numpy.pad)."""
    return x[..., torch.from_numpy(np.pad(np.arange(x.shape[-1]), pad, "reflect"))]


def stft(x: torch.Tensor, n_fft: int, hop: int, win: int) -> torch.Tensor:
    window = torch.hann_window(win, dtype=x.dtype)
    return torch.stft(x, n_fft, hop, win, window, center=False, return_complex=True)


def vits_like(out: dict[str, np.ndarray]) -> None:
    for name, (rate, n_fft, hop, n_mels, eps, fmax) in VITS_LIKE.items():
        mel = librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=0.0, fmax=fmax
        )
        lengths = {"odd": 6 * n_fft + 77, "short": n_fft - 300, "tiny": hop + 21}
        for index, (kind, samples) in enumerate(lengths.items()):
            wave = clip(samples, rate, seed=index, noise=VITS_NOISE)
            x = torch.tensor(wave / 32768.0, dtype=torch.float64, requires_grad=True)
            spectrum = stft(reflect(x, (n_fft - hop) // 2), n_fft, hop, n_fft)
            magnitude = torch.sqrt(
                spectrum.real.square() + spectrum.imag.square() + eps
            )
            log_mel = torch.log(
                torch.clamp(torch.from_numpy(mel).double() @ magnitude, min=1e-5)
            )
            shape = log_mel.T.shape
            (log_mel.T * torch.from_numpy(weights(shape))).sum().backward()
            out[f"{name}/{kind}/wave"] = wave
            out[f"{name}/{kind}/linear"] = rows(magnitude)[:, ::LINEAR_STRIDE]
            out[f"{name}/{kind}/log_mel"] = rows(log_mel)
            out[f"{name}/{kind}/gradient"] = x.grad.numpy().astype(np.float32)
        power = librosa.feature.melspectrogram(
            y=clip(lengths["odd"], rate, 0, VITS_NOISE) / 32768.0,
            sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels, fmax=fmax,
        )  # fmt: skip
        out[f"{name}/odd/librosa_mel_power"] = power.T.astype(np.float32)


def whisper_features(name: str, n_mels: int, wave: np.ndarray) -> np.ndarray:
    """[frames, n_mels] by the library that the preset is named after."""
    if name == "voxtral-realtime":
        extractor = VoxtralRealtimeFeatureExtractor(feature_size=n_mels)
        features = extractor(wave, sampling_rate=16000)["input_features"][0]
        return np.asarray(features).T
    if name == "voxtral":
        # The processor pads to whole 30 s windows: only the beginning is kept.
        extractor = WhisperFeatureExtractor(feature_size=n_mels)
        features = extractor(wave, sampling_rate=16000, padding="max_length")
        return np.asarray(features["input_features"][0]).T[:45]
    return whisper.log_mel_spectrogram(wave, n_mels).numpy().T


def whisper_like(out: dict[str, np.ndarray]) -> None:
    for index, (kind, samples) in enumerate({"odd": 6007, "short": 333}.items()):
        wave = clip(samples, 16000, seed=10 + index)
        out[f"whisper/{kind}/wave"] = wave
        x = (wave / 32768.0).astype(np.float32)
        spectrum = stft(reflect(torch.from_numpy(x).double(), 200), 400, 160, 400)
        out[f"whisper/{kind}/power"] = rows(spectrum[..., :-1].abs() ** 2)
        for name, n_mels in WHISPER_LIKE.items():
            features = whisper_features(name, n_mels, x)
            out[f"{name}/{kind}/log_mel"] = features.astype(np.float32)
            if name.startswith("whisper"):
                extractor = WhisperFeatureExtractor(feature_size=n_mels)
                other = extractor(x, sampling_rate=16000, padding="longest")
                difference = np.asarray(other["input_features"][0]).T - features
                print(f"{name}/{kind}: transformers - whisper", abs(difference).max())
    wave = out["whisper/odd/wave"] / 32768.0
    for name, n_mels in WHISPER_LIKE.items():
        mel = torch.from_numpy(librosa.filters.mel(sr=16000, n_fft=400, n_mels=n_mels))
        x = torch.tensor(wave, dtype=torch.float64, requires_grad=True)
        spectrum = stft(reflect(x, 200), 400, 160, 400)[..., :-1]
        power = spectrum.real.square() + spectrum.imag.square()
        logs = torch.clamp(mel.double() @ power, min=1e-10).log10()
        peak = torch.tensor(1.5) if name == "voxtral-realtime" else logs.max()
        features = (torch.maximum(logs, peak - 8.0) + 4.0) / 4.0
        shape = features.T.shape
        (features.T * torch.from_numpy(weights(shape))).sum().backward()
        out[f"{name}/odd/gradient"] = x.grad.numpy().astype(np.float32)


def transforms(out: dict[str, np.ndarray]) -> None:
    wave = np.stack([clip(901, 16000, 20), clip(901, 16000, 21)])
    out["wave"] = wave
    for n_fft, hop, win, center in STFT_CASES:
        case = f"{n_fft}-{hop}-{win}-{int(center)}"
        x = torch.tensor(wave / 32768.0, dtype=torch.float64, requires_grad=True)
        window = torch.hann_window(win, dtype=torch.float64)
        spectrum = torch.stft(
            x, n_fft, hop, win, window, center=center, return_complex=True
        )
        shape = spectrum.transpose(-1, -2).shape
        factor = torch.from_numpy(weights(shape)).transpose(-1, -2)
        ((spectrum.real + 0.5 * spectrum.imag) * factor).sum().backward()
        out[f"{case}/stft"] = rows(spectrum)
        out[f"{case}/stft_gradient"] = x.grad.numpy().astype(np.float32)
        if center:
            # A spectrum that no signal has: the real test of an inverse.
            changed = (spectrum.detach() * (1.0 + factor)).requires_grad_()
            y = torch.istft(changed, n_fft, hop, win, window, center=True, length=880)
            (y * torch.from_numpy(weights(tuple(y.shape)))).sum().backward()
            out[f"{case}/istft"] = y.detach().numpy().astype(np.float32)
            out[f"{case}/istft_gradient"] = rows(changed.grad)


def stft_loss(out: dict[str, np.ndarray]) -> None:
    y = torch.tensor(out["wave"] / 32768.0, dtype=torch.float64)
    noise = torch.from_numpy(weights(tuple(y.shape)))
    x = (0.8 * y + 0.01 * noise).detach()
    out["loss/x"] = x.numpy().astype(np.float32)
    x.requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for n_fft, hop, win in LOSS_RESOLUTIONS:
        magnitudes = []
        for signal in (x, y):
            window = torch.hann_window(win, dtype=torch.float64)
            spectrum = torch.stft(signal, n_fft, hop, win, window, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            magnitudes.append(torch.sqrt(torch.clamp(power, min=1e-7)))
        predicted, target = magnitudes
        total = total + torch.norm(target - predicted) / torch.norm(target)
        total = total + (predicted.log() - target.log()).abs().mean()
    total = total / len(LOSS_RESOLUTIONS)
    total.backward()
    out["loss/value"] = total.detach().numpy().astype(np.float32)
    out["loss/gradient"] = x.grad.numpy().astype(np.float32)


def filterbanks(out: dict[str, np.ndarray]) -> None:
    cases = {
        "whisper-80": (16000, 400, 80, None),
        "whisper-128": (16000, 400, 128, None),
    }
    for name, (rate, n_fft, _, n_mels, _, fmax) in VITS_LIKE.items():
        cases[name] = (rate, n_fft, n_mels, fmax)
    for name, (rate, n_fft, n_mels, fmax) in cases.items():
        out[name] = librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=n_mels, fmax=fmax
        ).T
    out["htk"] = librosa.filters.mel(
        sr=22050, n_fft=512, n_mels=40, fmin=60.0, fmax=7600.0, htk=True, norm=None
    ).T


def main() -> None:
    for file, makers in {
        "audio_presets.npz": (vits_like, whisper_like),
        "audio_stft.npz": (transforms, stft_loss),
        "audio_filterbanks.npz": (filterbanks,),
    }.items():
        arrays: dict[str, np.ndarray] = {}
        for make in makers:
            make(arrays)
        np.savez_compressed(HERE / file, **arrays)
        print(file, (HERE / file).stat().st_size // 1024, "KiB", len(arrays), "arrays")


if __name__ == "__main__":
    main()
