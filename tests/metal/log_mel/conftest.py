"""Log-mel spectrograms in double precision, and launches of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio.mel import MelSpec, mel_filterbank
from mlx_speech.audio.stft import hann_window
from mlx_speech.metal_kernels import emulate
from mlx_speech.metal_kernels.butterfly_plan import flat_weights, split_weights
from mlx_speech.metal_kernels.launch import Launch
from mlx_speech.metal_kernels.log_mel_plan import (
    TEXT,
    LogMelPlan,
    geometry,
    log_mel_inputs,
    log_mel_launch,
)
from mlx_speech.metal_kernels.text import KernelText

# Of magnitudes in the bands, relative to the largest; of logarithms above the floor.
TOLERANCE = 5e-7
LOG_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """Samples and a plan, and what must come out."""

    plan: LogMelPlan
    samples: mx.array
    n_frames: int
    untied: bool = False

    @property
    def inputs(self) -> list[mx.array]:
        """Arrays of the launch; of an untied case, blocks are repeated."""
        arrays = log_mel_inputs(self.samples, self.plan, self.n_frames)
        if self.untied:
            butterfly = self.plan.butterfly
            assert butterfly is not None
            blocks = split_weights(arrays[2], butterfly, tied=True)
            arrays[2] = flat_weights(blocks, butterfly, tied=False)
        return arrays

    @property
    def launch(self) -> Launch:
        launch = log_mel_launch(self.samples, self.plan, self.n_frames)
        template = dict(launch.template) | {"TIED": not self.untied}
        return replace(launch, template=tuple(template.items()))

    def bands(self, samples: np.ndarray | None = None) -> np.ndarray:
        """Magnitudes in the bands, [batch, frames, bands], in double precision."""
        if samples is None:
            samples = np.array(self.samples.astype(mx.float32)).astype(np.float64)
        window = np.array(self.plan.window).astype(np.float64)
        starts = self.plan.hop_length * np.arange(self.n_frames)
        frames = samples[:, starts[:, None] + np.arange(self.plan.n_fft)] * window
        square = np.abs(np.fft.rfft(frames)) ** 2
        magnitude = np.sqrt(square + self.plan.eps) if self.plan.power == 1 else square
        return magnitude @ np.array(self.plan.filters).astype(np.float64)

    def logs(self, samples: np.ndarray | None = None) -> np.ndarray:
        """Their logarithms."""
        logs = np.log(np.maximum(self.bands(samples), self.plan.floor))
        return logs if self.plan.log == "ln" else logs / np.log(10)

    def found(self, text: KernelText = TEXT, **options: Any) -> np.ndarray:
        """Run the kernel, or a text in its place."""
        launch = self.launch
        return emulate.run(
            text,
            self.inputs,
            launch.grid,
            launch.threadgroup,
            launch.output_shapes,
            launch.output_dtypes,
            launch.template,
            **options,
        )[0]

    def check_text(self, text: KernelText = TEXT) -> None:
        """Fails where Metal would refuse a text in place of the kernel."""
        dtypes, template = self.launch.output_dtypes, self.launch.template
        emulate.check_text(emulate.prepare(text, self.inputs, dtypes, template))

    def check(self, text: KernelText = TEXT, **options: Any) -> None:
        """Fails unless the kernel gives the bands, and without a fault."""
        logs = self.found(text, **options).astype(np.float64)
        assert np.abs(logs - self.logs()).max() < LOG_TOLERANCE
        base = np.e if self.plan.log == "ln" else 10.0
        exact = np.maximum(self.bands(), self.plan.floor)
        # A float32 logarithm cannot say more of a number than this.
        spacing = np.spacing(np.abs(logs).astype(np.float32)) * exact * np.log(base)
        gap = np.maximum(np.abs(base**logs - exact) - spacing, 0.0)
        assert gap.max() / exact.max() < TOLERANCE


@pytest.fixture(scope="session")
def preset_case() -> Callable[..., Case]:
    """Make a case of one of the presets of `audio`: speech-like noise, two clips."""

    def make(name: str, dtype: mx.Dtype = mx.float32, seed: int = 0) -> Case:
        spec = MelSpec.preset(name)
        plan = LogMelPlan(
            hann_window(spec.n_fft, spec.win_length),
            np.array(mel_filterbank(spec)),
            spec.hop_length,
            power=spec.power,
            eps=spec.eps,
            floor=spec.floor,
            log=spec.log,
        )
        return _case(plan, dtype, seed)

    return make


@pytest.fixture(scope="session")
def small_case() -> Callable[..., Case]:
    """Make a case of a window of any even size, with wide and empty bands."""

    def make(
        n_fft: int = 16,
        hop_length: int = 5,
        power: int = 1,
        log: str = "ln",
        dtype: mx.Dtype = mx.float32,
        n_frames: int | None = None,
        bands: int = 9,
        floor: float = 1e-4,
        seed: int = 0,
        untied: bool = False,
    ) -> Case:
        draw = np.random.default_rng(seed)
        bins = n_fft // 2 + 1
        filters = np.zeros((bins, bands))
        for band in range(bands - 1):
            first = band * bins // bands
            filters[first : first + 1 + bins // 2, band] = 0.1 + draw.random(
                len(filters[first : first + 1 + bins // 2])
            )
        # The last but one band reaches both ends; the last one is empty.
        filters[:, -2] = 1.0
        plan = LogMelPlan(
            0.2 + draw.random(n_fft),
            filters,
            hop_length,
            power=power,
            eps=1e-3,
            floor=floor,
            log=log,
        )
        return replace(_case(plan, dtype, seed, n_frames), untied=untied)

    return make


def _case(
    plan: LogMelPlan, dtype: mx.Dtype, seed: int, n_frames: int | None = None
) -> Case:
    assert plan.butterfly is not None
    if n_frames is None:
        # Two rows of so many leave a threadgroup that is not full.
        n_frames = geometry(plan.butterfly.points)[0] // 2 + 2
    # A few samples more than the frames need.
    length = (n_frames - 1) * plan.hop_length + plan.n_fft + 3
    draw = np.random.default_rng(seed)
    samples = 0.1 * draw.standard_normal((2, length))
    samples[1] += np.sin(0.3 * np.arange(length))
    array = mx.array(samples.astype(np.float32)).astype(dtype)
    mx.eval(array, plan.tables)
    return Case(plan, array, n_frames)
