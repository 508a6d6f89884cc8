"""ButterflyFFT against numpy.fft, in all its kinds."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly import ButterflyFFT, MonarchFFT
from mlx_speech.butterfly.transform import count_parameters
from mlx_speech.errors import SpeechError

SIZES = (64, 128, 256, 512, 1024, 2048, 400, 480, 960)


def complex_noise(*shape: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal(shape) + 1j * draw.standard_normal(shape)
    return noise.astype(np.complex64)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("parameterization", ["full", "phase"])
def test_dft_init_is_exact_to_rounding(n: int, parameterization: str) -> None:
    for real in (False, True) if n < 2048 else (False,):
        transform = ButterflyFFT(
            n, parameterization=parameterization, tied=True, real=real
        )
        error = transform.error()
        assert error.relative < 3e-7
        assert error.largest < 3e-7


@pytest.mark.parametrize("real", [False, True])
def test_haar_init_is_nothing_like_the_dft(real: bool) -> None:
    assert ButterflyFFT(64, init="haar", real=real).error().relative > 1


def test_unitary_blocks_by_angles_are_exact_to_the_rounding_of_angles() -> None:
    assert ButterflyFFT(256, parameterization="unitary").error().relative < 3e-7
    drawn = ButterflyFFT(64, parameterization="unitary", init="haar")
    for blocks in drawn.blocks():
        gram = blocks @ blocks.conj().swapaxes(-1, -2)
        assert np.abs(gram - np.eye(2)).max() < 1e-6


@pytest.mark.parametrize("norm", ["backward", "ortho"])
@pytest.mark.parametrize("n", [60, 64])
def test_every_direction_equals_numpy(n: int, norm: str) -> None:
    spectrum, signal = complex_noise(2, 3, n), complex_noise(2, 3, n, seed=1).real
    half = spectrum[..., : n // 2 + 1]
    for real, inverse, x, expected in [
        (False, False, spectrum, np.fft.fft(spectrum, norm=norm)),
        (False, True, spectrum, np.fft.ifft(spectrum, norm=norm)),
        (True, False, signal, np.fft.rfft(signal, norm=norm)),
        (True, True, half, np.fft.irfft(half, n, norm=norm)),
    ]:
        transform = ButterflyFFT(n, real=real, inverse=inverse, norm=norm)
        y = transform(mx.array(x))
        assert y.dtype == (mx.float32 if real and inverse else mx.complex64)
        np.testing.assert_allclose(np.array(y), expected, atol=3e-5, rtol=1e-5)


def test_forward_and_inverse_cancel() -> None:
    x = mx.array(complex_noise(4, 400).real)
    back = ButterflyFFT(400, real=True, inverse=True)(ButterflyFFT(400, real=True)(x))
    assert mx.max(mx.abs(back - x)).item() < 1e-5


@pytest.mark.parametrize(
    "radices", [(2, 3, 4, 5), (5, 4, 3, 2), (8, 15), (120,), (3, 5, 8)]
)
def test_any_factorisation_is_the_same_transform(radices: tuple[int, ...]) -> None:
    transform = ButterflyFFT(120, radices)
    np.testing.assert_allclose(
        transform.matrix(), np.fft.fft(np.eye(120)), atol=2e-5, rtol=0
    )


def test_matrix_has_the_bins_as_rows() -> None:
    matrix = ButterflyFFT(16, init="haar").matrix()
    x = complex_noise(16)
    transform = ButterflyFFT(16, init="haar")
    np.testing.assert_allclose(
        matrix @ x, np.array(transform(mx.array(x))), atol=2e-5, rtol=0
    )
    assert matrix.shape == (16, 16) and matrix.dtype == np.complex64
    assert ButterflyFFT(16, real=True).matrix().shape == (9, 16)


def test_monarch_has_two_stages() -> None:
    monarch = MonarchFFT(1024, real=True)
    assert monarch.radices == (16, 32)
    assert monarch.error().relative < 3e-7


def test_tied_phases_are_as_few_as_the_points() -> None:
    transform = ButterflyFFT(400, parameterization="phase", tied=True)
    assert count_parameters(transform) == 399


def test_gradients_reach_every_parameter() -> None:
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    x = mx.array(complex_noise(4, 32).real)
    target = mx.array(np.fft.rfft(np.array(x)).astype(np.complex64))
    for parameterization in ("full", "unitary", "phase"):
        transform = ButterflyFFT(
            32, parameterization=parameterization, init="haar", real=True
        )

        def loss(
            transform: ButterflyFFT, x: mx.array = x, target: mx.array = target
        ) -> mx.array:
            return mx.sum(mx.abs(transform(x) - target) ** 2)

        _, gradients = nn.value_and_grad(transform, loss)(transform)
        for name, gradient in tree_flatten(gradients):
            assert gradient.dtype == mx.float32, name
            assert mx.max(mx.abs(gradient)).item() > 0, name


def test_canonical_form_is_the_same_transform_and_shows_the_twiddles() -> None:
    draw = np.random.default_rng(5)
    transform = ButterflyFFT(24, (2, 3, 4))
    exact = transform.blocks()
    # Hide the twiddles behind random diagonals between the stages.
    first, second = exact[0].copy(), exact[1].copy()
    gauge = np.exp(2j * np.pi * draw.random((4, 3, 2)))  # [block, p, j]
    first *= gauge.reshape(12, 1, 2)[..., None]
    second *= gauge.conj().transpose(0, 2, 1)[:, :, None, :]
    transform.set_blocks([first, second, exact[2]])
    assert transform.error().relative < 3e-7
    assert np.abs(transform.blocks()[1] - exact[1]).max() > 0.1
    transform.canonicalize()
    assert transform.error().relative < 3e-7
    for own, expected in zip(transform.blocks(), exact, strict=True):
        assert np.abs(own - expected).max() < 1e-6


def test_snap_makes_a_nearly_learned_transform_exact() -> None:
    for parameterization in ("full", "phase"):
        transform = ButterflyFFT(64, parameterization=parameterization)
        draw = np.random.default_rng(0)
        transform.stages = [
            stage + mx.array(1e-4 * draw.standard_normal(stage.shape), mx.float32)
            for stage in transform.stages
        ]
        assert transform.error().relative > 1e-5
        with pytest.raises(SpeechError, match="cannot stand for it"):
            transform.fuse()
        assert 0 < transform.snap() < 1e-3
        assert transform.error().relative < 3e-7
        x = mx.array(complex_noise(3, 64))
        fused = transform.fuse()(x)
        assert mx.array_equal(fused, mx.fft.fft(x)).item()


def test_random_twiddles_are_not_snapped() -> None:
    with pytest.raises(SpeechError, match="from the 64-th roots of unity"):
        ButterflyFFT(64, parameterization="phase", init="haar").snap()
    with pytest.raises(SpeechError, match="no small DFT"):
        ButterflyFFT(64, init="haar").snap()
    with pytest.raises(SpeechError, match="`unitary` stages cannot be snapped"):
        ButterflyFFT(64, parameterization="unitary").snap()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((509,), {}, "n = 509 has the factor 509"),
        ((98,), {}, "n = 98 has the factor 49"),
        ((1,), {}, "n = 1 is too small"),
        ((15,), {"real": True}, "n = 15 is odd"),
        ((16, (2, 4)), {}, r"the radices 2 \* 4 do not multiply to n = 16"),
        ((16, (16, 1)), {}, r"the radices 16 \* 1"),
        ((16,), {"init": "xavier"}, "unknown init `xavier`"),
        ((16,), {"norm": "forward"}, "unknown norm `forward`"),
        ((16,), {"parameterization": "polar"}, "unknown parameterization"),
        ((12,), {"parameterization": "unitary"}, "`unitary` needs radices of 2"),
        ((4,), {"permutation": np.array([0, 1, 1, 2])}, "the permutation is none"),
    ],
)
def test_impossible_transforms_are_refused(
    arguments: tuple, options: dict, message: str
) -> None:
    with pytest.raises(SpeechError, match=message):
        ButterflyFFT(*arguments, **options)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(SpeechError, match="the last axis has 15 values"):
        ButterflyFFT(16)(mx.zeros((2, 15)))
    with pytest.raises(SpeechError, match="the last axis has 0 values"):
        ButterflyFFT(16)(mx.array(1.0))
    with pytest.raises(SpeechError, match="takes 9"):
        ButterflyFFT(16, real=True, inverse=True)(mx.zeros((16,)))
    with pytest.raises(SpeechError, match="cannot take complex input"):
        ButterflyFFT(16, real=True)(mx.zeros((16,), dtype=mx.complex64))
    with pytest.raises(SpeechError, match="n = 13 is prime"):
        MonarchFFT(13)


def test_a_butterfly_stands_in_the_front_end_in_place_of_rfft() -> None:
    from mlx_speech.audio import MelSpec, log_mel

    spec = MelSpec.preset("whisper-80")
    x = mx.array(0.1 * complex_noise(8000).real)
    expected = log_mel(x, spec)
    exact = log_mel(x, spec, rfft=ButterflyFFT(spec.n_fft, real=True))
    assert mx.max(mx.abs(exact - expected)).item() < 1e-4
    other = log_mel(x, spec, rfft=ButterflyFFT(spec.n_fft, real=True, init="haar"))
    assert mx.max(mx.abs(other - expected)).item() > 0.1
