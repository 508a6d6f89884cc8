"""Which gates to switch off, down to a share of the arithmetic.

- ``random``: the control.
- ``saliency``: greedily, those whose loss is measured to be least. Not by a gradient:
  each gate is tried, all of them in a few products, since a gate changes the spectrum
  by its own two outputs times what the later stages make of them.
- ``logit``: those that a relaxation has learned to do without, likeliest first.
- ``subtree``: whole sub-transforms and what merges them: the one pattern that saves
  time on hardware that works on many numbers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlx_speech.butterfly.cost import (
    BUTTERFLY,
    complex_fft_operations,
    routed_operations,
)
from mlx_speech.butterfly.gates import OFF, TernaryRoutedFFT
from mlx_speech.butterfly.parameters import check_choice
from mlx_speech.errors import SpeechError

METHODS = ("saliency", "logit", "subtree", "random")
# Of the loss by which gates are compared: log10 mel, and energy of the spectrum.
MEL_WEIGHT, SPECTRUM_WEIGHT = 2.0, 0.3


@dataclass(frozen=True)
class PruningFrames:
    """What gates are tried on.

    Attributes:
        frames_fn: windowed frames, float32 [frames, n].
        filters: mel weights, float32 [bins, bands].
        floor_f: mel power below which nothing is compared, float32 [frames].
    """

    frames_fn: np.ndarray
    filters: np.ndarray
    floor_f: np.ndarray


def prune(
    transform: TernaryRoutedFFT,
    target: float,
    method: str = "saliency",
    data: PruningFrames | None = None,
    seed: int = 0,
    observe: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Switch gates off until at most ``target`` of the complex FFT's work is left.

    Args:
        transform: its hard gates are where pruning begins, and are replaced.
        target: share of operations, see `cost.compute_fraction`.
        method: one of `METHODS`.
        data: for ``saliency`` and ``subtree``.
        seed: of ``random``.
        observe: told the share that is left, now and then.

    Raises:
        SpeechError: a target outside of 0 ... 1, an unknown method, or no data where
            the method measures.
    """
    check_choice("pruning method", method, METHODS)
    if not 0 <= target <= 1:
        raise SpeechError(
            f"the target compute fraction is {target}, and must lie in 0 ... 1"
        )
    if method in ("saliency", "subtree"):
        if data is None:
            raise SpeechError(f"`{method}` tries gates on frames, and there are none")
        trial = _Trial(transform, data)
        if method == "saliency":
            _prune_greedily(transform, target, trial, observe)
        else:
            _prune_subtrees(transform, target, trial, observe)
        return
    if method == "random":
        draw = np.random.default_rng(seed)
        order = draw.permutation(transform.gates.size)
    else:
        order = np.argsort(-transform.off_margin(), axis=None, kind="stable")
        transform.set_gates(transform.likeliest_on())
    gates = transform.gates.reshape(-1).copy()
    for index in order:
        if _fraction(transform, gates) <= target:
            break
        gates[index] = OFF
    transform.set_gates(gates.reshape(transform.gates.shape))
    observe(_fraction(transform, gates))


def gate_losses(transform: TernaryRoutedFFT, data: PruningFrames) -> np.ndarray:
    """The loss with each gate switched off in turn, float32 [stages, n / 2].

    Raises:
        SpeechError: frames of another length.
    """
    return _Trial(transform, data).losses(transform.gates)


def _fraction(transform: TernaryRoutedFFT, gates: np.ndarray) -> float:
    operations = routed_operations(gates.reshape(transform.gates.shape), transform.mode)
    return operations / complex_fft_operations(transform.n)


