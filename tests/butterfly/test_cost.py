"""Operation counts, against transforms that count while they compute; the bound."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_speech.butterfly.cost import (
    complex_fft_operations,
    compute_fraction,
    even_bins_operations,
    frame_cost,
    least_spectrum_error,
    read_bins,
    real_fft_operations,
    routed_operations,
)
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.errors import SpeechError


def counted_real_fft(x: np.ndarray) -> tuple[np.ndarray, int]:
    """A real FFT that computes half spectra, and its additions and products."""
    n = len(x)
    if n == 1:
        return x.astype(complex), 0
    even, first = counted_real_fft(x[0::2])
    odd, second = counted_real_fft(x[1::2])
    count = first + second
    spectrum = np.zeros(n // 2 + 1, complex)
    for k in range(n // 4 + 1):
        a, b = even[k], odd[k]
        if k == 0:
            # Both are real: two real sums.
            spectrum[0], spectrum[n // 2] = a + b, a - b
            count += 2
        elif 4 * k == n:
            # Both are real, and the product is by -i: nothing to compute.
            spectrum[k] = a - 1j * b
        else:
            w = np.exp(-2j * np.pi * k / n)
            spectrum[k], spectrum[n // 2 - k] = a + w * b, np.conj(a - w * b)
            # By (1 - i) / sqrt(2): a sum, a difference and two scalings.
            count += (4 if 8 * k == n else 4 + 2) + 4
    return spectrum, count


@pytest.mark.parametrize("n", [2, 4, 8, 16, 128, 512])
def test_a_real_fft_costs_what_one_counts(n: int) -> None:
    x = np.random.default_rng(0).standard_normal(n)
    spectrum, count = counted_real_fft(x)
    np.testing.assert_allclose(spectrum, np.fft.rfft(x), atol=1e-9)
    assert real_fft_operations(n) == count
    assert even_bins_operations(2 * n) == n + count
    assert complex_fft_operations(n) == 5 * n * int(np.log2(n))


def test_bins_that_nobody_reads_are_not_computed() -> None:
    assert real_fft_operations(128, np.arange(65)) == real_fft_operations(128)
    # Without the outermost bins: two sums of the last stage, and two below it.
    assert real_fft_operations(128, np.arange(1, 64)) == real_fft_operations(128) - 4
    # The sum of all samples.
    assert real_fft_operations(128, np.array([0])) == 127
    with pytest.raises(SpeechError, match="outside"):
        real_fft_operations(128, np.array([65]))


@pytest.mark.parametrize("mode", ["drop", "skip"])
@pytest.mark.parametrize("outputs", [None, (0, 3, 9)])
def test_dead_butterflies_cost_nothing(
    mode: str, outputs: tuple[int, ...] | None
) -> None:
    n, depth = 32, 5
    draw = np.random.default_rng(4)
    gates = draw.integers(-1, 2, (depth, n // 2))
    needed: dict[tuple[int, int], set[int]] = {}

    def walk(stage: int, position: int) -> None:
        """Follow what one position after a stage depends on."""
        if stage < 0:
            return
        span = 1 << stage
        place, side = position % span, position // span % 2
        first = position - side * span
        index = (position // (2 * span)) * span + place
        if gates[stage, index]:
            needed.setdefault((stage, index), set()).add(side)
            walk(stage - 1, first)
            walk(stage - 1, first + span)
        else:
            walk(stage - 1, position if mode == "skip" else first)

    for output in range(n) if outputs is None else outputs:
        walk(depth - 1, output)
    expected = sum(6 + 2 * len(sides) for sides in needed.values())
    wanted = None if outputs is None else np.array(outputs)
    assert routed_operations(gates, mode, wanted) == expected


def test_a_frame_is_counted_whole() -> None:
    weights = np.zeros((5, 2))
    weights[1, 0] = weights[2, 0] = weights[2, 1] = 1
    assert read_bins(weights).tolist() == [1, 2]
    cost = frame_cost(8, 100, weights, corrector=7)
    # A product a sample; three operations for each power; 3 products and 1 sum.
    assert (cost.window, cost.power, cost.mel) == (8, 6, 4)
    assert cost.total == 8 + 100 + 7 + 6 + 4


@pytest.mark.parametrize("mode", ["drop", "skip"])
def test_no_routing_is_better_than_the_bound(mode: str) -> None:
    n = 32
    exact = np.fft.fft(np.eye(n))[: n // 2 + 1]
    for seed in range(8):
        draw = np.random.default_rng(seed)
        gates = (draw.uniform(size=(5, n // 2)) > 0.03 * seed).astype(int)
        transform = TernaryRoutedFFT(n, mode=mode, gates=gates)
        own = transform.matrix()[: n // 2 + 1]
        # The best that any twiddles could do: every entry that is not lost, right.
        best = np.where(np.abs(own) > 1e-6, exact, 0)
        error = np.linalg.norm(best - exact) / np.linalg.norm(exact)
        fraction = compute_fraction(transform)
        assert error >= least_spectrum_error(n, fraction) - 1e-9
        assert fraction < 1 or seed == 0
    assert least_spectrum_error(128, 1.0) == 0
    assert least_spectrum_error(128, 0.96) == pytest.approx(0.1403, abs=1e-4)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(SpeechError, match="no power of two"):
        real_fft_operations(400)
    with pytest.raises(SpeechError, match="no power of two"):
        complex_fft_operations(12)
    with pytest.raises(SpeechError, match="outside"):
        least_spectrum_error(128, 1.2)
