"""Transforms through safetensors files, and files that are something else."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly import ButterflyFFT, load_transform, save_transform
from mlx_speech.butterfly.storage import KEY
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors, read_metadata
from mlx_speech.hub.save import save_safetensors


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"parameterization": "phase", "tied": True, "real": True},
        {"parameterization": "unitary", "inverse": True, "norm": "ortho"},
        {"radices": (4, 8), "permutation": np.arange(32)[::-1]},
    ],
)
def test_a_transform_comes_back_bit_for_bit(options: dict, tmp_path: Path) -> None:
    transform = ButterflyFFT(32, init="haar", **options)
    path = tmp_path / "w.safetensors"
    save_transform(path, transform, {"method": "none"})
    again = load_transform(path)
    assert np.array_equal(again.matrix(), transform.matrix())
    assert again.radices == transform.radices
    assert read_metadata(path)["method"] == "none"


def test_there_is_one_tensor_per_stage(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_transform(path, ButterflyFFT(400))
    stored = load_safetensors(path)
    assert sorted(stored) == ["stages.0", "stages.1", "stages.2", "stages.3"]
    assert all(array.dtype == mx.float32 for array in stored.values())


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_safetensors(path, {"weight": mx.zeros(3)})
    with pytest.raises(SpeechError, match="holds no butterfly"):
        load_transform(path)
    save_transform(path, ButterflyFFT(16))
    arrays, config = load_safetensors(path), json.loads(read_metadata(path)[KEY])
    mx.eval(list(arrays.values()))
    for changes, message in [
        ({"n": 32, "radices": [2] * 5}, "1 keys missing"),
        ({"tied": True}, "with another shape"),
        ({"n": 14}, "do not multiply to n = 14"),
        ({"kind": "ternary"}, "a kind that this version does not know"),
        ({"kind": ["float"]}, "a kind that this version does not know"),
        ({"colour": 1}, "lacks or adds colour"),
        ({"n": "16"}, "`n` is '16'"),
        ({"radices": ["2"] * 4}, "radices are no integers"),
    ]:
        changed = json.dumps(config | changes)
        save_safetensors(path, arrays, {KEY: changed})
        with pytest.raises(SpeechError, match=message):
            load_transform(path)
    save_safetensors(path, arrays, {KEY: "{"})
    with pytest.raises(SpeechError, match="not JSON"):
        load_transform(path)
    with pytest.raises(SpeechError, match="no file"):
        load_transform(tmp_path / "none.safetensors")