def _prune_greedily(
    transform: TernaryRoutedFFT,
    target: float,
    trial: _Trial,
    observe: Callable[[float], None],
) -> None:
    gates = transform.gates.copy()
    removed = int((gates == OFF).sum())
    while (fraction := _fraction(transform, gates)) > target:
        observe(fraction)
        losses = trial.losses(gates)
        losses[gates == OFF] = np.inf
        # The more are off already, the less one more changes: several at a time.
        excess = (fraction - target) * gates.size
        count = max(1, min(removed // 16, int(np.ceil(excess))))
        for index in np.argsort(losses, axis=None)[:count]:
            gates.reshape(-1)[index] = OFF
            removed += 1
            if _fraction(transform, gates) <= target:
                break
    transform.set_gates(gates)


def _prune_subtrees(
    transform: TernaryRoutedFFT,
    target: float,
    trial: _Trial,
    observe: Callable[[float], None],
) -> None:
    """The largest sub-transforms that fit, each where it is missed least."""
    if transform.mode == "skip":
        raise SpeechError(
            "a sub-transform can be left out only if its outputs are taken for zero",
            "prune subtrees in the mode `drop`",
        )
    gates = transform.gates.copy()
    stages = range(len(gates))
    total = complex_fft_operations(transform.n)
    while (fraction := _fraction(transform, gates)) > target:
        observe(fraction)
        excess = (fraction - target) * total
        fitting = [stage for stage in stages if _subtree_operations(stage) <= excess]
        # When none that fits is left, the smallest one that does not.
        others = [stage for stage in stages if stage not in fitting]
        for stage in (*reversed(fitting), *others):
            best = _least_missed(transform, gates, stage, trial)
            if best is not None:
                gates = best
                break
    transform.set_gates(gates)


def _subtree_operations(stage: int) -> int:
    """Of a sub-transform whose outputs a stage merges, and of merging them."""
    span = 1 << stage
    return BUTTERFLY * (span + span // 2 * stage)


def _least_missed(
    transform: TernaryRoutedFFT, gates: np.ndarray, stage: int, trial: _Trial
) -> np.ndarray | None:
    """The gates without that group of a stage which costs least; None: all are off."""
    fraction = _fraction(transform, gates)
    found: list[tuple[float, np.ndarray]] = []
    groups = gates[stage].reshape(-1, 1 << stage)
    for group in np.flatnonzero((groups != OFF).any(axis=1)):
        tried = gates.copy()
        tried[stage].reshape(groups.shape)[group] = OFF
        # A dead branch saves nothing.
        if _fraction(transform, tried) < fraction:
            found.append((trial.loss(tried), tried))
    return min(found, key=lambda each: each[0])[1] if found else None


class _Trial:
    """The loss of gates on frames, and with each further gate switched off, at once."""

    def __init__(self, transform: TernaryRoutedFFT, data: PruningFrames) -> None:
        self._transform = transform
        n = transform.n
        if data.frames_fn.ndim != 2 or data.frames_fn.shape[1] != n:
            raise SpeechError(
                f"frames {list(data.frames_fn.shape)} do not fit {n} points",
                "give [frames, points]",
            )
        self._bins = n // 2 + 1
        self._filters = data.filters.astype(np.float32)
        self._floor = data.floor_f.astype(np.float32)[:, None]
        order = transform.permutation
        self._inputs = data.frames_fn.T[order].astype(np.complex64)
        exact = np.fft.rfft(data.frames_fn).astype(np.complex64)
        self._exact = exact.T
        self._energy = float((np.abs(exact) ** 2).sum())
        self._target = self._log_mel(np.abs(exact) ** 2)

    def loss(self, gates: np.ndarray) -> float:
        """Of these gates."""
        positions = self._inputs
        for stage, block in enumerate(self._transform.block_values(gates)):
            positions = _apply(block, positions, 1 << stage)
        spectrum = positions[: self._bins]
        return float(self._loss((spectrum - self._exact)[None])[0])

    def losses(self, gates: np.ndarray) -> np.ndarray:
        """Of these gates with one more switched off, float32 [stages, n / 2]."""
        blocks = self._transform.block_values(gates)
        off = self._transform.block_values(np.zeros_like(gates))
        before = [self._inputs]
        for stage, block in enumerate(blocks):
            before.append(_apply(block, before[-1], 1 << stage))
        error = before.pop()[: self._bins] - self._exact
        # What the later stages make of each position: [bins, positions].
        onward = np.eye(self._transform.n, dtype=np.complex64)[: self._bins]
        losses = np.empty(gates.shape, np.float32)
        for stage in reversed(range(len(gates))):
            first, second = _ends(self._transform.n, 1 << stage)
            inputs = np.stack([before[stage][first], before[stage][second]], axis=1)
            change = (off[stage] - blocks[stage]) @ inputs
            reach = np.stack([onward[:, first], onward[:, second]], axis=-1)
            moved = reach.transpose(1, 0, 2) @ change
            losses[stage] = self._loss(error + moved)
            inward = np.einsum("bcs,cst->bct", reach, blocks[stage])
            onward[:, first], onward[:, second] = inward[..., 0], inward[..., 1]
        return losses

    def _loss(self, error_cbf: np.ndarray) -> np.ndarray:
        """Of spectra that are off by [candidates, bins, frames]."""
        wrong = error_cbf.real**2 + error_cbf.imag**2
        spectrum = wrong.sum(axis=(1, 2)) / self._energy
        own = error_cbf + self._exact
        power = own.real**2 + own.imag**2
        mel = self._log_mel(power.transpose(0, 2, 1))
        difference = np.abs(mel - self._target).mean(axis=(1, 2))
        return MEL_WEIGHT * difference + SPECTRUM_WEIGHT * spectrum

    def _log_mel(self, power: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(power @ self._filters, self._floor))


def _ends(n: int, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the two inputs, and outputs, of each butterfly of a stage."""
    index = np.arange(n // 2)
    first = 2 * span * (index // span) + index % span
    return first, first + span


def _apply(block: np.ndarray, positions: np.ndarray, span: int) -> np.ndarray:
    first, second = _ends(len(positions), span)
    inputs = np.stack([positions[first], positions[second]], axis=1)
    outputs = block @ inputs
    result = np.empty_like(positions)
    result[first], result[second] = outputs[:, 0], outputs[:, 1]
    return result
