"""The exact Fourier transforms that butterflies are held against, and fuse to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np


@dataclass(frozen=True)
class TransformError:
    """How far a transform is from the exact one, of all its entries.

    Attributes:
        relative: Frobenius norm of the difference over that of the exact matrix.
        largest: largest difference of an entry, of the unitary scaling.
    """

    relative: float
    largest: float


class FusedFFT(nn.Module):
    """MLX's own transform with the interface of a butterfly."""

    def __init__(self, n: int, real: bool, inverse: bool, norm: str) -> None:
        super().__init__()
        name = ("i" if inverse else "") + ("r" if real else "") + "fft"
        self._function = getattr(mx.fft, name)
        self._n, self._norm = n, norm

    def __call__(self, x: mx.array) -> mx.array:
        """As `ButterflyTransform.__call__`."""
        return self._function(x, self._n, norm=self._norm)


def exact_function(
    real: bool, inverse: bool, n: int, norm: str
) -> Callable[[np.ndarray], np.ndarray]:
    """numpy's transform of the last axis, in double precision."""
    name = ("i" if inverse else "") + ("r" if real else "") + "fft"
    function = getattr(np.fft, name)
    dtype = np.float64 if real and not inverse else np.complex128
    return lambda x: function(np.asarray(x, dtype=dtype), n, norm=norm)
