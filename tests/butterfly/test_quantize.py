"""Quantised butterflies: exact where roots of unity are counted, small in the file."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly import (
    ButterflyFFT,
    load_transform,
    quantize,
    save_transform,
)
from mlx_speech.butterfly.fit_layerwise import fit_layerwise
from mlx_speech.butterfly.storage import KEY
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors, read_metadata
from mlx_speech.hub.save import save_safetensors


def exact(n: int, **options: object) -> ButterflyFFT:
    options = {"parameterization": "phase", "tied": True, **options}
    return ButterflyFFT(n, **options)  # type: ignore[arg-type]


def error(transform: ButterflyFFT, *arguments: object) -> float:
    return quantize(transform, *arguments).error().relative  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "bits"),
    [(64, 5), (128, 8), (256, 8), (512, 8), (1024, 9), (2048, 10), (400, 9)],
)
def test_enough_phases_are_exact(n: int, bits: int) -> None:
    assert error(exact(n), "phase", bits) < 3e-7


@pytest.mark.parametrize(
    ("n", "scheme", "bits", "least", "most"),
    [
        (128, "phase", 5, 2.3e-2, 2.7e-2),
        (512, "phase", 7, 5.5e-3, 6.5e-3),
        (1024, "phase", 8, 2.8e-3, 3.4e-3),
        (512, "rect", 16, 5.0e-3, 7.0e-3),
        (512, "rect", 8, 7e-2, 9e-2),
    ],
)
def test_too_few_bits_cost_precision(
    n: int, scheme: str, bits: int, least: float, most: float
) -> None:
    assert least < error(exact(n), scheme, bits) < most


def test_phases_off_the_grid_are_rounded_evenly() -> None:
    transform = exact(1024, init="haar", tied=False)
    learned = transform.matrix()
    rounded = quantize(transform, "phase", 8).matrix()
    off = np.linalg.norm(rounded - learned) / np.linalg.norm(learned)
    expected = 2 * np.pi / 256 / 12**0.5 * (10 / 2) ** 0.5
    assert off == pytest.approx(expected, rel=0.05)
    assert off < 2e-2


def test_a_learned_transform_quantises_to_the_exact_one() -> None:
    transform = ButterflyFFT(256, init="haar")
    fit_layerwise(transform)
    quantised = quantize(transform)
    assert quantised.error().relative < 3e-7
    # Its blocks came out equal, so that one set of each stage is stored.
    assert quantised.stored_bytes == 255
    assert all(codes.dtype == mx.uint8 for codes in quantised.codes)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, ("phase", 8)),
        ({"real": True, "inverse": True}, ("phase", 10)),
        ({"parameterization": "full"}, ("rect", 12, "blocks")),
        (
            {"parameterization": "full", "init": "haar", "tied": False},
            ("polar", 16, "blocks"),
        ),
        ({"permutation": np.arange(64)}, ("rect", 8)),
    ],
)
def test_files_hold_the_packed_integers(
    options: dict, arguments: tuple, tmp_path: Path
) -> None:
    quantised = quantize(exact(64, **options), *arguments)
    path = tmp_path / "q.safetensors"
    save_transform(path, quantised)
    again = load_transform(path)
    assert np.array_equal(again.matrix(), quantised.matrix())
    stored = load_safetensors(path)
    stages = [array for name, array in stored.items() if name.startswith("stages")]
    assert {array.dtype for array in stages} == {mx.uint8}
    assert sum(array.nbytes for array in stages) == quantised.stored_bytes


def test_blocks_need_no_twiddles() -> None:
    transform = ButterflyFFT(32, init="haar")
    with pytest.raises(SpeechError, match="no small DFT of turned inputs"):
        quantize(transform)
    learned = transform.matrix()
    rounded = quantize(transform, "rect", 16, "blocks").matrix()
    assert np.linalg.norm(rounded - learned) < 0.02 * np.linalg.norm(learned)


def test_impossible_quantisation_is_refused() -> None:
    transform = exact(16)
    for arguments, message in [
        (("ternary",), "unknown scheme `ternary`"),
        (("phase", 17), "17 bits are not possible"),
        (("rect", 7), "7 bits are not possible with `rect`"),
        (("phase", 8, "outputs"), "unknown target"),
        (("phase", 8, "blocks"), "`phase` is for twiddles"),
    ]:
        with pytest.raises(SpeechError, match=message):
            quantize(transform, *arguments)


def test_files_that_do_not_fit_their_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    save_transform(path, quantize(exact(16)))
    arrays, config = load_safetensors(path), json.loads(read_metadata(path)[KEY])
    mx.eval(list(arrays.values()))
    for changes, message in [
        ({"n": 32, "radices": [2] * 5}, "4 stages for radices"),
        ({"radices": [4, 4]}, "4 stages for radices"),
        ({"target": "blocks"}, "stage 0 has the shape"),
        ({"target": "rows"}, "stand for `rows`"),
        ({"shapes": [[9]] * 4}, "do not hold 9 codes"),
        ({"real": True}, "1 keys missing"),
        ({"quantizers": [{}] * 4}, "an unknown form"),
        ({"shapes": [["1", 1, 1]] * 4}, "a stage has the shape"),
        ({"quantizers": 4}, "`quantizers` is 4"),
    ]:
        save_safetensors(path, arrays, {KEY: json.dumps(config | changes)})
        with pytest.raises(SpeechError, match=message):
            load_transform(path)
