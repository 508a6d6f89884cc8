"""Butterflies in safetensors files: one tensor per stage, the rest in the header.

Tensors: ``stages.0``, ``stages.1``, ... innermost first: float32 as the module holds
them, or the packed integers of a quantised transform (uint8); ``untangle`` of a real
transform; ``permutation`` when it is not digit reversal. Of one routed by gates,
``twiddles.0``, ... float32 and ``gates.0``, ... int8. What a student has beside its
transform begins with ``student.`` (`student_storage`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_speech.butterfly.factors import digit_reversal
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.quantize import (
    TARGETS,
    QuantizedButterflyFFT,
    StageCode,
)
from mlx_speech.butterfly.transform import ButterflyFFT, ButterflyTransform
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import (
    load_safetensors,
    load_strict,
    read_metadata,
    refuse_difference,
)
from mlx_speech.hub.save import save_safetensors
from mlx_speech.nn.polar import SCHEMES, ComplexQuantizer, pack_bits, unpack_bits

KEY = "mlx_speech_butterfly"
BASE_KEYS = ("n", "radices", "real", "inverse", "norm")
KINDS = {
    "float": ("parameterization", "tied"),
    "quantized": ("target", "quantizers", "shapes"),
    "routed": ("mode",),
}
STUDENT_PREFIX = "student."
TYPES: dict[str, type] = {
    "n": int,
    "radices": list,
    "real": bool,
    "inverse": bool,
    "norm": str,
    "parameterization": str,
    "tied": bool,
    "target": str,
    "mode": str,
    "quantizers": list,
    "shapes": list,
    "scheme": str,
    "bits": int,
    "phase_bits": int,
    "levels": int,
    "step": float,
    "scale": float,
}


def save_transform(
    path: str | Path,
    transform: ButterflyTransform,
    notes: dict[str, str] | None = None,
) -> None:
    """Write a transform to a safetensors file, atomically.

    Args:
        path: file to write.
        transform: a `ButterflyFFT` or one routed by gates, stored in float32, or a
            quantised one.
        notes: more free text for the header, such as how it was trained.

    Raises:
        SpeechError: the file cannot be written.
    """
    arrays, header = transform_content(transform)
    save_safetensors(path, arrays, {**header, **(notes or {})})


def transform_content(
    transform: ButterflyTransform,
) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The tensors and the header of a transform's file."""
    config: dict[str, Any] = {key: getattr(transform, key) for key in BASE_KEYS}
    if isinstance(transform, QuantizedButterflyFFT):
        quantizers = [each.quantizer for each in transform.stage_codes]
        config |= {"kind": "quantized", "target": transform.target}
        config["quantizers"] = [asdict(each) for each in quantizers]
        config["shapes"] = [each.shape for each in transform.stage_codes]
        arrays = {
            f"stages.{i}": mx.array(pack_bits(np.array(codes), quantizers[i].bits))
            for i, codes in enumerate(transform.codes)
        }
        if transform.real:
            arrays["untangle"] = transform.untangle
    elif isinstance(transform, TernaryRoutedFFT):
        config |= {"kind": "routed", "mode": transform.mode}
        arrays = {f"twiddles.{i}": each for i, each in enumerate(transform.twiddles)}
        arrays |= {f"gates.{i}": mx.array(g) for i, g in enumerate(transform.gates)}
    else:
        assert isinstance(transform, ButterflyFFT)
        config |= {"kind": "float", "tied": transform.tied}
        config["parameterization"] = transform.parameterization
        arrays = dict(tree_flatten(transform.parameters()))
    if not np.array_equal(transform.permutation, digit_reversal(transform.radices)):
        arrays["permutation"] = mx.array(transform.permutation)
    return arrays, {KEY: json.dumps(config)}


def load_transform(path: str | Path) -> ButterflyTransform:
    """Read a transform that `save_transform` has written, or that of a student.

    Raises:
        SpeechError: no such file, corrupt, no butterfly, or tensors that do not fit
            the header.
    """
    config = _read_config(path)
    kind = config.pop("kind")
    arrays = {
        name: array
        for name, array in load_safetensors(path).items()
        if not name.startswith(STUDENT_PREFIX)
    }
    if kind == "routed":
        return _load_routed(path, config, arrays)
    permutation = arrays.pop("permutation", None)
    if permutation is not None:
        config["permutation"] = np.array(permutation)
    if kind == "quantized":
        return _load_quantized(path, config, arrays)
    transform = ButterflyFFT(config.pop("n"), config.pop("radices"), **config)
    load_strict(transform, arrays, path)
    return transform


