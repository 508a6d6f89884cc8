"""Log-mel spectrograms of padded samples: from samples to the logarithm in one call.

``log_mel_reference`` says in MLX operations what it means (as `magnitudes` and
`log_bands`, which `audio` also uses one by one); ``log_mel`` computes it by
``log_mel.metal`` where `select` finds that kernel right and faster. Gradients are those
of the reference. Clipping to a range below the peak is not part of it: that needs all
frames.

Resources: 32 to 256 threads, threadgroup memory 4 bytes a sample and at most 16 KiB.
Status: text-checked and CPU-emulated (Linux, x86-64); not CUDA-run, not Mac-run.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.choices import KernelKey, Timing
from mlx_speech.metal_kernels.launch import digest, dtype_name
from mlx_speech.metal_kernels.log_mel_plan import (
    TEXT,
    LogMelPlan,
    geometry,
    kernel_takes,
    log_mel_inputs,
    log_mel_launch,
)
from mlx_speech.metal_kernels.spectrum import (
    Transform,
    frame,
    real_fft,
    squared_magnitude,
)

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
# Of magnitudes in the bands, relative to the largest: against double precision, 1e-7 to
# 4e-7 is seen on either side.
TOLERANCE = 2e-6


def magnitudes(x: mx.array, plan: LogMelPlan, rfft: Transform = real_fft) -> mx.array:
    """Magnitude (or power, as ``plan.power`` says) of each frame.

    Args:
        x: [..., length] float, with its padding; computed in float32.
        plan: the description.
        rfft: the transform, [..., n_fft] real -> [..., n_fft // 2 + 1] complex64.

    Returns:
        float32 [..., frames, n_fft // 2 + 1].

    Raises:
        SpeechError: fewer samples than one frame needs.
    """
    frames = frame(x.astype(mx.float32), plan.n_fft, plan.hop_length)
    power = squared_magnitude(rfft(frames * plan.window))
    return power if plan.power == 2 else mx.sqrt(power + plan.eps)


def log_bands(
    magnitude: mx.array, plan: LogMelPlan, filters: mx.array | None = None
) -> mx.array:
    """The floored logarithm of the bands: [..., frames, bins] -> [..., frames, bands].

    Args:
        magnitude: of each frame, as `magnitudes` gives it.
        plan: the description.
        filters: [bins, bands] in place of the plan's.
    """
    bands = magnitude @ (plan.filters if filters is None else filters)
    bands = mx.maximum(bands, plan.floor)
    return mx.log(bands) if plan.log == "ln" else mx.log10(bands)


def log_mel_reference(x: mx.array, plan: LogMelPlan, n_frames: int) -> mx.array:
    """The meaning of `log_mel`, in MLX operations; arguments and result as there."""
    # No more is framed than the frames need.
    needed = (n_frames - 1) * plan.hop_length + plan.n_fft
    return log_bands(magnitudes(x[..., :needed], plan), plan)


def log_mel(x: mx.array, plan: LogMelPlan, n_frames: int) -> mx.array:
    """Log-mel of the first frames of padded samples; differentiable in x.

    Args:
        x: [..., length], float32, float16 or bfloat16.
        plan: the description.
        n_frames: how many, at most 1 + (length - n_fft) // hop_length.

    Returns:
        float32 [..., n_frames, bands].

    Raises:
        SpeechError: another dtype, no frame, or fewer samples than the frames need.
    """
    _check(x, plan, n_frames)
    if select.kernels_are_possible() and kernel_takes(x, plan, n_frames):
        rows = x.reshape(-1, x.shape[-1])
        if _is_chosen(rows, plan, n_frames):
            logs = log_mel_by_kernel(plan, n_frames)(rows)
            return cast(mx.array, logs).reshape(*x.shape[:-1], n_frames, plan.bands)
    return log_mel_reference(x, plan, n_frames)


@functools.lru_cache(maxsize=128)
def log_mel_by_kernel(plan: LogMelPlan, n_frames: int) -> Any:
    """The same by ``log_mel.metal``, whatever ``select.py`` would choose.

    Returns:
        A differentiable function of rows [batch, length], such as ``kernel_takes``.
    """

    @mx.custom_function
    def forward(x: mx.array) -> mx.array:
        launch = log_mel_launch(x, plan, n_frames)
        return launch(TEXT, log_mel_inputs(x, plan, n_frames))[0]

    @forward.vjp
    def gradient(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        def reference(x: mx.array) -> mx.array:
            return log_mel_reference(x, plan, n_frames)

        # What the reference gives is not evaluated: only its gradient is asked for.
        return mx.vjp(reference, [x], [cotangent])[1][0]

    return forward


def self_check(dtype: mx.Dtype, plan: LogMelPlan) -> str:
    """Compare the kernel with MLX operations on a few frames; what differs, or "".

    Args:
        dtype: of the samples.
        plan: what the kernel is compiled for.
    """
    assert plan.butterfly is not None
    # One frame more than a threadgroup takes: the last one is not full.
    n_frames = geometry(plan.butterfly.points)[0] + 1
    x = draw_samples(1, n_frames, dtype, plan)
    found = magnitudes_of(log_mel_by_kernel(plan, n_frames)(x), plan)
    mx.eval(found)
    with mx.stream(mx.cpu):
        expected = magnitudes_of(log_mel_reference(x, plan, n_frames), plan)
        mx.eval(expected)
    return select.difference([found], [expected], TOLERANCE)


def magnitudes_of(logs: mx.array, plan: LogMelPlan) -> mx.array:
    """Undo the logarithm: what kernels are compared by."""
    return mx.exp(logs if plan.log == "ln" else logs * float(np.log(10.0)))


def variant_name(x: mx.array, plan: LogMelPlan) -> str:
    """What the kernel is compiled for, in words."""
    words = f"{plan.n_fft} hop {plan.hop_length} power {plan.power} {plan.log}"
    return f"{dtype_name(x.dtype)} {words}"


def _is_chosen(x: mx.array, plan: LogMelPlan, n_frames: int) -> bool:
    # One timing for all numbers of frames up to the next power of two.
    frames = 1 << (x.shape[0] * n_frames - 1).bit_length()
    shape = (frames, plan.n_fft, plan.bands)
    key = KernelKey(TEXT.name, variant_name(x, plan), shape, digest(TEXT))
    return select.use_kernel(
        key,
        functools.partial(self_check, x.dtype, plan),
        functools.partial(_timing, frames, x.dtype, plan),
    )


def _timing(n_frames: int, dtype: mx.Dtype, plan: LogMelPlan) -> Timing:
    x = draw_samples(1, n_frames, dtype, plan)
    mx.eval(x)
    return select.time_both(
        lambda: log_mel_by_kernel(plan, n_frames)(x),
        lambda: log_mel_reference(x, plan, n_frames),
    )


def draw_samples(
    batch: int, n_frames: int, dtype: mx.Dtype, plan: LogMelPlan
) -> mx.array:
    """Noise of so many frames, [batch, length]."""
    length = (n_frames - 1) * plan.hop_length + plan.n_fft
    draw = np.random.default_rng(0)
    return mx.array(draw.standard_normal((batch, length)).astype("f4")).astype(dtype)


def _check(x: mx.array, plan: LogMelPlan, n_frames: int) -> None:
    if x.dtype not in DTYPES:
        raise SpeechError(
            f"a log-mel spectrogram does not take {dtype_name(x.dtype)} samples",
            "convert them to float32, float16 or bfloat16",
        )
    length = x.shape[-1] if x.ndim else 0
    needed = (n_frames - 1) * plan.hop_length + plan.n_fft
    if n_frames < 1 or length < needed:
        raise SpeechError(
            f"{length} samples are too few for {n_frames} frames of {plan.n_fft} with "
            f"a hop of {plan.hop_length}",
            f"give {needed} samples or more, and ask for 1 frame or more",
        )
