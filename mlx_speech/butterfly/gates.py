"""A butterfly whose stages are routed by ternary gates.

Each radix-2 butterfly has a twiddle w and a gate g of three states: forward (+1) is
(a + w b, a - w b); reverse (-1) is the same with its outputs swapped, which is w -> -w;
off (0) saves the arithmetic. Two meanings of off are in use: ``skip`` passes (a, b)
through, ``drop`` takes b for zero, (a, a), which is the pruning of the FFT literature.

Gates are found by pruning (`prune`) or learned through a relaxation: each gate then has
three logits, and a stage is the mixture of its three states, so that one backward pass
gives the gradient of every logit of every gate. Jang et al., "Categorical
reparameterization with Gumbel-softmax", 2017; Bengio et al., "Estimating or propagating
gradients through stochastic neurons", 2013 (straight through).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from mlx_speech.butterfly.factors import roots_of_unity, spans
from mlx_speech.butterfly.parameters import check_choice, from_pairs, to_pairs
from mlx_speech.butterfly.transform import ButterflyTransform
from mlx_speech.errors import SpeechError

MODES = ("drop", "skip")
RELAXATIONS = ("soft", "straight-through", "gumbel")
OFF, FORWARD, REVERSE = 0, 1, -1
# The states in the order of the logits' last axis.
STATES = (OFF, FORWARD, REVERSE)
# Before any training each gate is forward with a probability of three quarters.
FORWARD_LOGIT = 1.8
# Of a state that is not allowed; finite, so that no gradient is NaN.
IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class Relaxation:
    """How logits become the mixture of states that a stage computes with.

    Attributes:
        kind: "soft" mixes by softmax; "straight-through" computes with the likeliest
            state and differentiates the softmax; "gumbel" does that with noise on the
            logits.
        temperature: that logits are divided by.
        noise: of "gumbel": one array per stage, shaped like its logits.
    """

    kind: str = "soft"
    temperature: float = 1.0
    noise: Sequence[mx.array] | None = None

    def __post_init__(self) -> None:
        check_choice("relaxation", self.kind, RELAXATIONS)
        if not self.temperature > 0:
            raise SpeechError(
                f"the temperature is {self.temperature}, and must be above 0"
            )
        if (self.kind == "gumbel") != (self.noise is not None):
            raise SpeechError(
                "noise is for `gumbel`, which needs it, and for nothing else"
            )

    def mixture(self, logits: mx.array, stage: int) -> mx.array:
        """Weights of the three states, [..., 3], which add up to 1; differentiable."""
        if self.noise is not None:
            logits = logits + self.noise[stage]
        soft = mx.softmax(logits / self.temperature, axis=-1)
        if self.kind == "soft":
            return soft
        states = mx.arange(len(STATES))
        hard = (mx.argmax(logits, axis=-1, keepdims=True) == states).astype(mx.float32)
        return hard + (soft - mx.stop_gradient(soft))


class TernaryRoutedFFT(ButterflyTransform):
    """A radix-2 FFT with a gate and a twiddle of its own for every butterfly.

    With all gates forward and the initial twiddles it is the exact transform.

    Args:
        n: points, a power of two.
        mode: what a gate that is off does: "drop" or "skip", see the head of the file.
        gates: int [stages, n / 2] of 0, 1, -1; None: all forward.

    Attributes:
        twiddles: float32 [groups, m, 2] per stage, real and imaginary parts.
        logits: float32 [groups, m, 3] per stage, in the order of `STATES`; they count
            only while `relaxation` is set.

    Raises:
        SpeechError: n is no power of two; an unknown mode; gates of another shape or
            with another value.
    """

    def __init__(
        self, n: int, *, mode: str = "drop", gates: np.ndarray | None = None
    ) -> None:
        if n < 2 or n & (n - 1):
            raise SpeechError(
                f"n = {n} is no power of two, and gates are for radix 2 only",
                f"take {1 << max(n, 2).bit_length()} for example",
            )
        super().__init__(n, (2,) * (n.bit_length() - 1))
        check_choice("mode", mode, MODES)
        self.mode = mode
        self.twiddles = [to_pairs(_exact_twiddles(n, span)) for span in self.spans]
        self.logits = [
            mx.broadcast_to(mx.array([0.0, FORWARD_LOGIT, 0.0]), (*pairs.shape[:-1], 3))
            for pairs in self.twiddles
        ]
        self.relaxation: Relaxation | None = None
        full = np.ones((len(self.radices), n // 2), np.int8)
        self.set_gates(full if gates is None else gates)

    @property
    def spans(self) -> tuple[int, ...]:
        """m of every stage: how far apart its butterflies' inputs lie."""
        return spans(self.radices)

    @property
    def gates(self) -> np.ndarray:
        """The hard gates, int8 [stages, n / 2], group after group."""
        return self._gates

    def set_gates(self, gates: np.ndarray) -> None:
        """Take hard gates, and compute with them from now on.

        Args:
            gates: int [stages, n / 2] of 0, 1, -1.

        Raises:
            SpeechError: another shape or another value.
        """
        gates = np.asarray(gates)
        expected = (len(self.radices), self.n // 2)
        if gates.shape != expected:
            raise SpeechError(
                f"gates {list(gates.shape)} do not fit {list(expected)}: one row for "
                "each stage, one column for each butterfly"
            )
        if not np.isin(gates, STATES).all():
            raise SpeechError("a gate is none of 0, 1 and -1")
        self._gates = gates.astype(np.int8)
        self.relaxation = None

    def forbid_reverse(self) -> None:
        """Make reverse gates impossible to learn."""
        apart = mx.array([1.0, 1.0, 0.0])
        never = mx.array([0.0, 0.0, IMPOSSIBLE])
        self.logits = [each * apart + never for each in self.logits]

    def likeliest_on(self) -> np.ndarray:
        """Forward or reverse, whichever has the higher logit, int8 [stages, n / 2]."""
        on = [
            np.argmax(np.array(each)[..., 1:], -1).reshape(-1) for each in self.logits
        ]
        return np.array(STATES[1:], np.int8)[np.stack(on)]

    def off_margin(self) -> np.ndarray:
        """How much likelier off is than on, float32 [stages, n / 2], of the logits."""
        logits = [np.array(each).reshape(-1, 3) for each in self.logits]
        return np.stack([each[:, 0] - each[:, 1:].max(axis=1) for each in logits])

    def expected_fraction(self) -> mx.array:
        """Share of butterflies that are computed, of the mixture; differentiable."""
        if self.relaxation is None:
            return mx.array(float(np.mean(self._gates != OFF)))
        soft = replace(self.relaxation, kind="soft", noise=None)
        computed = [
            mx.sum(1 - soft.mixture(each, stage)[..., 0])
            for stage, each in enumerate(self.logits)
        ]
        return mx.sum(mx.stack(computed)) / self._gates.size

    def stage_weights(self) -> list[mx.array]:
        """Blocks of every stage, complex64 [groups, m, 2, 2], innermost first."""
        return [self._stage_weight(stage) for stage in range(len(self.radices))]

    def block_values(self, gates: np.ndarray) -> list[np.ndarray]:
        """Blocks without the factor 1 / sqrt(2), for any hard gates, in NumPy.

        Returns:
            complex64 [n / 2, 2, 2] per stage.
        """
        values = []
        for gate, pairs in zip(gates, self.twiddles, strict=True):
            turned = np.array(from_pairs(pairs)).reshape(-1) * gate
            off = (gate == OFF).astype(np.float32)
            kept = off if self.mode == "skip" else np.zeros_like(off)
            rows = [np.ones_like(turned), turned, 1 - kept, kept - turned]
            values.append(np.stack(rows, -1).reshape(-1, 2, 2).astype(np.complex64))
        return values

    @property
    def stored_bytes(self) -> int:
        """Bytes that it needs: float32 twiddles where gates are on, two bits a gate."""
        computed = int(np.count_nonzero(self._gates))
        return 8 * computed + -(-2 * self._gates.size // 8)

    def _stage_weight(self, stage: int) -> mx.array:
        pairs = self.twiddles[stage]
        if self.relaxation is None:
            gate = mx.array(self._gates[stage].reshape(pairs.shape[:-1]))
            signed = gate.astype(mx.float32)
            off = (gate == OFF).astype(mx.float32)
        else:
            mixture = self.relaxation.mixture(self.logits[stage], stage)
            off, signed = mixture[..., 0], mixture[..., 1] - mixture[..., 2]
        # The mixture of the three maps is linear in the weights of the states.
        turned = signed * from_pairs(pairs)
        kept = off.astype(mx.complex64) if self.mode == "skip" else 0 * turned
        ones = mx.ones_like(turned)
        top = mx.stack([ones, turned], axis=-1)
        bottom = mx.stack([ones - kept, kept - turned], axis=-1)
        return mx.stack([top, bottom], axis=-2) * 0.5**0.5


def gumbel_noise(
    transform: TernaryRoutedFFT, scale: float, key: mx.array
) -> list[mx.array]:
    """Gumbel noise for all logits of a transform, times ``scale``."""
    keys = mx.random.split(key, len(transform.logits))
    return [
        scale * mx.random.gumbel(logits.shape, key=each)
        for logits, each in zip(transform.logits, keys, strict=True)
    ]


def _exact_twiddles(n: int, span: int) -> np.ndarray:
    """The DFT's, complex128 [groups, m]."""
    turns = roots_of_unity(np.arange(span), 2 * span)
    return np.broadcast_to(turns, (n // (2 * span), span))
