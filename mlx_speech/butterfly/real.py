"""Real signals by a complex transform of half the points.

Sorensen, Jones, Heideman & Burrus, "Real-valued fast Fourier transform algorithms",
1987: even samples become real parts, odd ones imaginary parts; the spectrum Z of these
holds both spectra, and X[k] = A[k] Z[k] + B[k] conj(Z[-k]) takes them apart. A and B
can be learned like twiddles. All arrays here are [points, batch].
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.factors import haar_stages
from mlx_speech.metal_kernels.twiddles import exact_untangling as exact_untangling


def pack(x_nb: mx.array) -> mx.array:
    """Real [n, batch] to complex64 [n / 2, batch]."""
    return x_nb[0::2] + x_nb[1::2] * mx.array(1j, dtype=mx.complex64)


def unpack(z_nb: mx.array) -> mx.array:
    """Complex [n / 2, batch] to float32 [n, batch]."""
    pairs = mx.stack([mx.real(z_nb), mx.imag(z_nb)], axis=1)
    return pairs.reshape(-1, z_nb.shape[-1])


def untangle(z_nb: mx.array, weights: mx.array) -> mx.array:
    """Spectra [n / 2, batch] of packed signals to bins [n / 2 + 1, batch].

    Args:
        z_nb: complex64.
        weights: complex64 [2, bins].
    """
    around = mx.concatenate([z_nb, z_nb[:1]])
    a, b = weights[..., None]
    return a * around + b * mx.conj(around[::-1])


def tangle(x_nb: mx.array, weights: mx.array) -> mx.array:
    """Bins [n / 2 + 1, batch] to the spectra [n / 2, batch] of packed signals."""
    x_nb = x_nb.astype(mx.complex64)
    # As numpy: the imaginary parts of the two outermost bins carry no signal.
    first, last = mx.real(x_nb[:1]), mx.real(x_nb[-1:])
    x_nb = mx.concatenate([first, x_nb[1:-1], last])
    a, b = weights[..., None]
    return (a * x_nb + b * mx.conj(x_nb[::-1]))[:-1]


def random_untangling(n: int, draw: np.random.Generator) -> np.ndarray:
    """Random weights of the same structure: each pair of mirrored bins is unitary.

    Returns:
        complex128 [2, bins]
    """
    points = n // 2
    weights = np.empty((2, points + 1), dtype=np.complex128)
    for k in range(points // 2 + 1):
        block = haar_stages((2,), True, draw)[0][0, 0]
        weights[:, k] = block[0]
        # Of the mirrored bin, the conjugate signal comes first.
        weights[:, points - k] = block[1, ::-1].conj()
    return weights
