"""Processor time of butterflies, and of the gradient of their gates."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_speech.butterfly.gates import Relaxation, TernaryRoutedFFT
from mlx_speech.butterfly.transform import ButterflyTransform

# What rlx-fft evaluates for one step of its gates: 32 gates, 3 logits, two sides.
FINITE_DIFFERENCES = 2 * 3 * 32


def transform_times(
    transform: ButterflyTransform,
    frames: int,
    repeats: int = 5,
    fused: Callable[[mx.array], mx.array] | None = None,
) -> tuple[float, float]:
    """Processor seconds of a transform and of MLX's own, the best of several runs.

    Args:
        transform: complex or real, forward or inverse.
        frames: signals per run.
        repeats: runs of each, in turns, after one that is not counted.
        fused: timed in place of the transform.
    """
    own = transform.bins if transform.inverse else transform.n
    x = mx.random.normal((frames, own), key=mx.random.key(0))
    if not transform.real or transform.inverse:
        x = x.astype(mx.complex64)
    name = ("i" if transform.inverse else "") + ("r" if transform.real else "") + "fft"
    native = partial(getattr(mx.fft, name), n=transform.n, norm=transform.norm)
    functions: list[Callable[[mx.array], mx.array]] = [
        # A module without parameters is an empty dictionary, and so false.
        transform if fused is None else fused,
        native,
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for taken, function in zip(seconds, functions, strict=True):
            started = time.process_time()
            mx.eval(function(x))
            taken.append(time.process_time() - started)
    return min(seconds[0][1:]), min(seconds[1][1:])


def gate_gradient_seconds(n: int = 128, frames: int = 256) -> tuple[float, float]:
    """Processor seconds of the gradient of all gates, and of rlx-fft's 32 of them.

    Returns:
        (one backward pass, the finite differences of one of its steps): the same loss
        of the same frames through the same soft mixture.
    """
    transform = TernaryRoutedFFT(n)
    transform.relaxation = Relaxation("soft", 0.85)
    transform.freeze(keys=["twiddles"], recurse=False)
    x = mx.random.normal((frames, n), key=mx.random.key(0))
    target = mx.abs(mx.fft.rfft(x))
    mx.eval(x, target)

    def loss(model: TernaryRoutedFFT) -> mx.array:
        return mx.mean(mx.abs(mx.abs(model(x)[:, : n // 2 + 1]) - target))

    value_and_grad = nn.value_and_grad(transform, loss)
    mx.eval(value_and_grad(transform))
    taken = []
    for _ in range(3):
        started = time.process_time()
        mx.eval(value_and_grad(transform))
        taken.append(time.process_time() - started)
    draw = np.random.default_rng(0)
    started = time.process_time()
    for _ in range(FINITE_DIFFERENCES // 2):
        stage = int(draw.integers(len(transform.logits)))
        kept = transform.logits[stage]
        moved = np.zeros(kept.shape, np.float32)
        moved.reshape(-1)[draw.integers(moved.size)] = 5e-3
        for side in (1, -1):
            transform.logits[stage] = kept + side * mx.array(moved)
            mx.eval(loss(transform))
        transform.logits[stage] = kept
    return min(taken), time.process_time() - started
