"""The kernel against double precision, over presets, sizes, dtypes and schedules."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.emulate.oracle import mlx_text
from mlx_speech.metal_kernels.log_mel_plan import TEXT, log_mel_inputs, log_mel_launch

PRESETS = [
    ("whisper-80", mx.float32),
    ("whisper-128", mx.float16),
    ("whisper-80", mx.bfloat16),
    ("vits-22k", mx.float32),
    ("sovits-32k", mx.float32),
]
# Options of `small_case`: the smallest window, odd numbers of points, the largest.
SMALL = [
    {},
    {"n_fft": 30, "hop_length": 7, "power": 2, "log": "log10"},
    {"n_fft": 512, "hop_length": 128, "log": "log10", "n_frames": 2},
    {"n_fft": 480, "hop_length": 1, "power": 2, "bands": 3, "n_frames": 3},
    {"n_fft": 4096, "hop_length": 4096, "bands": 2, "n_frames": 1},
]


def label(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(map(str, value.values())) or "smallest"
    return str(value).rpartition(".")[2]


@pytest.mark.parametrize(("name", "dtype"), PRESETS, ids=label)
def test_presets_equal_double_precision(
    name: str, dtype: mx.Dtype, preset_case: Callable
) -> None:
    for seed in (0, 1):
        preset_case(name, dtype, seed).check(seed=seed)


@pytest.mark.parametrize("options", SMALL, ids=label)
def test_sizes_equal_double_precision(options: dict, small_case: Callable) -> None:
    for seed in (0, 1):
        small_case(**options, seed=seed).check(seed=seed)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=label)
@pytest.mark.parametrize("options", [*SMALL, "whisper-80", "vits-22k"], ids=label)
def test_text_is_what_mlx_compiles_and_what_metal_takes(
    options: dict | str, dtype: mx.Dtype, small_case: Callable, preset_case: Callable
) -> None:
    if isinstance(options, str):
        case = preset_case(options, dtype)
    else:
        case = small_case(**options, dtype=dtype)
    launch = log_mel_launch(case.samples, case.plan, case.n_frames)
    arrays = log_mel_inputs(case.samples, case.plan, case.n_frames)
    generated = emulate.prepare(TEXT, arrays, launch.output_dtypes, launch.template)
    inputs = [(array.shape, array.dtype) for array in arrays]
    shapes, dtypes = launch.output_shapes, launch.output_dtypes
    assert generated.text == mlx_text(TEXT, inputs, shapes, dtypes, launch.template)
    emulate.check_text(generated)
    assert launch.threadgroup_bytes <= 16 * 1024
    assert launch.threadgroup[0] <= 256 and launch.threadgroup[0] % 32 == 0


def test_silence_is_the_floor_and_not_a_number_stays_so(small_case: Callable) -> None:
    case = small_case(power=2)
    samples = np.zeros(case.samples.shape, np.float32)
    samples[1, 2] = np.nan
    logs = type(case)(case.plan, mx.array(samples), case.n_frames).found()
    assert np.all(logs[0] == np.log(np.float32(case.plan.floor)))
    assert np.all(np.isnan(logs[1, 0, :-1]))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_text_compiles_as_cuda_within_its_resources(preset_case: Callable) -> None:
    case = preset_case("whisper-80", mx.float32)
    launch = log_mel_launch(case.samples, case.plan, case.n_frames)
    arrays = log_mel_inputs(case.samples, case.plan, case.n_frames)
    generated = emulate.prepare(TEXT, arrays, launch.output_dtypes, launch.template)
    used = emulate.compile_cuda(generated)
    assert used.spilled_bytes == 0
    # A hint only: an Apple core has room for 128 registers of 256 threads.
    assert used.registers <= 128
