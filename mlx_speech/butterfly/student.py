"""The student: a routed transform, a corrector, and mel bands, with presets."""

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


# The last four and the first carry the names of rlx-fft; `gain` is ours.
PRESETS = {
    "fusion-only": RoutingPreset("full", "none", 1.0),
    "single-sparse-gain": RoutingPreset("single", "gain", 0.96),
    "single-sparse-affine": RoutingPreset("single", "affine", 0.96),
    "single-sparse-band": RoutingPreset("single", "band-wide", 0.96),
    "single-sparse-dense": RoutingPreset("single", "dense", 0.96),
    "dual-path-mel-sparse": RoutingPreset("dual", "band-narrow", 0.94, reverse=False),
}


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


class RoutedMel(nn.Module):
    """Mel bands by a routed transform; what `distill` trains.

    Args:
        spec: the spectrogram; its n_fft must be a power of two, its power 2.
        mode: of `TernaryRoutedFFT`.
        layout: see `RoutingPreset`.
        corrector: see `Corrector`.

    Attributes:
        transform: the routed transform.
        corrector: applied to its bins 0 ... n_fft / 2.
        log_gains: float32 [bins, bands]: the mel filters are multiplied by their
            exponentials, so weights stay positive and what was zero stays zero.

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
        super().__init__()
        check_choice("layout", layout, LAYOUTS)
        if spec.power != 2 or spec.win_length != spec.n_fft:
            raise SpeechError(
                "a routed transform needs mel bands of power, and windows as long as "
                f"the transform, not power {spec.power}, win_length {spec.win_length}",
                "take `routing_spec`",
            )
        self.spec = spec
        self.layout = layout
        self.transform = TernaryRoutedFFT(spec.n_fft, mode=mode)
        self.corrector = Corrector(corrector, spec.n_bins)
        self._filters = mel_filterbank(spec)
        self.log_gains = mx.zeros(self._filters.shape)

    @property
    def mel_weights(self) -> mx.array:
        """The weights of the bands, float32 [bins, bands]."""
        return self._filters * mx.exp(self.log_gains)

    def __call__(self, frames: mx.array) -> mx.array:
        """The spectrum of windowed frames, repaired.

        Args:
            frames: [..., n_fft] real.

        Returns:
            complex64 [..., n_fft / 2 + 1], as a real FFT's.
        """
        return self.corrector(self.transform(frames)[..., : self.spec.n_bins])

    def mel(self, spectrum: mx.array) -> mx.array:
        """Power of the bands, of such a spectrum: float32 [..., bands]."""
        return squared_magnitude(spectrum) @ self.mel_weights

    def log_mel(self) -> LearnedMel:
        """The student as a drop-in for ``log_mel``."""
        return LearnedMel(self, self.spec, self.mel_weights)

    @property
    def compute_fraction(self) -> float:
        """Share of the complex FFT's operations, see `cost.compute_fraction`."""
        return compute_fraction(self.transform)

    def cost(self) -> FrameCost:
        """Real operations of a frame, of mel bands and spectrum together."""
        filters = np.array(self._filters)
        wanted = read_bins(filters)
        transform = self.transform
        every = np.arange(self.spec.n_bins)
        if self.layout == "dual":
            full = np.ones_like(transform.gates)
            operations = routed_operations(transform.gates, transform.mode, wanted)
            operations += routed_operations(full, transform.mode, every)
        else:
            operations = routed_operations(transform.gates, transform.mode, every)
        return frame_cost(
            self.spec.n_fft, operations, filters, self.corrector.operations
        )
