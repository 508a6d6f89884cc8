"""Students that approximate mel bands: a routed transform, and every second bin."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_speech.audio.mel import MelSpec, mel_filterbank
from mlx_speech.audio.stft import squared_magnitude
from mlx_speech.butterfly.corrector import Corrector
from mlx_speech.butterfly.cost import (
    FrameCost,
    compute_fraction,
    even_bins_operations,
    frame_cost,
    read_bins,
    routed_operations,
)
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.learned_mel import LearnedMel
from mlx_speech.butterfly.parameters import check_choice
from mlx_speech.errors import SpeechError

LAYOUTS = ("single", "dual", "full")


@dataclass(frozen=True)
class RoutingPreset:
    """A way to lay out gates.

    Attributes:
        layout: "single": one pruned transform for mel bands and spectrum. "dual": the
            pruned one is for the mel bands, and the spectrum has an unpruned one of
            its own, which is paid for. "full": nothing is pruned.
        corrector: of the spectrum that the mel bands read, see `Corrector`.
        compute_fraction: target of the pruning; 1 for none.
        reverse: whether gates may be reverse.
    """

    layout: str
    corrector: str
    compute_fraction: float
    reverse: bool = True


# Those of rlx-fft under their names, and `gain`, which is ours.
PRESETS = {
    "fusion-only": RoutingPreset("full", "none", 1.0),
    "single-sparse-gain": RoutingPreset("single", "gain", 0.96),
    "single-sparse-affine": RoutingPreset("single", "affine", 0.96),
    "single-sparse-band": RoutingPreset("single", "band-wide", 0.96),
    "single-sparse-dense": RoutingPreset("single", "dense", 0.96),
    "dual-path-mel-sparse": RoutingPreset("dual", "band-narrow", 0.94, reverse=False),
}


def preset_named(name: str) -> RoutingPreset:
    """One of `PRESETS`.

    Raises:
        SpeechError: an unknown name; the hint lists the known ones.
    """
    check_choice("preset", name, tuple(PRESETS))
    return PRESETS[name]


def routing_spec(
    n_fft: int = 128, n_mels: int = 40, sample_rate: int = 16000
) -> MelSpec:
    """The spectrogram of the routing experiments: log10 of power, 80 dB deep.

    Frames overlap by half, so that those of a segment are Welch's.
    """
    return MelSpec(
        sample_rate,
        n_fft,
        n_fft // 2,
        n_fft,
        n_mels,
        padding="center",
        power=2,
        eps=0.0,
        log="log10",
        floor=1e-10,
        log_range=8.0,
    )


class MelStudent(nn.Module):
    """Mel bands of frames by a transform that is not the exact one.

    Args:
        spec: the spectrogram; its power must be 2.
        filters: mel weights to begin with, float32 [bins, bands].

    Attributes:
        log_gains: float32 [bins, bands]: the weights are multiplied by their
            exponentials, so they stay positive, and what was zero stays zero.

    Raises:
        SpeechError: a spec of another kind.
    """

    def __init__(self, spec: MelSpec, filters: mx.array) -> None:
        super().__init__()
        if spec.power != 2 or spec.win_length != spec.n_fft:
            raise SpeechError(
                "a student needs mel bands of power, and windows as long as the "
                f"transform, not power {spec.power} and win_length {spec.win_length}",
                "take `routing_spec`",
            )
        self.spec = spec
        self._filters = filters
        self.log_gains = mx.zeros(filters.shape)

    @property
    def mel_weights(self) -> mx.array:
        """The weights of the bands, float32 [bins, bands]."""
        return self._filters * mx.exp(self.log_gains)

    @property
    def filters(self) -> np.ndarray:
        """The weights before training, float32 [bins, bands]."""
        return np.array(self._filters)

    def __call__(self, frames: mx.array) -> mx.array:
        """Spectrum of windowed frames: [..., n_fft] to complex64 [..., n_fft / 2 + 1].

        As a real FFT's, and a front end takes it as one.
        """
        raise NotImplementedError

    def mel(self, spectrum: mx.array) -> mx.array:
        """Power of the bands, of such a spectrum: float32 [..., bands]."""
        return squared_magnitude(spectrum) @ self.mel_weights

    def log_mel(self) -> LearnedMel:
        """The student as a drop-in for ``log_mel``."""
        return LearnedMel(self, self.spec, self.mel_weights)

    @property
    def computed_bins(self) -> np.ndarray:
        """Bins of the spectrum that are computed; the others are zero."""
        return np.arange(self.spec.n_bins)

    def cost(self) -> FrameCost:
        """Real operations of a frame."""
        raise NotImplementedError


class RoutedMel(MelStudent):
    """Mel bands by a routed transform and a corrector.

    Args:
        spec: the spectrogram; its n_fft must be a power of two, its power 2.
        mode: of `TernaryRoutedFFT`.
        layout: see `RoutingPreset`.
        corrector: see `Corrector`.

    Raises:
        SpeechError: a spec of another kind; an unknown word.
    """

    def __init__(
        self,
        spec: MelSpec,
        mode: str = "drop",
        layout: str = "single",
        corrector: str = "gain",
    ) -> None:
        super().__init__(spec, mel_filterbank(spec))
        check_choice("layout", layout, LAYOUTS)
        self.layout = layout
        self.transform = TernaryRoutedFFT(spec.n_fft, mode=mode)
        self.corrector = Corrector(corrector, spec.n_bins)

    def __call__(self, frames: mx.array) -> mx.array:
        """As `MelStudent`; repaired by the corrector."""
        return self.corrector(self.transform(frames)[..., : self.spec.n_bins])

    @property
    def compute_fraction(self) -> float:
        """Share of the complex FFT's operations, see `cost.compute_fraction`."""
        return compute_fraction(self.transform)

    def cost(self) -> FrameCost:
        """Real operations of a frame, of mel bands and spectrum together."""
        transform = self.transform
        every = np.arange(self.spec.n_bins)
        if self.layout == "dual":
            full, wanted = np.ones_like(transform.gates), read_bins(self.filters)
            operations = routed_operations(transform.gates, transform.mode, wanted)
            operations += routed_operations(full, transform.mode, every)
        else:
            operations = routed_operations(transform.gates, transform.mode, every)
        return frame_cost(
            self.spec.n_fft, operations, self.filters, self.corrector.operations
        )


