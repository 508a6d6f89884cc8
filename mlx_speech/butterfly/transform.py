"""A Fourier transform whose twiddles can be learned: stages of small blocks.

Dao et al., "Learning fast algorithms for linear transforms using butterfly
factorizations", 2019, with mixed radices. A real transform packs pairs of samples into
complex numbers, takes half the points, and untangles the two spectra with two learned
weights per bin (Sorensen et al., "Real-valued fast Fourier transform algorithms",
1987).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_speech.butterfly.canonical import (
    canonical_stages,
    snapped_angles,
    turned_blocks,
    twiddle_angles,
)
from mlx_speech.butterfly.exact import (
    FusedFFT,
    TransformError,
    exact_function,
)
from mlx_speech.butterfly.factors import (
    checked_radices,
    digit_reversal,
    monarch_radices,
)
from mlx_speech.butterfly.parameters import (
    check_choice,
    from_pairs,
    initial_parameters,
    stage_weight,
    to_pairs,
)
from mlx_speech.butterfly.real import (
    exact_untangling,
    pack,
    random_untangling,
    tangle,
    unpack,
    untangle,
)
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.butterfly import butterfly
from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan

NORMS = ("backward", "ortho")


class ButterflyTransform(nn.Module):
    """What every butterfly does, however its blocks are stored.

    Subclasses say what their blocks are in `stage_weights`.

    Args:
        n: length of the signal.
        radices: factors of the points of the butterfly (n, or n / 2 of a real one),
            innermost stage first; None: `default_radices`.
        real: the signal is real; spectra have n / 2 + 1 bins.
        inverse: from spectrum to signal.
        norm: "backward" scales as numpy does (1 / n on the inverse); "ortho" makes
            the DFT unitary.
        permutation: int [points], the order in which the first stage reads; None:
            digit reversal.

    Raises:
        SpeechError: n is odd and real, cannot be factored, or does not fit the radices
            or the permutation; an unknown norm.
    """

    def __init__(
        self,
        n: int,
        radices: Sequence[int] | None = None,
        *,
        real: bool = False,
        inverse: bool = False,
        norm: str = "backward",
        permutation: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        if real and n % 2:
            raise SpeechError(f"n = {n} is odd: real transforms pack pairs of samples")
        self.n = n
        self.points = n // 2 if real else n
        self.radices = checked_radices(self.points, radices)
        self.real = real
        self.inverse = inverse
        self.norm = norm
        order = digit_reversal(self.radices) if permutation is None else permutation
        self._plan = ButterflyPlan(self.radices, order)

    @property
    def bins(self) -> int:
        """Numbers in a spectrum."""
        return self.points + 1 if self.real else self.n

    @property
    def permutation(self) -> np.ndarray:
        """The order in which the first stage reads, int32 [points]."""
        return np.array(self._plan.order)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the stages in a file."""
        raise NotImplementedError

    def stage_weights(self) -> list[mx.array]:
        """Blocks of every stage, complex64 [blocks, m, r, r], innermost first."""
        raise NotImplementedError

    def untangling(self) -> mx.array:
        """The two weights of each bin, complex64 [2, bins]; of real transforms."""
        raise NotImplementedError

    def __call__(self, x: mx.array) -> mx.array:
        """Transform the last axis.

        Args:
            x: [..., n], or [..., bins] of an inverse real transform. Any real dtype,
                or complex64 where the signal or spectrum is complex.

        Returns:
            complex64 [..., bins]; inverse: complex64 [..., n], float32 of a real one.

        Raises:
            SpeechError: another length; complex input of a real transform.
        """
        expected = self.bins if self.inverse else self.n
        if x.ndim == 0 or x.shape[-1] != expected:
            raise SpeechError(
                f"the last axis has {x.shape[-1] if x.ndim else 0} values, the "
                f"transform takes {expected}",
                "cut or pad the signal, or make a transform of its length",
            )
        complex_input = x.dtype == mx.complex64
        if self.real and not self.inverse and complex_input:
            raise SpeechError(
                "a real transform cannot take complex input",
                "pass the real part, or make the transform with real=False",
            )
        x = x if complex_input else x.astype(mx.float32)
        x_nb = x.reshape(-1, expected).T
        if not self.real:
            y_nb = self._stages(x_nb)
        elif self.inverse:
            y_nb = unpack(self._stages(tangle(x_nb, self.untangling())))
        else:
            y_nb = untangle(self._stages(pack(x_nb)), self.untangling())
        return y_nb.T.reshape(*x.shape[:-1], -1)

    def matrix(self) -> np.ndarray:
        """The transform as a matrix, rows = outputs.

        Returns:
            complex64 [bins, n] ([n, n] of a complex one). An inverse real transform is
            linear in real and imaginary parts only: float32 [n, 2 * bins], columns are
            the real parts, then the imaginary parts.
        """
        return np.array(self(mx.array(self.probes()))).T

    def probes(self) -> np.ndarray:
        """Inputs that determine the transform: unit vectors, complex64 or float32."""
        if not (self.real and self.inverse):
            return np.eye(self.n, dtype=np.float32)
        units = np.eye(self.bins, dtype=np.complex64)
        return np.concatenate([units, 1j * units]).astype(np.complex64)

    def exact(self, x: np.ndarray) -> np.ndarray:
        """What the exact transform answers, in double precision."""
        return exact_function(self.real, self.inverse, self.n, self.norm)(x)

    def error(self) -> TransformError:
        """Distance to the exact transform, over all entries of the matrix."""
        probes = self.probes()
        exact = self.exact(probes).T
        difference = self.matrix() - exact
        relative = np.linalg.norm(difference) / np.linalg.norm(exact)
        unitary = np.linalg.norm(exact) / probes.shape[0] ** 0.5
        return TransformError(
            float(relative), float(np.abs(difference).max() / unitary)
        )

    def fuse(self, tolerance: float = 1e-6) -> Callable[[mx.array], mx.array]:
        """MLX's own transform in place of this one, when the two are equal.

        Raises:
            SpeechError: the relative error is above ``tolerance``.
        """
        relative = self.error().relative
        if not relative <= tolerance:
            raise SpeechError(
                f"the transform is {relative:.2g} from the exact one, which is more "
                f"than {tolerance:.2g}: mx.fft cannot stand for it",
                "snap it first, train longer, or use it unfused",
            )
        return FusedFFT(self.n, self.real, self.inverse, self.norm)

    def _stages(self, x_nb: mx.array) -> mx.array:
        return butterfly(x_nb.T, self.stage_weights(), self._plan, self.scale).T

    @property
    def scale(self) -> float:
        """What the result of the stages is multiplied by."""
        # The stages of the DFT are unitary.
        scale = self.points**0.5 if self.norm == "backward" else 1.0
        if self.norm == "ortho" and self.real:
            scale = 0.5**0.5
        return 1 / scale if self.inverse else scale


