"""Costs of butterflies and log-mel spectrograms, by kernel and by MLX operations."""

from __future__ import annotations

from math import log2, prod, sqrt

from mlx_speech.metal_kernels import butterfly_launch, log_mel_plan
from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan
from mlx_speech.metal_kernels.cost import Cost
from mlx_speech.metal_kernels.log_mel_plan import LogMelPlan

_COMPLEX = 8


def butterfly_costs(plan: ButterflyPlan, batch: int, tied: bool) -> list[Cost]:
    """Values of a butterfly of complex rows: the kernel and its rivals.

    The rivals are the stages as MLX operations; the same linear map as two stages of
    large blocks (Monarch), which matrix products like, but which has more weights to
    learn; and `mx.fft`, which computes nothing but the exact transform.
    """
    numbers = plan.points * batch
    weights = _COMPLEX * _weights(plan, tied)
    frames, _ = butterfly_launch.geometry(plan.points)
    groups = -(-batch // frames)
    fused = Cost(
        "fused kernel",
        2 * _COMPLEX * numbers + weights,
        _stage_flops(plan.radices) * numbers,
        launches=1,
        cache_bytes=groups * weights,
        threadgroup_bytes=2 * _COMPLEX * numbers * (len(plan.steps) + 1),
    )
    half = round(sqrt(plan.points))
    while plan.points % half:
        half -= 1
    blocks = (half, plan.points // half)
    return [
        fused,
        _by_operations("MLX operations", plan.radices, numbers, weights),
        _by_operations(
            "two block products", blocks, numbers, _COMPLEX * sum(blocks) * plan.points
        ),
        _fft("mx.fft (exact transform only)", plan.points, batch, _COMPLEX, _COMPLEX),
    ]


def butterfly_backward_costs(plan: ButterflyPlan, batch: int, tied: bool) -> list[Cost]:
    """Gradients of a butterfly of complex rows: the kernel and MLX operations."""
    numbers = plan.points * batch
    weights = _COMPLEX * _weights(plan, tied)
    sums = _COMPLEX * _weights(plan, tied=False)
    frames, threads = butterfly_launch.geometry(plan.points, backward=True)
    rounds = -(-batch // frames)
    groups = min(rounds, butterfly_launch.BACKWARD_THREADS // threads)
    # Stages again, cotangents through the transposed blocks, products with the inputs.
    flops = 3 * _stage_flops(plan.radices) * numbers
    fused = Cost(
        "fused kernel, sum",
        3 * _COMPLEX * numbers + 2 * groups * sums + weights,
        flops,
        launches=2 if not tied else 2 + len(plan.radices) + 1,
        cache_bytes=rounds * (2 * weights + 2 * sums)
        + 2 * _COMPLEX * numbers * len(plan.steps),
        threadgroup_bytes=2 * _COMPLEX * numbers * (2 * len(plan.steps) + 2),
    )
    # Per stage: two products, each reading two arrays and writing one, and three copies
    # that put axes back; at both ends a permutation and a scaling.
    stages = len(plan.radices)
    operations = Cost(
        "MLX operations",
        _COMPLEX * numbers * (10 * stages + 8) + stages * weights,
        2 * _stage_flops(plan.radices) * numbers,
        launches=5 * stages + 4,
    )
    return [fused, operations]


def log_mel_costs(plan: LogMelPlan, n_frames: int, numbers: int) -> list[Cost]:
    """Log-mel of one recording: the kernel and the chain of MLX operations.

    Args:
        plan: one that the kernel takes.
        n_frames: of the recording.
        numbers: weights of all bands that are not 0.
    """
    assert plan.butterfly is not None
    points, bins = plan.butterfly.points, plan.n_fft // 2 + 1
    weights = _COMPLEX * _weights(plan.butterfly, tied=True)
    frames, _ = log_mel_plan.geometry(points)
    groups = -(-n_frames // frames)
    samples, result = 4 * n_frames * plan.hop_length, 4 * n_frames * plan.bands
    fft = _stage_flops(plan.butterfly.radices) * points
    fused = Cost(
        "fused kernel",
        samples + result,
        n_frames * (plan.n_fft + fft + 18 * bins + 2 * numbers + plan.bands),
        launches=1,
        cache_bytes=groups * (weights + 2 * _COMPLEX * bins)
        + 4 * n_frames * (2 * plan.n_fft + 2 * numbers),
        threadgroup_bytes=n_frames
        * (2 * _COMPLEX * points * (len(plan.butterfly.steps) + 2) + 4 * numbers),
    )
    framed, spectrum, power = 4 * plan.n_fft, _COMPLEX * bins, 4 * bins
    # Frames, window, FFT, squares, their sum, bands, floor, logarithm.
    moved = 2 * framed + 2 * framed + (framed + spectrum)
    moved += 2 * spectrum + (spectrum + power)
    moved += (power + 4 * plan.bands) + 4 * (4 * plan.bands)
    chain = Cost(
        "MLX operations",
        n_frames * moved,
        n_frames * (2.5 * plan.n_fft * log2(plan.n_fft) + 2 * bins * plan.bands),
        launches=8,
    )
    return [fused, chain]


def _weights(plan: ButterflyPlan, tied: bool) -> int:
    stages = range(len(plan.radices))
    return sum(prod(plan.block_shape(stage, tied)) for stage in stages)


def _stage_flops(radices: tuple[int, ...]) -> int:
    """Per point: radix complex products and one sum fewer, in every stage."""
    return sum(8 * radix - 2 for radix in radices)


def _by_operations(
    name: str, radices: tuple[int, ...], numbers: int, weights: float
) -> Cost:
    # Per stage a product (read, write) and a copy that puts the axes back; once each a
    # permutation, a scaling and a transposition.
    stages = len(radices)
    return Cost(
        name,
        _COMPLEX * numbers * (4 * stages + 6) + weights,
        _stage_flops(radices) * numbers,
        launches=2 * stages + 3,
    )


def _fft(name: str, points: int, batch: int, read: int, written: int) -> Cost:
    return Cost(
        name,
        (read + written) * points * batch,
        5 * log2(points) * points * batch,
        launches=1,
    )