class EvenBinsMel(MelStudent):
    """The baseline: every second bin, exactly, and mel weights learned for these.

    Half of a frame is added to the other half, which leaves the even bins to a real
    FFT of half the size. Each filter begins with what its bins give their neighbours.

    Raises:
        SpeechError: a spec of another kind.
    """

    def __init__(self, spec: MelSpec) -> None:
        filters = np.array(mel_filterbank(spec))
        shared = np.pad(filters, ((1, 1), (0, 0)))
        even = filters + (shared[:-2] + shared[2:]) / 2
        even[1::2] = 0
        super().__init__(spec, mx.array(even))

    def __call__(self, frames: mx.array) -> mx.array:
        """As `MelStudent`, with zeros for the odd bins."""
        half = self.spec.n_fft // 2
        even = mx.fft.rfft(frames[..., :half] + frames[..., half:])
        spread = mx.stack([even, mx.zeros_like(even)], axis=-1)
        return spread.reshape(*even.shape[:-1], -1)[..., : self.spec.n_bins]

    @property
    def computed_bins(self) -> np.ndarray:
        """The even ones."""
        return np.arange(0, self.spec.n_bins, 2)

    def cost(self) -> FrameCost:
        """Real operations of a frame."""
        n = self.spec.n_fft
        folded = read_bins(self.filters) // 2
        return frame_cost(n, even_bins_operations(n, folded), self.filters)