def _load_routed(
    path: str | Path, config: dict[str, Any], arrays: dict[str, mx.array]
) -> TernaryRoutedFFT:
    stages = range(len(config["radices"]))
    expected = {f"{kind}.{i}" for kind in ("twiddles", "gates") for i in stages}
    refuse_difference(
        path, sorted(expected - set(arrays)), sorted(set(arrays) - expected)
    )
    transform = TernaryRoutedFFT(config["n"], mode=config["mode"])
    own = {key: getattr(transform, key) for key in BASE_KEYS}
    if own != {key: config[key] for key in BASE_KEYS} | {"radices": transform.radices}:
        raise _mismatch(path, "its size or its kind is not that of a routed transform")
    for i, twiddles in enumerate(transform.twiddles):
        stored, gates = arrays[f"twiddles.{i}"], arrays[f"gates.{i}"]
        shapes = (twiddles.shape, (transform.n // 2,))
        if (stored.shape, gates.shape) != shapes or stored.dtype != mx.float32:
            raise _mismatch(path, f"stage {i} has other shapes than {shapes}")
        transform.twiddles[i] = stored
    transform.set_gates(np.stack([np.array(arrays[f"gates.{i}"]) for i in stages]))
    return transform


def _load_quantized(
    path: str | Path, config: dict[str, Any], arrays: dict[str, mx.array]
) -> QuantizedButterflyFFT:
    stages = _stage_codes(path, config.pop("quantizers"), config.pop("shapes"))
    expected = {f"stages.{i}" for i in range(len(stages))}
    expected |= {"untangle"} if config["real"] else set()
    refuse_difference(
        path, sorted(expected - set(arrays)), sorted(set(arrays) - expected)
    )
    codes = [
        mx.array(
            unpack_bits(
                np.array(arrays[f"stages.{i}"]), stage.quantizer.bits, stage.shape
            )
        )
        for i, stage in enumerate(stages)
    ]
    target = config.pop("target")
    if target not in TARGETS:
        raise _mismatch(path, f"its integers stand for `{target}`")
    transform = QuantizedButterflyFFT(
        codes, stages, target, arrays.get("untangle"), **config
    )
    _check_shapes(path, transform)
    return transform


def _stage_codes(path: str | Path, quantizers: Any, shapes: Any) -> list[StageCode]:
    names = {field.name for field in fields(ComplexQuantizer)}
    stages = []
    for quantizer, shape in zip(quantizers, shapes, strict=False):
        known = isinstance(quantizer, dict) and set(quantizer) == names
        if not known or quantizer["scheme"] not in SCHEMES:
            raise _mismatch(path, "its quantisers are of an unknown form")
        _check_types(path, quantizer)
        if not isinstance(shape, list) or not all(type(size) is int for size in shape):
            raise _mismatch(path, f"a stage has the shape {shape!r}")
        stages.append(StageCode(ComplexQuantizer(**quantizer), tuple(shape)))
    return stages


def _check_shapes(path: str | Path, transform: QuantizedButterflyFFT) -> None:
    span = 1
    shapes = [stage.shape for stage in transform.stage_codes]
    if len(shapes) != len(transform.radices):
        raise _mismatch(path, f"{len(shapes)} stages for radices {transform.radices}")
    for place, (shape, radix) in enumerate(zip(shapes, transform.radices, strict=True)):
        numbers = (radix - 1,) if transform.target == "twiddles" else (radix, radix)
        tail = (span, *numbers)
        span *= radix
        if shape[1:] != tail or shape[0] not in (1, transform.points // span):
            raise _mismatch(path, f"stage {place} has the shape {list(shape)}")
    if transform.real and transform.untangle.shape != (2, transform.bins, 2):
        raise _mismatch(path, f"`untangle` has the shape {transform.untangle.shape}")


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
    kind = config.get("kind") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise _mismatch(path, "it is of a kind that this version does not know")
    expected = {"kind", *BASE_KEYS, *KINDS[kind]}
    if set(config) != expected:
        odd = ", ".join(sorted(set(config) ^ expected))
        raise _mismatch(path, f"its description lacks or adds {odd}")
    _check_types(path, config)
    if not all(type(radix) is int for radix in config["radices"]):
        raise _mismatch(path, "its radices are no integers")
    return config


def _check_types(path: str | Path, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if key in TYPES and type(value) is not TYPES[key]:
            raise _mismatch(path, f"`{key}` is {value!r}")


def _mismatch(path: str | Path, why: str) -> SpeechError:
    return SpeechError(
        f"`{path}` is no transform that can be read: {why}", "make the file again"
    )
