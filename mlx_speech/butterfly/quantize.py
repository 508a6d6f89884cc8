"""Butterflies with integers for weights.

The twiddles of an FFT have modulus 1, so all bits go to the phase; and they are roots
of unity, so an index into these is exact: 8 bits for n up to 512, 10 bits for 2048 (the
twiddles of powers of two lie on half of the circle). Whole blocks of any transform are
quantised by their parts (``rect``) or by modulus and phase (``polar``).
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.parameters import from_pairs, small_dft
from mlx_speech.butterfly.transform import ButterflyFFT, ButterflyTransform
from mlx_speech.errors import SpeechError
from mlx_speech.nn.polar import ComplexQuantizer, fit_quantizer

TARGETS = ("twiddles", "blocks")


@dataclass(frozen=True)
class StageCode:
    """How the integers of one stage are read.

    Attributes:
        quantizer: integers to complex numbers.
        shape: of the integers: [blocks, m, r - 1] twiddles or [blocks, m, r, r] blocks.
    """

    quantizer: ComplexQuantizer
    shape: tuple[int, ...]


class QuantizedButterflyFFT(ButterflyTransform):
    """A butterfly whose stages are unsigned integers of few bits; not trainable.

    Make one by `quantize` or `load_transform`. The untangling weights of a real
    transform, two per bin, stay in float32.

    Attributes:
        codes: integers per stage, uint8 up to 8 bits, else uint16.
        stage_codes: how to read them.
        target: "twiddles" or "blocks".
    """

    def __init__(
        self,
        codes: list[mx.array],
        stage_codes: list[StageCode],
        target: str,
        untangle: mx.array | None = None,
        *,
        n: int,
        radices: tuple[int, ...],
        real: bool,
        inverse: bool,
        norm: str,
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
        self.codes = codes
        self._stage_codes = stage_codes
        self.target = target
        if untangle is not None:
            self.untangle = untangle
        self.freeze()

    @property
    def stage_codes(self) -> list[StageCode]:
        """How the integers of each stage are read."""
        return self._stage_codes

    @property
    def stored_bytes(self) -> int:
        """Bytes of the stages in a file, their integers packed without gaps."""
        return sum(
            -(-codes.size * stage.quantizer.bits // 8)
            for codes, stage in zip(self.codes, self._stage_codes, strict=True)
        )

    def stage_weights(self) -> list[mx.array]:
        """Blocks of every stage, complex64 [blocks, m, r, r], innermost first."""
        weights = []
        for codes, stage, radix in zip(
            self.codes, self._stage_codes, self.radices, strict=True
        ):
            decoded = stage.quantizer.decode(codes)
            if self.target == "blocks":
                weights.append(decoded)
                continue
            still = mx.ones((*decoded.shape[:-1], 1), dtype=mx.complex64)
            turns = mx.concatenate([still, decoded], axis=-1)
            weights.append(small_dft(radix, self.inverse) * turns[..., None, :])
        return weights

    def untangling(self) -> mx.array:
        """The two weights of each bin, complex64 [2, bins]; of real transforms."""
        return from_pairs(self.untangle)


def quantize(
    transform: ButterflyFFT,
    scheme: str = "phase",
    bits: int = 8,
    target: str = "twiddles",
    phase_bits: int | None = None,
) -> QuantizedButterflyFFT:
    """A quantised copy of a transform.

    Args:
        transform: of any parameterization; ``unitary`` only with ``target="blocks"``.
        scheme: "phase", "rect" or "polar"; see `mlx_speech.nn.polar`.
        bits: of a weight, in all.
        target: "twiddles" quantises the factors before small DFTs, for transforms of
            that form; "blocks" quantises every number of every block, for any.
        phase_bits: of "polar".

    Returns:
        A transform; stages whose blocks all got the same integers keep one set.

    Raises:
        SpeechError: an impossible scheme, target or number of bits, or a transform that
            has no twiddles.
    """
    if target not in TARGETS:
        raise SpeechError(f"unknown target `{target}`", f"one of: {', '.join(TARGETS)}")
    if target == "blocks" and scheme == "phase":
        raise SpeechError(
            "`phase` is for twiddles: the numbers of blocks have no modulus in common",
            "take `rect` or `polar`, or the target `twiddles`",
        )
    if target == "twiddles":
        weights = [np.exp(1j * angles) for angles in transform.angles()]
    else:
        weights = transform.blocks()
    codes, stage_codes = [], []
    for weight in weights:
        quantizer = fit_quantizer(weight, scheme, bits, phase_bits, transform.points)
        integers = quantizer.encode(weight)
        if np.all(integers == integers[:1]):
            integers = integers[:1]
        codes.append(mx.array(integers))
        stage_codes.append(StageCode(quantizer, integers.shape))
    return QuantizedButterflyFFT(
        codes,
        stage_codes,
        target,
        transform.untangle if transform.real else None,
        n=transform.n,
        radices=transform.radices,
        real=transform.real,
        inverse=transform.inverse,
        norm=transform.norm,
        permutation=transform.permutation,
    )
