"""Fused projections of our attention modules: applied, made of a checkpoint's, split.

Names are Hugging Face's, of Whisper or of Voxtral's encoder. Rows of q, k and v lie one
below the other in the fused weight; quantised rows do too, since each has its own
scales. Tables of positions, plain arrays in our modules, lose their ``.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.metal_kernels import select
from mlx_speech.metal_kernels.fused_qkv import fused_qkv
from mlx_speech.metal_kernels.fused_qkv_reference import (
    HeadArrays,
    LayerNormWeights,
    Projection,
    split_parts,
)
from mlx_speech.nn.quantized import quantization_layout

Arrays = Mapping[str, mx.array]

# Projections that our modules have as one: attention -> name -> parts in order.
FUSED = {
    "self_attn": ("qkv_proj", ("q_proj", "k_proj", "v_proj")),
    "encoder_attn": ("kv_proj", ("k_proj", "v_proj")),
}
_PART = re.compile(
    r"(.*\.(self_attn|encoder_attn))\.([qkv]_proj)\.(weight|bias|scales|biases)"
)
_WHOLE = re.compile(r"(.*\.(self_attn|encoder_attn))\.(qkv_proj|kv_proj)\.(\w+)")
POSITIONS = re.compile(r"(?:.*\.)?embed_positions")


def project_heads(
    x_blc: mx.array, layer: nn.Module, n_heads: int, norm: nn.LayerNorm | None = None
) -> HeadArrays:
    """Queries, keys and values, each [batch, heads, length, head channels].

    Args:
        x_blc: [batch, length, channels].
        layer: makes all three of ``x``, one below the other; linear, quantised, or any
            other (low-rank updates).
        n_heads: of each of the three.
        norm: of ``x`` before it.
    """
    projection = None
    if select.kernels_are_possible():
        projection = _as_projection(layer, n_heads, norm)
    if projection is None:
        return split_parts(layer(x_blc if norm is None else norm(x_blc)), n_heads)
    return fused_qkv(x_blc, projection)


def _as_projection(
    layer: nn.Module, n_heads: int, norm: nn.LayerNorm | None
) -> Projection | None:
    """What a kernel may compute with; None: only the layer itself can."""
    weights = None
    if norm is not None:
        if "weight" not in norm or "bias" not in norm:
            return None
        weights = LayerNormWeights(norm.weight, norm.bias, norm.eps)
    bias = layer.get("bias")
    if isinstance(layer, nn.Linear):
        return Projection((layer.weight,), n_heads, bias, weights)
    if isinstance(layer, nn.QuantizedLinear) and layer.biases is not None:
        arrays = layer.weight, layer.scales, layer.biases
        quantised = layer.bits, layer.group_size
        return Projection(arrays, n_heads, bias, weights, *quantised)
    return None


def fuse(arrays: Arrays, channels: int) -> dict[str, mx.array]:
    """Our parameters from arrays under Hugging Face's names.

    Args:
        arrays: linear layers [out, in]. Projections may be quantised.
        channels: of the model.

    Raises:
        SpeechError: a quantised projection whose shapes make no sense.
    """
    found: dict[str, mx.array] = {}
    groups: dict[str, dict[str, dict[str, mx.array]]] = {}
    for name, array in arrays.items():
        match = _PART.fullmatch(name)
        if match and match[3] in FUSED[match[2]][1]:
            groups.setdefault(match[1], {}).setdefault(match[3], {})[match[4]] = array
        elif POSITIONS.fullmatch(name.removesuffix(".weight")):
            found[name.removesuffix(".weight")] = array
        else:
            found[name] = array
    for attention, entries in groups.items():
        whole, parts = FUSED[attention.rpartition(".")[2]]
        if any("weight" not in entries.get(part, {}) for part in parts):
            # Left as they are, so that strict loading names what is missing.
            for part, leaves in entries.items():
                found |= {f"{attention}.{part}.{leaf}": a for leaf, a in leaves.items()}
            continue
        ordered = [(f"{attention}.{part}", entries[part]) for part in parts]
        for leaf, array in _fuse_projections(ordered, channels).items():
            found[f"{attention}.{whole}.{leaf}"] = array
    return found


def split(arrays: Arrays) -> dict[str, mx.array]:
    """The inverse of :func:`fuse`, without biases of keys, which have no effect."""
    found: dict[str, mx.array] = {}
    for name, array in arrays.items():
        match = _WHOLE.fullmatch(name)
        if match:
            parts = FUSED[match[2]][1]
            pieces = mx.split(array, len(parts), axis=0)
            for part, piece in zip(parts, pieces, strict=True):
                if (part, match[4]) != ("k_proj", "bias"):
                    found[f"{match[1]}.{part}.{match[4]}"] = piece
        elif POSITIONS.fullmatch(name):
            found[f"{name}.weight"] = array
        else:
            found[name] = array
    return found


def _fuse_projections(
    parts: Sequence[tuple[str, dict[str, mx.array]]], channels: int
) -> dict[str, mx.array]:
    """Leaves of one projection from those of several (name, leaves), rows in order."""
    layouts = {
        quantization_layout(name, leaves["weight"], leaves["scales"], channels)
        if "scales" in leaves
        else None
        for name, leaves in parts
    }
    if len(layouts) > 1:
        # Mixed precisions cannot share a matrix of integers.
        parts = [(name, _unpacked(name, leaves, channels)) for name, leaves in parts]
    common = set.intersection(*(set(leaves) for _, leaves in parts)) - {"bias"}
    fused = {leaf: mx.concatenate([p[leaf] for _, p in parts]) for leaf in common}
    if any("bias" in leaves for _, leaves in parts):
        like = next(leaves["bias"] for _, leaves in parts if "bias" in leaves)
        biases = [
            leaves.get("bias", mx.zeros(leaves["weight"].shape[:1], like.dtype))
            for _, leaves in parts
        ]
        fused["bias"] = mx.concatenate(biases)
    return fused


def _unpacked(
    name: str, leaves: dict[str, mx.array], channels: int
) -> dict[str, mx.array]:
    if "scales" not in leaves:
        return leaves
    bits, group_size = quantization_layout(
        name, leaves["weight"], leaves["scales"], channels
    )
    weight = mx.dequantize(
        leaves["weight"], leaves["scales"], leaves.get("biases"), group_size, bits
    )
    kept = {"bias": leaves["bias"]} if "bias" in leaves else {}
    return kept | {"weight": weight}
