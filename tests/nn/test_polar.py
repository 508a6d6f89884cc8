"""Complex weights in few bits: how much they lose, and how they are packed."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn.polar import (
    fit_quantizer,
    pack_bits,
    quantization_error,
    unpack_bits,
)


def gaussian(count: int = 20000) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.standard_normal(count) + 1j * draw.standard_normal(count)


# The last column is what a quantiser of the same splits cost elsewhere.
@pytest.mark.parametrize(
    ("bits", "most", "split", "elsewhere"),
    [(8, 13.5, 5, 30.8), (12, 3.4, 8, 14.3), (16, 0.85, 10, 4.0)],
)
def test_gaussian_weights(bits: int, most: float, split: int, elsewhere: float) -> None:
    weights = gaussian()
    best = 100 * quantization_error(fit_quantizer(weights, "polar", bits), weights)
    assert best <= most
    same_split = fit_quantizer(weights, "polar", bits, split)
    assert 100 * quantization_error(same_split, weights) < elsewhere / 2
    rect = fit_quantizer(weights, "rect", bits)
    assert 100 * quantization_error(rect, weights) < 1.3 * best


@pytest.mark.parametrize(("bits", "most"), [(8, 0.8), (12, 0.05), (16, 0.004)])
def test_weights_of_modulus_one_need_only_a_phase(bits: int, most: float) -> None:
    weights = gaussian()
    weights /= np.abs(weights)
    quantizer = fit_quantizer(weights, "phase", bits)
    error = 100 * quantization_error(quantizer, weights)
    assert error <= most
    uniform = 100 * 2 * np.pi / 2**bits / 12**0.5
    assert error == pytest.approx(uniform, rel=0.02)


@pytest.mark.parametrize("way", [1, -1])
def test_half_a_circle_has_twice_the_phases(way: int) -> None:
    weights = np.exp(way * 1j * np.pi * np.arange(256) / 256)
    quantizer = fit_quantizer(weights, "phase", 8, grid=512)
    assert quantization_error(quantizer, weights) < 3e-7
    codes = quantizer.encode(weights)
    assert codes.dtype == np.uint8 and len(set(codes.tolist())) == 256
    # What lies beyond either end goes to that end, not around the circle.
    ends = np.exp(way * 1j * np.array([-0.001, np.pi + 0.001]))
    assert quantizer.encode(ends).tolist() == [0, 255]


def test_a_grid_that_is_no_power_of_two_is_exact() -> None:
    weights = np.exp(2j * np.pi * np.arange(400) / 400)
    assert (
        quantization_error(fit_quantizer(weights, "phase", 9, grid=400), weights) < 3e-7
    )
    assert quantization_error(fit_quantizer(weights, "phase", 9), weights) > 1e-3


@pytest.mark.parametrize("bits", [2, 5, 8, 10, 16])
@pytest.mark.parametrize("shape", [(3, 7), (1,), (0, 4)])
def test_packing_is_reversible(bits: int, shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(bits)
    codes = draw.integers(0, 2**bits, shape).astype(np.uint16)
    packed = pack_bits(codes, bits)
    assert packed.dtype == np.uint8 and packed.size == -(-codes.size * bits // 8)
    assert np.array_equal(unpack_bits(packed, bits, shape), codes)
    with pytest.raises(SpeechError, match="do not hold"):
        unpack_bits(np.append(packed, np.uint8(0)), bits, shape)


def test_decoding_is_of_single_precision() -> None:
    quantizer = fit_quantizer(gaussian(10), "rect", 8)
    assert quantizer.decode(mx.array([0, 255], mx.uint8)).dtype == mx.complex64


def test_weights_of_zero_survive() -> None:
    for scheme in ("rect", "polar"):
        quantizer = fit_quantizer(np.zeros(4, complex), scheme, 8)
        assert np.abs(np.array(quantizer.decode(mx.array([0], mx.uint8)))).max() < 2


def test_what_cannot_be_quantised_is_refused() -> None:
    for weights, scheme, options, message in [
        (gaussian(4), "phase", {}, "modulus 1"),
        (gaussian(4) * np.nan, "rect", {}, "NaN"),
        (gaussian(4), "polar", {"phase_bits": 8}, "8 of 8 bits"),
        (gaussian(4), "log", {}, "unknown scheme"),
    ]:
        with pytest.raises(SpeechError, match=message):
            fit_quantizer(weights, scheme, 8, **options)