class ButterflyFFT(ButterflyTransform):
    """A butterfly with trainable blocks; exact at ``init="dft"``.

    Args:
        n, radices, real, inverse, norm, permutation: as of `ButterflyTransform`.
        parameterization: "full", "unitary" (radix 2) or "phase"; see `parameters`.
        tied: one set of blocks for all groups of a stage, as in the DFT itself.
        init: "dft" for the exact twiddles, "haar" for random unitary blocks.
        seed: of "haar".

    Raises:
        SpeechError: as of `ButterflyTransform`; an unknown word.
    """

    def __init__(
        self,
        n: int,
        radices: Sequence[int] | None = None,
        *,
        parameterization: str = "full",
        tied: bool = False,
        init: str = "dft",
        seed: int = 0,
        real: bool = False,
        inverse: bool = False,
        norm: str = "backward",
        permutation: np.ndarray | None = None,
    ) -> None:
        super().__init__(
            n,
            radices,
            real=real,
            inverse=inverse,
            norm=norm,
            permutation=permutation,
        )
        self.parameterization = parameterization
        self.tied = tied
        draw = np.random.default_rng(seed)
        self.stages = initial_parameters(
            self.radices, parameterization, tied, init, inverse, draw
        )
        if real:
            untangling = exact_untangling(n, inverse)
            if init == "haar":
                untangling = random_untangling(n, draw)
            self.untangle = to_pairs(untangling)

    def stage_weights(self) -> list[mx.array]:
        """Blocks of every stage, complex64 [blocks, m, r, r], innermost first."""
        return [
            stage_weight(stage, self.parameterization, radix, self.inverse)
            for stage, radix in zip(self.stages, self.radices, strict=True)
        ]

    def untangling(self) -> mx.array:
        """The two weights of each bin, complex64 [2, bins]; of real transforms."""
        return from_pairs(self.untangle)

    def blocks(self) -> list[np.ndarray]:
        """Blocks of every stage in NumPy, complex128 [blocks, m, r, r]."""
        return [np.array(each).astype(np.complex128) for each in self.stage_weights()]

    def set_blocks(self, blocks: Sequence[np.ndarray]) -> None:
        """Take blocks of ``full`` stages; tied ones are repeated where needed.

        Raises:
            SpeechError: not ``full``, or blocks of other shapes.
        """
        self._require_full("take blocks")
        for place, (new, own) in enumerate(zip(blocks, self.stages, strict=True)):
            if new.shape[1:] != own.shape[1:-1] or len(new) not in (1, len(own)):
                raise SpeechError(
                    f"blocks {list(new.shape)} do not fit stage {place} "
                    f"{list(own.shape[:-1])}"
                )
            self.stages[place] = to_pairs(np.broadcast_to(new, own.shape[:-1]))

    def canonicalize(self) -> None:
        """Push column 0 of every block to 1 / sqrt(r); the transform stays the same.

        Raises:
            SpeechError: not ``full``, or a weight is 0.
        """
        self._require_full("be made canonical")
        self.set_blocks(canonical_stages(self.blocks()))

    def angles(self, tolerance: float = 1e-3) -> list[np.ndarray]:
        """Angles of the twiddles, float64 [blocks, m, r - 1] per stage, radians.

        Raises:
            SpeechError: the blocks are further than ``tolerance`` from small DFTs of
                turned inputs.
        """
        if self.parameterization == "phase":
            return [np.array(stage).astype(np.float64) for stage in self.stages]
        return twiddle_angles(self.blocks(), self.inverse, tolerance)

    def snap(self) -> float:
        """Round every twiddle to the nearest n-th root of unity.

        Returns:
            The largest rounding in radians.

        Raises:
            SpeechError: the nearest root is no safe guess, or `angles` refuses.
        """
        if self.parameterization == "unitary":
            self._require_full("be snapped")
        quarter = np.pi / (2 * self.points)
        angles, largest = snapped_angles(self.angles(quarter), self.points)
        if self.parameterization == "phase":
            self.stages = [mx.array(each.astype(np.float32)) for each in angles]
        else:
            self.set_blocks(
                [
                    turned_blocks(each, radix, self.inverse)
                    for each, radix in zip(angles, self.radices, strict=True)
                ]
            )
        return largest

    @property
    def stored_bytes(self) -> int:
        """Bytes of the stages in a file, float32."""
        return sum(stage.nbytes for stage in self.stages)

    def _require_full(self, what: str) -> None:
        if self.parameterization != "full":
            raise SpeechError(
                f"`{self.parameterization}` stages cannot {what}",
                "use parameterization `full`",
            )


class MonarchFFT(ButterflyFFT):
    """A butterfly of two stages with blocks of about sqrt(n); see `monarch_radices`.

    More arithmetic than the radix-2 butterfly, in products that matrix units like.

    Args:
        n: length of the signal; n (n / 2 of a real one) must not be prime.
        **options: as of `ButterflyFFT`.
    """

    def __init__(self, n: int, **options: object) -> None:
        points = n // 2 if options.get("real") else n
        super().__init__(n, monarch_radices(points), **options)  # type: ignore[arg-type]


def count_parameters(transform: nn.Module) -> int:
    """Real numbers that training may change."""
    return sum(
        array.size for array in dict(tree_flatten(transform.parameters())).values()
    )
