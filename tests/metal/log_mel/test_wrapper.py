"""The wrapper as users call it: through the choice, with gradients, from `audio`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio.mel import MelSpec
from mlx_speech.audio.mel import log_mel as audio_log_mel
from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.emulate import dropin
from mlx_speech.metal_kernels.log_mel import log_mel, log_mel_reference, self_check
from mlx_speech.metal_kernels.log_mel_plan import LogMelPlan, sparse_bands
from mlx_speech.metal_kernels.text import KernelText


@pytest.fixture(autouse=True)
def fresh_choices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels are used wherever they can be, and no earlier finding counts."""
    monkeypatch.setenv("MLX_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLX_SPEECH_KERNELS", "on")
    select.forget()


@pytest.mark.parametrize("options", [{}, {"power": 2, "log": "log10"}])
def test_gradient_is_that_of_finite_differences(
    options: dict, small_case: Callable
) -> None:
    case = small_case(n_frames=3, **options)
    cotangent = np.random.default_rng(2).standard_normal(case.logs().shape)

    def loss(x: mx.array) -> mx.array:
        return mx.sum(log_mel(x, case.plan, 3) * mx.array(cotangent.astype("f4")))

    with dropin() as launches:
        gradient = np.array(mx.grad(loss)(case.samples))
    assert launches.names == ["log_mel"] * 2
    samples = np.array(case.samples).astype(np.float64)
    for place in [(0, 1), (0, 9), (1, 4), (1, 20), (1, 28)]:
        moved = [samples.copy(), samples.copy()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        up, down = ((case.logs(each) * cotangent).sum() for each in moved)
        expected = (up - down) / 2e-6
        assert abs(gradient[place] - expected) < 1e-4 * np.abs(gradient).max()


def test_gradient_is_that_of_the_operations(small_case: Callable) -> None:
    case = small_case()

    def loss(compute: Callable) -> Callable:
        return mx.grad(lambda x: mx.sum(compute(x, case.plan, case.n_frames) ** 2))

    with dropin():
        found = np.array(loss(log_mel)(case.samples))
    expected = np.array(loss(log_mel_reference)(case.samples))
    # The cotangent holds the kernel's own values.
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["whisper-80", "vits-22k"])
def test_audio_computes_by_it(name: str) -> None:
    spec = MelSpec.preset(name)
    draw = np.random.default_rng(0)
    x = mx.array(0.1 * draw.standard_normal((2, 8 * spec.hop_length)).astype("f4"))
    with dropin() as launches:
        found = np.array(audio_log_mel(x, spec))
    assert launches.names == ["log_mel"] * 2
    assert found.shape == (2, spec.n_frames(x.shape[1]), spec.n_mels)
    np.testing.assert_allclose(found, np.array(audio_log_mel(x, spec)), atol=1e-5)


def test_windows_that_do_not_fit_are_computed_by_operations() -> None:
    for n_fft in (15, 14, 8192):
        plan = LogMelPlan(
            np.ones(n_fft),
            np.ones((n_fft // 2 + 1, 2)),
            4,
            power=2,
            eps=0.0,
            floor=1e-5,
            log="ln",
        )
        x = mx.array(np.random.default_rng(0).standard_normal((1, n_fft + 4)))
        with dropin() as launches:
            logs = np.array(log_mel(x.astype(mx.float32), plan, 2))
        assert launches.names == []
        frames = np.stack([np.array(x)[0, :n_fft], np.array(x)[0, 4:]])
        energy = (np.abs(np.fft.rfft(frames)) ** 2).sum(axis=1)
        np.testing.assert_allclose(logs[0, :, 0], np.log(energy), rtol=1e-5)


def test_self_check_passes_and_finds_a_wrong_kernel(small_case: Callable) -> None:
    plan = small_case().plan
    with dropin():
        assert self_check(mx.float32, plan) == ""

    def breaks(text: KernelText) -> KernelText:
        wrong = text.source.replace("float sum = 0.0f", "float sum = 1e-4f")
        return replace(text, source=wrong)

    with dropin(rewrite=breaks):
        assert "differ" in self_check(mx.float32, plan)


def test_bands_are_kept_from_first_to_last_bin() -> None:
    filters = np.array([[0, 1, 0], [2, 0, 0], [0, 3, 0], [4, 0, 0]], np.float32)
    starts, begins, numbers = sparse_bands(filters)
    assert starts.tolist() == [1, 0, 0]
    assert begins.tolist() == [0, 3, 6, 6]
    assert numbers.tolist() == [2, 0, 4, 1, 0, 3]
    assert sparse_bands(np.zeros((4, 2)))[2].tolist() == [0]


def test_wrong_arguments_are_explained(small_case: Callable) -> None:
    case = small_case()
    with pytest.raises(SpeechError, match="int16"):
        log_mel(case.samples.astype(mx.int16), case.plan, 1)
    with pytest.raises(SpeechError, match="too few for 100 frames of 16"):
        log_mel(case.samples, case.plan, 100)
    with pytest.raises(SpeechError, match="too few for 0 frames"):
        log_mel(case.samples, case.plan, 0)
    settings = {"power": 2, "eps": 0.0, "floor": 1e-5, "log": "ln"}
    with pytest.raises(SpeechError, match="do not fit a window"):
        LogMelPlan(np.ones(16), np.ones((8, 2)), 4, **settings)
    with pytest.raises(SpeechError, match="hop must be positive"):
        LogMelPlan(np.ones(16), np.ones((9, 2)), 0, **settings)
    with pytest.raises(SpeechError, match="power 1 or 2"):
        LogMelPlan(np.ones(16), np.ones((9, 2)), 4, **{**settings, "power": 3})
