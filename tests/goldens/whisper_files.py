"""Writing tiny Whisper models in every layout, and comparing what was loaded.

``recipe`` is the module whisper_recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_speech.hub.save import save_safetensors
from mlx_speech.whisper.model import Whisper

Weights = dict[str, mx.array]


def write_json(path: Path, content: Any) -> None:
    """Any content as a JSON file."""
    path.write_text(json.dumps(content))


def hf_weights(recipe: ModuleType, name: str) -> Weights:
    """The recipe's model by Hugging Face's names."""
    return {f"model.{key}": mx.array(v) for key, v in recipe.state(name).items()}


def write_hf(folder: Path, config: Mapping[str, Any], weights: Weights) -> Path:
    """A folder in Hugging Face's layout."""
    folder.mkdir()
    write_json(folder / "config.json", config)
    save_safetensors(folder / "model.safetensors", weights)
    return folder


def mlx_weights(recipe: ModuleType, name: str) -> Weights:
    """The recipe's model in mlx-community's layout: its own names, no sinusoids."""
    found = {}
    for key, value in recipe.state(name).items():
        named = recipe.to_openai_name(key)
        named = named.replace(".mlp.0.", ".mlp1.").replace(".mlp.2.", ".mlp2.")
        if "conv" in named and value.ndim == 3:
            value = value.transpose(0, 2, 1)
        if named != "encoder.positional_embedding":
            found[named] = mx.array(value)
    return found


def mlx_quantized(weights: Weights, bits: int, group: int) -> Weights:
    """As mlx-community's files hold it: linear layers and the table of tokens."""
    found = {}
    for key, value in weights.items():
        stem, _, leaf = key.rpartition(".")
        if leaf == "weight" and value.ndim == 2 and value.shape[1] % group == 0:
            packed, scales, offsets = mx.quantize(value, group, bits)
            found |= {key: packed, f"{stem}.scales": scales, f"{stem}.biases": offsets}
        else:
            found[key] = value
    return found


def unpacked(weights: Weights, bits: int, group: int) -> Weights:
    """The same weights as plain numbers."""
    found = {}
    for key, value in weights.items():
        stem, _, leaf = key.rpartition(".")
        if f"{stem}.scales" not in weights or leaf == "bias":
            found[key] = value
        elif leaf == "weight":
            scales, offsets = weights[f"{stem}.scales"], weights[f"{stem}.biases"]
            found[key] = mx.dequantize(value, scales, offsets, group, bits)
    return found


def write_mlx(
    folder: Path, recipe: ModuleType, name: str, weights: Weights, **more: Any
) -> Path:
    """A folder in mlx-community's layout; ``more`` goes into its config.json."""
    folder.mkdir()
    config = {"model_type": "whisper", **recipe.openai_dims(name), **more}
    write_json(folder / "config.json", config)
    save_safetensors(folder / "weights.safetensors", weights)
    return folder


def parameters(model: Whisper) -> dict[str, np.ndarray]:
    """All parameters by name, float32."""
    return {
        name: np.array(array.astype(mx.float32))
        for name, array in tree_flatten(model.parameters())
    }


def assert_same(one: Whisper, other: Whisper, limit: float = 0.0) -> None:
    """The same parameters, but for differences up to ``limit``."""
    ours, theirs = parameters(one), parameters(other)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert np.abs(value - theirs[name]).max() <= limit, name


def run(model: Whisper, recipe: ModuleType, name: str) -> np.ndarray:
    """Logits of several tokens, then of single ones."""
    tokens = mx.array(recipe.tokens(name))
    cross = model.cross_key_values(model.encode(mx.array(recipe.mel(name))))
    cache = model.new_cache()
    pieces = [model.decode(tokens[:, :6], cross, cache)]
    pieces += [model.decode(tokens[:, at : at + 1], cross, cache) for at in (6, 7)]
    # One row in all, which quantised layers compute in another way.
    first = [(keys[:1], values[:1]) for keys, values in cross]
    pieces.append(mx.repeat(model.decode(tokens[:1, :1], first), 2, 0))
    return np.array(mx.concatenate(pieces, axis=1))


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, in units of the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
