"""What a spectrum costs, in real additions and multiplications; and what it must lose.

A complex product is 6 operations, a complex sum 2, so a butterfly is 10. Nothing is
left out: window, transform, corrector, power and mel bands. (Logarithms are the same
for all and stand outside.) What nobody reads is not computed: dead branches of a routed
network cost nothing, and the baselines are pruned alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlx_speech.butterfly.gates import OFF, TernaryRoutedFFT
from mlx_speech.errors import SpeechError

PRODUCT, SUM = 6, 2
BUTTERFLY = PRODUCT + 2 * SUM


@dataclass(frozen=True)
class FrameCost:
    """Real operations of one frame, from samples to mel bands.

    Attributes:
        window, transform, corrector, power, mel: of the parts.
    """

    window: int
    transform: int
    corrector: int
    power: int
    mel: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.window + self.transform + self.corrector + self.power + self.mel


def frame_cost(
    n: int, transform: int, mel_weights: np.ndarray, corrector: int = 0
) -> FrameCost:
    """The cost of a frame, given that of its transform.

    Args:
        n: samples of the frame; the window is a product each.
        transform: operations.
        mel_weights: [bins, bands]; the zeros are not computed.
        corrector: operations.
    """
    used = mel_weights != 0
    products = int(used.sum())
    sums = int(np.maximum(used.sum(axis=0) - 1, 0).sum())
    return FrameCost(n, transform, corrector, 3 * len(read_bins(used)), products + sums)


def read_bins(mel_weights: np.ndarray) -> np.ndarray:
    """Bins that some band reads, of [bins, bands]."""
    return np.flatnonzero(np.any(mel_weights != 0, axis=1))


def complex_fft_operations(n: int) -> int:
    """Of a radix-2 complex FFT with no product spared: 5 n log2 n.

    Raises:
        SpeechError: n is no power of two.
    """
    return BUTTERFLY * (n // 2) * _depth(n)


def real_fft_operations(n: int, bins: np.ndarray | None = None) -> int:
    """Of a radix-2 FFT of real samples that keeps half of each symmetric spectrum.

    Products by 1 and -i cost nothing, those by the eighth root of unity 4. Sorensen,
    Jones, Heideman & Burrus, "Real-valued fast Fourier transform algorithms", 1987.

    Args:
        n: a power of two.
        bins: those of 0 ... n / 2 that are wanted; None: all. Fewer make it the
            output-pruned FFT (Markel, "FFT pruning", 1971).

    Raises:
        SpeechError: n is no power of two; a bin outside.
    """
    _depth(n)
    wanted = set(range(n // 2 + 1)) if bins is None else {int(each) for each in bins}
    if not wanted <= set(range(n // 2 + 1)):
        raise SpeechError(f"bins outside of 0 ... {n // 2} are wanted")
    return _real_operations(n, wanted)


def _real_operations(n: int, wanted: set[int]) -> int:
    if n == 1 or not wanted:
        return 0
    operations = 0
    # Bins k and n / 2 - k come from bin k of the even and of the odd samples.
    below = {min(k, n // 2 - k) for k in wanted}
    for k in below:
        outputs = len({k, n // 2 - k} & wanted)
        if k == 0:
            operations += outputs
        elif 4 * k != n:
            operations += (4 if 8 * k == n else PRODUCT) + SUM * outputs
    return operations + 2 * _real_operations(n // 2, below)


def even_bins_operations(n: int, bins: np.ndarray | None = None) -> int:
    """Of every second bin: fold the frame once, and transform half as many samples.

    Args:
        n: samples of the frame, a power of two.
        bins: those of the folded frame's 0 ... n / 4 that are wanted; None: all.
    """
    return n // 2 + real_fft_operations(n // 2, bins)


def routed_operations(
    gates: np.ndarray, mode: str, outputs: np.ndarray | None = None
) -> int:
    """Of a routed network, the butterflies that some wanted output depends on.

    A reverse gate costs what a forward one does. A butterfly of which one output is
    wanted saves a sum.

    Args:
        gates: int [stages, n / 2].
        mode: of `TernaryRoutedFFT`.
        outputs: wanted ones of n; None: all.
    """
    n = 2 * gates.shape[1]
    live = np.ones(n, bool)
    if outputs is not None:
        live = np.zeros(n, bool)
        live[np.asarray(outputs, int)] = True
    operations = 0
    for stage in reversed(range(len(gates))):
        # Axes: group, output of the butterfly, place in the group.
        top, bottom = live.reshape(-1, 2, 1 << stage).transpose(1, 0, 2)
        on = (gates[stage] != OFF).reshape(top.shape)
        either = top | bottom
        operations += int(PRODUCT * (on & either).sum())
        operations += int(SUM * ((on & top).sum() + (on & bottom).sum()))
        if mode == "skip":
            first, second = np.where(on, either, top), np.where(on, either, bottom)
        else:
            first, second = either, on & either
        live = np.stack([first, second], axis=1).reshape(-1)
    return operations


def compute_fraction(transform: TernaryRoutedFFT) -> float:
    """Share of the complex FFT's operations that hard gates leave, all bins read."""
    operations = routed_operations(transform.gates, transform.mode)
    return operations / complex_fft_operations(transform.n)


def least_spectrum_error(n: int, fraction: float) -> float:
    """No routed network does better than this relative error on white noise.

    Of n points' bins 0 ... n / 2, without a corrector that mixes bins. Every entry of a
    butterfly's matrix is one product along one path of log2 n butterflies. Switching
    one off, in either mode and whatever the twiddles are, makes zeros of at least n / 2
    of the n (n / 2 + 1) entries, and no entry can be lost to more than log2 n of them.
    All entries of the DFT are of one size, so at least the share
    (1 - fraction) n / (2 (n + 2)) of its energy is lost.

    Raises:
        SpeechError: a fraction outside of 0 ... 1.
    """
    if not 0 <= fraction <= 1:
        raise SpeechError(f"the compute fraction {fraction} is outside of 0 ... 1")
    return float(np.sqrt((1 - fraction) * n / (2 * (n + 2))))


def _depth(n: int) -> int:
    if n < 1 or n & (n - 1):
        raise SpeechError(f"n = {n} is no power of two", "count another size")
    return n.bit_length() - 1
