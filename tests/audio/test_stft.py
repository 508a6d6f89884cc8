"""STFT and inverse agree with torch in value and gradient, and undo each other."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.audio import istft, stft
from mlx_speech.audio.stft import (
    frame,
    overlap_add,
    pad_signal,
    real_fft,
    real_ifft,
    squared_magnitude,
)
from mlx_speech.errors import SpeechError

CASES = [(400, 160, 400, True), (128, 24, 100, True), (63, 17, 50, True)]
UNCENTRED = (96, 32, 96, False)


def key(n_fft, hop, win, center):
    return f"{n_fft}-{hop}-{win}-{int(center)}"


@pytest.fixture(scope="module")
def golden(goldens):
    return goldens("audio_stft")


@pytest.mark.parametrize("case", [*CASES, UNCENTRED])
def test_stft_and_its_gradient_agree_with_torch(case, golden, error, weights):
    n_fft, hop, win, center = case
    x = mx.array(golden["wave"].astype(np.float32) / 32768)

    def total(x):
        spectrum = stft(x, n_fft, hop, win, center=center)
        mixed = mx.real(spectrum) + 0.5 * mx.imag(spectrum)
        return (mixed * mx.array(weights(spectrum.shape))).sum()

    spectrum = stft(x, n_fft, hop, win, center=center)
    assert error(spectrum, golden[f"{key(*case)}/stft"]) < 1e-5
    assert error(mx.grad(total)(x), golden[f"{key(*case)}/stft_gradient"]) < 1e-4


@pytest.mark.parametrize("case", CASES)
def test_istft_and_its_gradient_agree_with_torch(case, golden, error, weights):
    n_fft, hop, win, _ = case
    reference = golden[f"{key(*case)}/stft"]
    changed = mx.array(reference * (1.0 + weights(reference.shape)))

    def total(re, im):
        y = istft(re + 1j * im, n_fft, hop, win, length=880)
        return (y * mx.array(weights(y.shape))).sum()

    y = istft(changed, n_fft, hop, win, length=880)
    assert error(y, golden[f"{key(*case)}/istft"]) < 1e-5
    d_re, d_im = mx.grad(total, argnums=(0, 1))(mx.real(changed), mx.imag(changed))
    gradient = np.asarray(d_re) + 1j * np.asarray(d_im)
    assert error(gradient, golden[f"{key(*case)}/istft_gradient"]) < 1e-4


@pytest.mark.parametrize("samples", [1000, 1001, 1279])
@pytest.mark.parametrize("case", CASES)
def test_istft_undoes_stft_on_any_batch(case, samples):
    n_fft, hop, win, _ = case
    x = mx.random.normal((2, 3, samples), key=mx.random.key(samples))
    y = istft(stft(x, n_fft, hop, win), n_fft, hop, win, length=samples)
    covered = (samples // hop) * hop
    assert y.shape == x.shape
    assert mx.abs(y - x)[..., :covered].max().item() < 1e-5


def test_uncentred_istft_undoes_stft_where_windows_reach():
    x = mx.random.normal((1600,), key=mx.random.key(1))
    y = istft(stft(x, 400, 100, center=False), 400, 100, center=False)
    assert y.shape == (1600,)
    assert mx.abs(y - x)[100:-100].max().item() < 1e-5


def test_istft_fills_up_to_the_requested_length():
    spectrum = stft(mx.ones(1000), 64, 16)
    y = istft(spectrum, 64, 16, length=2000)
    assert y.shape == (2000,)
    assert mx.abs(y[1100:]).max().item() == 0.0


@pytest.mark.parametrize(("length", "hop"), [(7, 3), (8, 4), (5, 5), (4, 6), (9, 1)])
def test_frames_and_overlap_add_are_transposes(length, hop):
    x = mx.random.normal((2, 40), key=mx.random.key(2))
    frames = frame(x, length, hop)
    n_frames = 1 + (40 - length) // hop
    expected = np.stack(
        [np.asarray(x)[:, t * hop : t * hop + length] for t in range(n_frames)], axis=1
    )
    np.testing.assert_array_equal(np.asarray(frames), expected)

    other = mx.random.normal(frames.shape, key=mx.random.key(3))
    gradient = mx.grad(lambda x: (frame(x, length, hop) * other).sum())(x)
    added = overlap_add(other, hop)
    np.testing.assert_allclose(gradient[:, : added.shape[1]], added, atol=1e-5)
    assert mx.abs(gradient[:, added.shape[1] :]).sum().item() == 0.0


@pytest.mark.parametrize("size", [8, 9, 400])
def test_real_fft_has_the_gradient_of_mlx_own(size):
    x = mx.random.normal((3, size), key=mx.random.key(4))
    c = mx.random.normal((3, size // 2 + 1, 2), key=mx.random.key(5))

    def total(transform):
        def run(x):
            spectrum = transform(x)
            parts = mx.real(spectrum) * c[..., 0] + mx.imag(spectrum) * c[..., 1]
            return parts.sum()

        return mx.grad(run)(x)

    np.testing.assert_allclose(total(real_fft), total(mx.fft.rfft), atol=2e-4)


@pytest.mark.parametrize("size", [8, 9, 400])
def test_real_ifft_has_the_gradient_of_mlx_own(size):
    parts = mx.random.normal((2, 3, size // 2 + 1), key=mx.random.key(7))
    c = mx.random.normal((3, size), key=mx.random.key(8))

    def gradient(transform):
        return mx.grad(lambda p: (transform(p[0] + 1j * p[1]) * c).sum())(parts)

    ours = gradient(lambda spectrum: real_ifft(spectrum, size))
    theirs = gradient(lambda spectrum: mx.fft.irfft(spectrum, n=size))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_squared_magnitude_is_differentiable_at_zero():
    x = mx.array([0.0, 0.0, 3.0, 4.0])
    total = mx.grad(lambda x: squared_magnitude(x[:2] + 1j * x[2:]).sum())
    np.testing.assert_allclose(total(x), 2 * x, atol=1e-6)
    total = mx.grad(lambda x: squared_magnitude(mx.fft.rfft(x)).sum())
    assert mx.abs(total(mx.zeros(8))).max().item() == 0.0


@pytest.mark.parametrize("samples", [1, 2, 5, 50])
def test_reflection_is_numpys_even_for_tiny_clips(samples):
    x = np.arange(1.0, samples + 1, dtype=np.float32)
    padded = pad_signal(mx.array(x), 7, 4)
    np.testing.assert_array_equal(padded, np.pad(x, (7, 4), mode="reflect"))


def test_a_given_transform_is_used_and_gets_its_gradient():
    bins = np.arange(17)[:, None] * np.arange(32)
    angle = 2 * np.pi * bins / 32
    x = mx.random.normal((200,), key=mx.random.key(6))

    def power(matrix):
        def transform(frames):
            return frames @ matrix[0].T - 1j * (frames @ matrix[1].T)

        return squared_magnitude(stft(x, 32, 8, rfft=transform))

    matrix = mx.array(np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32))
    np.testing.assert_allclose(
        power(matrix), squared_magnitude(stft(x, 32, 8)), rtol=1e-3, atol=1e-4
    )
    gradient = mx.grad(lambda matrix: power(matrix).sum())(matrix)
    assert mx.abs(gradient).max().item() > 1.0


def test_half_precision_is_computed_in_single():
    assert stft(mx.zeros(500, dtype=mx.float16), 64, 16).dtype == mx.complex64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stft(mx.zeros(0), 64, 16), "no samples"),
        (lambda: stft(mx.zeros(63), 64, 16, center=False), "63 samples"),
        (lambda: stft(mx.zeros(99), 64, 0), "positive"),
        (lambda: stft(mx.zeros(99), 64, 16, win_length=65), "win_length"),
        (lambda: stft(mx.zeros(99), 64, 16, window="tukey"), "tukey"),
        (lambda: stft(mx.zeros(99), 64, 16, pad_mode="wrap"), "wrap"),
        (lambda: istft(stft(mx.zeros(999), 64, 64), 64, 64), "leaves gaps"),
    ],
)
def test_impossible_requests_are_explained(call, message):
    with pytest.raises(SpeechError, match=message):
        call()
