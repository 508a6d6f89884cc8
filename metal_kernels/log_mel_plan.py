"""What is fixed about a log-mel spectrogram, in the forms of MLX and of the kernel."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.butterfly_launch import (
    MAX_THREADS,
    fits_kernel,
    stage_template,
)
from mlx_speech.metal_kernels.butterfly_plan import ButterflyPlan
from mlx_speech.metal_kernels.launch import Launch
from mlx_speech.metal_kernels.text import load_text
from mlx_speech.metal_kernels.twiddles import (
    digit_reversal,
    exact_stages,
    exact_untangling,
)

TEXT = load_text("log_mel")
LOGS = ("ln", "log10")

# Points of a threadgroup while more than one frame is in it.
_GROUP_POINTS = 1024
_MAX_FRAMES = 8
_MAX_NUMBERS = 2**31 - 1


class LogMelPlan:
    """Window, hop, magnitude, bands and logarithm.

    Args:
        window: float [n_fft].
        filters: float [n_fft // 2 + 1, bands].
        hop_length: samples from one frame to the next.
        power: 1 for magnitudes sqrt(re^2 + im^2 + eps), 2 for re^2 + im^2.
        eps: see ``power``.
        floor: smallest value of a band before the logarithm.
        log: "ln" or "log10".

    Attributes:
        window, filters: as given, float32 arrays of MLX.
        n_fft, bands: sizes.

    Raises:
        SpeechError: sizes that do not fit each other, another power or logarithm.
    """

    def __init__(
        self,
        window: np.ndarray,
        filters: np.ndarray,
        hop_length: int,
        *,
        power: int,
        eps: float,
        floor: float,
        log: str,
    ) -> None:
        if window.ndim != 1 or filters.shape[0] != len(window) // 2 + 1:
            raise SpeechError(
                f"filters {list(filters.shape)} do not fit a window "
                f"{list(window.shape)}",
                "give filters [window // 2 + 1, bands]",
            )
        if hop_length < 1:
            raise SpeechError(f"the hop must be positive, not {hop_length}")
        if power not in (1, 2) or log not in LOGS:
            raise SpeechError(
                f"a log-mel has power 1 or 2 and log `ln` or `log10`, not {power} and "
                f"`{log}`"
            )
        self.n_fft = len(window)
        self.bands = filters.shape[1]
        self.hop_length = hop_length
        self.power = power
        self.eps = eps
        self.floor = floor
        self.log = log
        self.window = mx.array(window.astype(np.float32))
        self.filters = mx.array(filters.astype(np.float32))

    @functools.cached_property
    def butterfly(self) -> ButterflyPlan | None:
        """The butterfly of half the points; None when the kernel cannot take any."""
        if self.n_fft % 2:
            return None
        rest, radices = self.n_fft // 2, []
        # Pairs of 2s become steps: less arithmetic and fewer numbers than 4s.
        for radix in (2, 3, 5):
            while rest % radix == 0:
                radices.append(radix)
                rest //= radix
        if rest > 1 or not radices:
            return None
        plan = ButterflyPlan(radices, digit_reversal(radices))
        return plan if fits_kernel(plan) else None

    @functools.cached_property
    def tables(self) -> tuple[mx.array, ...]:
        """What ``log_mel.metal`` reads besides samples and frame count."""
        assert self.butterfly is not None
        radices = self.butterfly.radices
        # The kernel does not scale: the blocks are those of the plain DFT.
        blocks = [
            (stage * radix**0.5).reshape(-1)
            for stage, radix in zip(exact_stages(radices), radices, strict=True)
        ]
        complex_tables = [np.concatenate(blocks), exact_untangling(self.n_fft)]
        weights, untangling = (mx.array(t.astype(np.complex64)) for t in complex_tables)
        bands = [mx.array(table) for table in sparse_bands(np.array(self.filters))]
        limits = mx.array([self.eps, self.floor], dtype=mx.float32)
        place = self.butterfly.place
        return self.window, weights, place, untangling, *bands, limits


def sparse_bands(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bins of each band that count: first bins, where numbers begin, the numbers.

    Args:
        filters: [bins, bands].

    Returns:
        int32 [bands], int32 [bands + 1], float32 [numbers] (one 0 if there are none).
    """
    starts, begins, numbers = [], [0], []
    for band in filters.T:
        used = np.flatnonzero(band)
        first, stop = (used[0], used[-1] + 1) if len(used) else (0, 0)
        starts.append(first)
        numbers.extend(band[first:stop])
        begins.append(len(numbers))
    return (
        np.array(starts, np.int32),
        np.array(begins, np.int32),
        np.array(numbers or [0.0], np.float32),
    )


def kernel_takes(samples: mx.array, plan: LogMelPlan, n_frames: int) -> bool:
    """Whether the kernel can compute so many frames of samples [..., length]."""
    return plan.butterfly is not None and (
        0 < samples.size <= _MAX_NUMBERS
        and n_frames * plan.bands * samples.size // samples.shape[-1] > 0
        and samples.size // samples.shape[-1] * n_frames * plan.bands <= _MAX_NUMBERS
    )


def geometry(points: int) -> tuple[int, int]:
    """Frames that a threadgroup takes, and its threads."""
    frames = max(1, min(_MAX_FRAMES, _GROUP_POINTS // points))
    threads = min(MAX_THREADS, max(32, -(-points * frames // 4 // 32) * 32))
    return frames, threads


def log_mel_launch(samples: mx.array, plan: LogMelPlan, n_frames: int) -> Launch:
    """How ``log_mel.metal`` is launched on samples [batch, length]."""
    assert plan.butterfly is not None
    points = plan.butterfly.points
    frames, threads = geometry(points)
    groups = -(-samples.shape[0] * n_frames // frames)
    template: list[tuple[str, Any]] = [
        *stage_template(plan.butterfly),
        ("TIED", True),
        ("FRAMES", frames),
        ("THREADS", threads),
        ("HOP", plan.hop_length),
        ("POWER", plan.power),
        ("TEN", plan.log == "log10"),
    ]
    return Launch(
        grid=(threads * groups, 1, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=((samples.shape[0], n_frames, plan.bands),),
        output_dtypes=(mx.float32,),
        template=tuple(template),
        threadgroup_bytes=8 * frames * points,
    )


def log_mel_inputs(
    samples: mx.array, plan: LogMelPlan, n_frames: int
) -> list[mx.array]:
    """The arrays of that launch."""
    *tables, limits = plan.tables
    return [samples, *tables, mx.array([n_frames], dtype=mx.int32), limits]
