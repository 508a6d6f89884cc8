"""Linear maps that repair the spectrum of a pruned transform, from nothing to dense.

The wider ones are here since rlx-fft has them, and to show what they cost: a dense one
is a DFT matrix of its own, and makes good for any pruning whatsoever.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_speech.butterfly.parameters import check_choice, from_pairs, to_pairs

CORRECTORS = ("none", "gain", "affine", "band-narrow", "band-wide", "dense")
# Reach of the banded ones, in real numbers to either side.
REACH = {"band-narrow": 32, "band-wide": 96}


class Corrector(nn.Module):
    """A map of spectra [..., bins] that begins as the identity.

    - ``none``: nothing.
    - ``gain``: a complex factor for each bin.
    - ``affine``: a factor and an offset for each real and each imaginary part.
    - ``band-narrow``, ``band-wide``: each real number of the spectrum, real and
      imaginary parts interleaved, from its neighbours, and an offset.
    - ``dense``: from all of them.

    Args:
        kind: one of `CORRECTORS`.
        bins: of the spectrum.

    Raises:
        SpeechError: an unknown kind.
    """

    def __init__(self, kind: str, bins: int) -> None:
        super().__init__()
        check_choice("corrector", kind, CORRECTORS)
        self.kind = kind
        self.bins = bins
        if kind == "gain":
            self.gain = to_pairs(np.ones(bins))
        elif kind == "affine":
            self.scale = mx.ones((bins, 2))
        elif kind != "none":
            self.matrix = mx.eye(2 * bins)
            reach = REACH.get(kind, 2 * bins)
            place = np.arange(2 * bins)
            self._band = mx.array(np.abs(place[:, None] - place) <= reach)
        if kind not in ("none", "gain"):
            self.offset = mx.zeros((bins, 2))

    @property
    def mixes_bins(self) -> bool:
        """Whether a bin is repaired from others; no bound of a routing holds then."""
        return self.kind in (*REACH, "dense")

    @property
    def operations(self) -> int:
        """Real operations of a spectrum."""
        if self.kind == "none":
            return 0
        if self.kind == "gain":
            return 6 * self.bins
        if self.kind == "affine":
            return 4 * self.bins
        # A product and a sum each; the offset takes the place of the sum saved.
        return 2 * int(np.array(self._band).sum())

    def __call__(self, spectrum: mx.array) -> mx.array:
        """Repair complex64 [..., bins]."""
        if self.kind == "none":
            return spectrum
        if self.kind == "gain":
            return spectrum * from_pairs(self.gain)
        pairs = mx.stack([mx.real(spectrum), mx.imag(spectrum)], axis=-1)
        if self.kind == "affine":
            return from_pairs(pairs * self.scale + self.offset)
        flat = pairs.reshape(*spectrum.shape[:-1], -1)
        mixed = flat @ mx.where(self._band, self.matrix, 0)
        return from_pairs(mixed.reshape(pairs.shape) + self.offset)
