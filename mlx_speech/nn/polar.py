"""Complex weights in few bits: rectangular, polar, or by phase alone.

Every weight becomes one unsigned integer of 2 to 16 bits, held in a uint8 where it fits
and in a uint16 else, and packed without gaps in files. A weight of known modulus should
spend all bits on its phase; of unknown modulus, polar is no better than rectangular.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError

SCHEMES = ("phase", "rect", "polar")
# Shares of the largest value that are tried as the end of the scale.
CLIPS = np.linspace(0.3, 1.0, 36)
TURN = 2 * np.pi


@dataclass(frozen=True)
class ComplexQuantizer:
    """How integers and complex numbers correspond.

    Attributes:
        scheme: "phase" (modulus 1), "rect" (half of the bits per part) or "polar".
        bits: of a weight, in all.
        phase_bits: of these, how many hold the phase (0 of "rect").
        levels: phases in use, 2 ** phase_bits or fewer.
        step: radians from one phase to the next; its sign says which way round.
        scale: the largest modulus (polar) or part (rect) that is represented.
    """

    scheme: str
    bits: int
    phase_bits: int
    levels: int
    step: float
    scale: float

    def encode(self, weights: np.ndarray) -> np.ndarray:
        """Integers of complex weights: uint8 up to 8 bits, else uint16, same shape."""
        if self.scheme == "rect":
            half = self.bits // 2
            top = 2 ** (half - 1) - 1
            high, low = (
                np.clip(np.round(part / self.scale * top), -top, top).astype(int) + top
                for part in (weights.real, weights.imag)
            )
            codes = (high << half) | low
        else:
            turns = np.round(np.angle(weights) / self.step).astype(np.int64)
            # A full circle closes; an index beyond part of one is cut to its ends.
            circle = max(self.levels, round(TURN / abs(self.step)))
            codes = turns % circle
            beyond = codes >= self.levels
            nearer_end = codes - (self.levels - 1) <= circle - codes
            codes = np.where(beyond, np.where(nearer_end, self.levels - 1, 0), codes)
            if self.scheme == "polar":
                moduli = np.abs(weights) / self.scale
                level = _encode_level(moduli, self.bits - self.phase_bits)
                codes = (level << self.phase_bits) | codes
        return codes.astype(storage_type(self.bits))

    def decode(self, codes: mx.array) -> mx.array:
        """Complex weights of integers, complex64, same shape."""
        codes = codes.astype(mx.int32)
        if self.scheme == "rect":
            half = self.bits // 2
            # An odd number of levels: 0, 1 and -1 are what twiddles often are.
            top = 2 ** (half - 1) - 1
            real = ((codes >> half) - top).astype(mx.float32)
            imag = ((codes & (2**half - 1)) - top).astype(mx.float32)
            return (real + imag * mx.array(1j)) * (self.scale / top)
        index = codes & (2**self.phase_bits - 1)
        weights = mx.take(_phases(self.step, self.phase_bits), index)
        if self.scheme == "phase":
            return weights
        level = _decode_level(codes >> self.phase_bits, self.bits - self.phase_bits)
        return weights * (level * self.scale)


def fit_quantizer(
    weights: np.ndarray,
    scheme: str,
    bits: int,
    phase_bits: int | None = None,
    grid: int | None = None,
) -> ComplexQuantizer:
    """The uniform quantiser that represents given weights best.

    Args:
        weights: complex, any shape.
        scheme: one of `SCHEMES`.
        bits: of a weight in all, 2 to 16; even for "rect".
        phase_bits: of "polar"; None: half of the bits or one more.
        grid: number of roots of unity that the phases may lie on; "phase" then uses
            them, if they fit and lie nearer than equal steps of the circle.

    Raises:
        SpeechError: an unknown scheme, an impossible number of bits, weights that are
            not finite or, for "phase", not of modulus 1.
    """
    _check(weights, scheme, bits, phase_bits)
    weights = np.asarray(weights, dtype=np.complex128)
    if scheme == "phase":
        if np.abs(np.abs(weights) - 1).max() > 1e-3:
            raise SpeechError(
                "`phase` needs weights of modulus 1", "quantise them with `rect`"
            )
        found = list(_phase_quantizers(bits, grid))
    else:
        peak = np.maximum(np.abs(weights.real), np.abs(weights.imag)).max()
        splits = [0]
        if scheme == "polar":
            peak = np.abs(weights).max()
            # Phase errors weigh a little more than errors of a modulus.
            splits = [bits // 2, bits // 2 + 1] if phase_bits is None else [phase_bits]
        found = [
            ComplexQuantizer(scheme, bits, split, 2**split, TURN / 2**split, clip)
            for split in splits
            for clip in (CLIPS * (peak or 1.0)).tolist()
        ]
    return min(found, key=lambda each: quantization_error(each, weights))


@lru_cache(maxsize=64)
def _phases(step: float, phase_bits: int) -> mx.array:
    # From double precision: float32 angles alone would cost another 1e-7.
    return mx.array(np.exp(1j * step * np.arange(2**phase_bits)).astype(np.complex64))


def quantization_error(quantizer: ComplexQuantizer, weights: np.ndarray) -> float:
    """Root mean square of the error over that of the weights."""
    codes = mx.array(quantizer.encode(weights))
    difference = np.array(quantizer.decode(codes)) - weights
    return float(np.linalg.norm(difference) / (np.linalg.norm(weights) or 1.0))


def storage_type(bits: int) -> type[np.unsignedinteger]:
    """The integer that holds a code of so many bits in memory."""
    return np.uint8 if bits <= 8 else np.uint16


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes without gaps between them, uint8 [ceil(size * bits / 8)]."""
    wide = codes.reshape(-1, 1).astype(">u2").view(np.uint8)
    return np.packbits(np.unpackbits(wide, axis=1)[:, 16 - bits :])


