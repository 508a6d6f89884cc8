"""Quantised layers equal layers with the unpacked weights."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn import quantized
from mlx_speech.nn.quantized import (
    QuantizedEmbedding,
    QuantizedLinear,
    quantization_layout,
    quantize,
    quantized_layers,
    use_quantized_layers,
)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 64)
        self.wide = nn.Linear(64, 12)
        self.bare = nn.Linear(128, 6, bias=False)
        self.odd = nn.Linear(20, 6)
        self.norm = nn.LayerNorm(64)


def unpacked(layer: QuantizedLinear | QuantizedEmbedding) -> np.ndarray:
    whole = mx.dequantize(
        layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits
    )
    return np.array(whole)


@pytest.fixture(params=["cpu", "metal"], ids=["few rows packed", "always packed"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of computing, whatever this machine is."""
    monkeypatch.setattr(quantized, "current_device", lambda: request.param)
    return request.param


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(("bits", "group"), [(4, 64), (8, 32), (3, 64)])
def test_layers_compute_with_the_unpacked_weights(
    rows: int, bits: int, group: int, device: str
) -> None:
    model = Small()
    plain = np.array(model.bare.weight)
    assert quantize(model, bits, group) == 3
    x = np.random.default_rng(0).standard_normal((1, rows, 128)).astype(np.float32)
    wide = unpacked(model.wide)
    for ours, theirs in (
        (model.bare(mx.array(x)), x @ unpacked(model.bare).T),
        (
            model.wide(mx.array(x[..., :64])),
            x[..., :64] @ wide.T + np.array(model.wide.bias),
        ),
        (
            model.table.as_linear(mx.array(x[..., :64])),
            x[..., :64] @ unpacked(model.table).T,
        ),
        (model.table(mx.array([3, 1])), unpacked(model.table)[[3, 1]]),
    ):
        assert np.abs(np.array(ours) - theirs).max() < 1e-5 * np.abs(theirs).max()
    step = np.ptp(plain, 1).max() / (2**bits - 1)
    assert np.abs(unpacked(model.bare) - plain).max() < step


def test_half_precision_stays_half(device: str) -> None:
    model = Small()
    quantize(model)
    model.set_dtype(mx.float16)
    for rows in (1, 3):
        assert model.wide(mx.ones((rows, 64), mx.float16)).dtype == mx.float16


def test_layers_are_found_by_their_scales() -> None:
    source, target = Small(), Small()
    quantize(source, 8, 32)
    plain = source.wide
    weights = {
        f"wide.{leaf}": plain[leaf] for leaf in ("weight", "scales", "biases", "bias")
    }
    use_quantized_layers(target, weights)
    assert quantized_layers(target) == {"wide": (8, 32)}
    assert type(target.bare) is nn.Linear
    assert target.wide.weight.shape == plain.weight.shape
    assert "bias" in target.wide


@pytest.mark.parametrize(
    ("packed", "scales", "columns", "expected"),
    [
        ((12, 8), (12, 1), 64, (4, 64)),
        ((12, 16), (12, 2), 64, (8, 32)),
        ((12, 6), (12, 1), 64, (3, 64)),
        ((12, 12), (12, 1), 64, (6, 64)),
    ],
)
def test_layout_follows_from_the_shapes(
    packed: tuple[int, ...],
    scales: tuple[int, ...],
    columns: int,
    expected: tuple[int, int],
) -> None:
    words = mx.zeros(packed, mx.uint32)
    assert quantization_layout("a", words, mx.zeros(scales), columns) == expected


@pytest.mark.parametrize(
    ("packed", "scales", "dtype"),
    [
        ((12, 8), (12, 1), mx.float32),
        ((12, 7), (12, 1), mx.uint32),
        ((12, 14), (12, 1), mx.uint32),
        ((12, 8), (12, 3), mx.uint32),
        ((12, 8), (12, 4), mx.uint32),
        ((12, 8), (12, 0), mx.uint32),
    ],
)
def test_shapes_of_no_layout_are_refused(
    packed: tuple[int, ...], scales: tuple[int, ...], dtype: mx.Dtype
) -> None:
    with pytest.raises(SpeechError, match=r"`a` .* is no quantised matrix"):
        quantization_layout("a", mx.zeros(packed, dtype), mx.zeros(scales), 64)


def test_what_cannot_be_quantised_is_said() -> None:
    with pytest.raises(SpeechError, match="no quantisation to 7 bits in groups of 64"):
        quantize(Small(), 7)
    with pytest.raises(SpeechError, match=r"no layer .* in groups of 128"):
        quantize(nn.Linear(64, 3), 4, 128)
    model = Small()
    quantize(model)
    with pytest.raises(SpeechError, match="cannot be quantised again"):
        quantize(model)
