"""Butterflies in safetensors files: one tensor per stage, the rest in the header.

Tensors: ``stages.0``, ``stages.1``, ... innermost first, as the module holds them;
``untangle`` of a real transform; ``permutation`` when it is not digit reversal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_speech.butterfly.factors import digit_reversal
from mlx_speech.butterfly.transform import ButterflyFFT, ButterflyTransform
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors, load_strict, read_metadata
from mlx_speech.hub.save import save_safetensors

KEY = "mlx_speech_butterfly"
BASE_KEYS = {"n", "radices", "real", "inverse", "norm"}
KINDS = {"float": {"parameterization", "tied"}}


def save_transform(
    path: str | Path, transform: ButterflyFFT, notes: dict[str, str] | None = None
) -> None:
    """Write a transform to a safetensors file, atomically.

    Args:
        path: file to write.
        transform: parameters are stored in float32.
        notes: more free text for the header, such as how it was trained.

    Raises:
        SpeechError: the file cannot be written.
    """
    config = _config(transform)
    arrays = dict(tree_flatten(transform.parameters()))
    if not np.array_equal(transform.permutation, digit_reversal(transform.radices)):
        arrays["permutation"] = mx.array(transform.permutation)
    save_safetensors(path, arrays, {KEY: json.dumps(config), **(notes or {})})


def load_transform(path: str | Path) -> ButterflyTransform:
    """Read a transform that `save_transform` has written.

    Raises:
        SpeechError: no such file, corrupt, no butterfly, or tensors that do not fit
            the header.
    """
    config = _read_config(path)
    arrays = load_safetensors(path)
    permutation = arrays.pop("permutation", None)
    options: dict[str, Any] = {key: config[key] for key in config if key != "kind"}
    if permutation is not None:
        options["permutation"] = np.array(permutation)
    transform = ButterflyFFT(options.pop("n"), options.pop("radices"), **options)
    load_strict(transform, arrays, path)
    return transform


def _config(transform: ButterflyFFT) -> dict[str, object]:
    return {
        "kind": "float",
        "n": transform.n,
        "radices": list(transform.radices),
        "parameterization": transform.parameterization,
        "tied": transform.tied,
        "real": transform.real,
        "inverse": transform.inverse,
        "norm": transform.norm,
    }


def _read_config(path: str | Path) -> dict[str, Any]:
    text = read_metadata(path).get(KEY)
    if text is None:
        raise SpeechError(
            f"`{path}` holds no butterfly transform",
            "give a file that `mlx-speech fft train` has written",
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _mismatch(path, "its description is not JSON") from error
    if not isinstance(config, dict) or config.get("kind") not in KINDS:
        raise _mismatch(path, "it is of a kind that this version does not know")
    expected = {"kind", *BASE_KEYS, *KINDS[config["kind"]]}
    if set(config) != expected:
        odd = ", ".join(sorted(set(config) ^ expected))
        raise _mismatch(path, f"its description lacks or adds {odd}")
    return config


def _mismatch(path: str | Path, why: str) -> SpeechError:
    return SpeechError(
        f"`{path}` is no transform that can be read: {why}", "make the file again"
    )
