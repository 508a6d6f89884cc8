"""What to verify about log-mel spectrograms: sizes, options, dtypes, real lengths."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from mlx_speech.metal_kernels.cases import KernelCase, on_cpu
from mlx_speech.metal_kernels.log_mel import (
    TOLERANCE,
    draw_samples,
    log_mel_by_kernel,
    log_mel_reference,
    magnitudes,
    magnitudes_of,
    variant_name,
)
from mlx_speech.metal_kernels.log_mel_plan import TEXT, LogMelPlan, geometry

# n_fft, hop, bands, power, logarithm: Whisper's, those of VITS, the smallest, odd ones.
_SIZES = (
    (400, 160, 80, 2, "log10"),
    (1024, 256, 80, 1, "ln"),
    (2048, 640, 128, 1, "ln"),
    (512, 128, 40, 2, "ln"),
    (16, 5, 9, 1, "ln"),
    (90, 7, 12, 2, "log10"),
)
_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
# 30 s of Whisper's frames.
_FRAMES = 3000


def verification_cases() -> Iterator[KernelCase]:
    """Small cases of every variant, then the first two at their real length."""
    for index, sizes in enumerate(_SIZES):
        for dtype in _DTYPES if index == 0 else (mx.float32,):
            yield _case(sizes, dtype)
    for sizes in _SIZES[:2]:
        yield _case(sizes, mx.float32, _FRAMES)


def _case(
    sizes: tuple[int, int, int, int, str], dtype: mx.Dtype, n_frames: int = 0
) -> KernelCase:
    n_fft, hop_length, bands, power, log = sizes
    plan = LogMelPlan(
        0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft),
        _triangles(n_fft // 2 + 1, bands),
        hop_length,
        power=power,
        eps=1e-6,
        floor=1e-10,
        log=log,
    )
    timed = n_frames > 0
    if not timed:
        assert plan.butterfly is not None
        # One frame more than a threadgroup takes.
        n_frames = geometry(plan.butterfly.points)[0] + 1
    x = draw_samples(1, n_frames, dtype, plan)

    return KernelCase(
        TEXT.name,
        variant_name(x, plan),
        f"{n_frames} frames, {bands} bands",
        "values",
        TOLERANCE,
        lambda: [magnitudes_of(log_mel_by_kernel(plan, n_frames)(x), plan)],
        on_cpu(lambda: [magnitudes_of(log_mel_reference(x, plan, n_frames), plan)]),
        {
            "MLX operations": lambda: [log_mel_reference(x, plan, n_frames)],
            "up to the magnitudes": lambda: [magnitudes(x, plan)],
        }
        if timed
        else {},
    )


def _triangles(bins: int, bands: int) -> np.ndarray:
    """Overlapping triangles, narrow ones first, over all bins."""
    edges = (bins - 1) * np.linspace(0.0, 1.0, bands + 2) ** 2
    places = np.arange(bins)[:, None]
    rising = (places - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - places) / np.diff(edges)[1:]
    return np.maximum(0.0, np.minimum(rising, falling))