def unpack_bits(packed: np.ndarray, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """The codes that `pack_bits` packed.

    Raises:
        SpeechError: the bytes are not as many as the shape needs.
    """
    count = int(np.prod(shape))
    needed = -(-count * bits // 8)
    if packed.shape != (needed,):
        raise SpeechError(
            f"{list(packed.shape)} bytes do not hold {count} codes of {bits} bits",
            "make the file again",
        )
    split = np.unpackbits(packed)[: count * bits].reshape(count, bits)
    padded = np.pad(split, [(0, 0), (16 - bits, 0)])
    wide = np.packbits(padded, axis=1).view(">u2")
    return wide.reshape(shape).astype(storage_type(bits))


def _phase_quantizers(bits: int, grid: int | None) -> Iterator[ComplexQuantizer]:
    most = 2**bits
    # Twiddles of an FFT lie on half a circle, either one; that saves a bit.
    for half in (False, True):
        for way in (1, -1) if half else (1,):
            step = way * TURN / most / (1 + half)
            yield ComplexQuantizer("phase", bits, bits, most, step, 1.0)
            if grid is not None and -(-grid // (1 + half)) <= most:
                levels = -(-grid // (1 + half))
                step = way * TURN / grid
                yield ComplexQuantizer("phase", bits, bits, levels, step, 1.0)


def _check(weights: np.ndarray, scheme: str, bits: int, phase_bits: int | None) -> None:
    if scheme not in SCHEMES:
        raise SpeechError(f"unknown scheme `{scheme}`", f"one of: {', '.join(SCHEMES)}")
    if not 2 <= bits <= 16 or (scheme == "rect" and (bits % 2 or bits < 4)):
        raise SpeechError(
            f"{bits} bits are not possible with `{scheme}`",
            "give 2 to 16; for `rect`, an even number from 4",
        )
    if phase_bits is not None and not 0 < phase_bits < bits:
        raise SpeechError(
            f"{phase_bits} of {bits} bits cannot hold the phase",
            f"give 1 to {bits - 1}",
        )
    if not np.all(np.isfinite(weights)):
        raise SpeechError("weights with NaN or infinity cannot be quantised")


def _encode_level(share: np.ndarray, bits: int) -> np.ndarray:
    """0 ... 1 to the index of one of 2 ** bits cells of equal width."""
    cells = 2**bits
    return np.clip(np.floor(share * cells), 0, cells - 1).astype(np.int64)


def _decode_level(index: mx.array, bits: int) -> mx.array:
    return (index.astype(mx.float32) + 0.5) / 2**bits
