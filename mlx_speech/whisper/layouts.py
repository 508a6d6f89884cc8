"""The three spellings of a Whisper checkpoint, and ours.

Everything goes through Hugging Face's names: from another dialect to those, then the
projections are fused for our modules; and back. Which array is which stands here as
rules on names. Convolutions are [out, in, taps] in PyTorch's files and [out, taps, in]
in ours and in those of mlx-community.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.nn.quantized import quantization_layout

Dialect = Literal["hf", "openai", "mlx"]
Arrays = Mapping[str, mx.array]

# A name that only one dialect has, in every layer of every model.
_MARKS: dict[Dialect, re.Pattern[str]] = {
    "hf": re.compile(r"(model\.)?encoder\.layers\.0\.fc1\.weight"),
    "openai": re.compile(r"encoder\.blocks\.0\.mlp\.0\.weight"),
    "mlx": re.compile(r"encoder\.blocks\.0\.mlp1\.weight"),
}
# Parts of a name in OpenAI's dialect and in Hugging Face's, in the order of use.
_PARTS = (
    ("blocks", "layers"),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("attn_ln", "self_attn_layer_norm"),
    ("cross_attn", "encoder_attn"),
    ("attn", "self_attn"),
    ("query", "q_proj"),
    ("key", "k_proj"),
    ("value", "v_proj"),
    ("out", "out_proj"),
    ("mlp_ln", "final_layer_norm"),
    ("ln_post", "layer_norm"),
    ("ln", "layer_norm"),
    ("token_embedding", "embed_tokens"),
    ("positional_embedding", "embed_positions.weight"),
    ("mlp1", "fc1"),
    ("mlp2", "fc2"),
)
_TO_HF = dict(_PARTS)
_FROM_HF = {theirs: ours for ours, theirs in _PARTS if ours not in ("ln", "ln_post")}
_OPENAI_MLP = re.compile(r"\.mlp\.([02])\.")

CONVOLUTION = re.compile(r"encoder\.conv[12]\.weight")
POSITIONS = re.compile(r"(?:en|de)coder\.embed_positions")
# Projections that our modules have as one: attention -> name -> parts in order.
FUSED = {
    "self_attn": ("qkv_proj", ("q_proj", "k_proj", "v_proj")),
    "encoder_attn": ("kv_proj", ("k_proj", "v_proj")),
}
_PART = re.compile(r"(.*\.(self_attn|encoder_attn))\.([qkv]_proj)\.(\w+)")
_WHOLE = re.compile(r"(.*\.(self_attn|encoder_attn))\.(qkv_proj|kv_proj)\.(\w+)")


def find_dialect(names: Sequence[str], source: str) -> Dialect:
    """Which dialect the names of a checkpoint are in.

    Raises:
        SpeechError: none of them.
    """
    for dialect, mark in _MARKS.items():
        if any(mark.fullmatch(name) for name in names):
            return dialect
    shown = ", ".join(sorted(names)[:5])
    raise SpeechError(
        f"`{source}` holds no weights of Whisper: its names are like {shown}",
        "give weights by Hugging Face's, OpenAI's or mlx-community's names",
    )


def to_hf_names(arrays: Arrays, dialect: Dialect) -> dict[str, mx.array]:
    """Arrays under Hugging Face's names without ``model.``, convolutions in our layout.

    The layer that makes logits is left out when it equals the table of tokens, as it
    must in Whisper; otherwise it stays, and strict loading refuses it.
    """
    found = {}
    for name, array in arrays.items():
        if dialect == "hf":
            name = name.removeprefix("model.")
        else:
            name = _OPENAI_MLP.sub(lambda m: f".fc{1 + int(m[1]) // 2}.", name)
            name = ".".join(_TO_HF.get(part, part) for part in name.split("."))
        if dialect != "mlx" and CONVOLUTION.fullmatch(name) and array.ndim == 3:
            array = array.transpose(0, 2, 1)
        found[name] = array
    head, table = found.get("proj_out.weight"), found.get("decoder.embed_tokens.weight")
    if head is not None and table is not None and mx.array_equal(head, table):
        del found["proj_out.weight"]
    return found


def to_mlx_names(arrays: Arrays) -> dict[str, mx.array]:
    """mlx-community's names from Hugging Face's; convolutions in our layout."""
    found = {}
    for name, array in arrays.items():
        name = name.replace("encoder.layer_norm", "encoder.ln_post")
        name = name.replace("decoder.layer_norm", "decoder.ln")
        name = name.replace("embed_positions.weight", "positional_embedding")
        parts = name.split(".")
        found[".".join(_FROM_HF.get(part, part) for part in parts)] = array
    return found


def fuse(arrays: Arrays, channels: int) -> dict[str, mx.array]:
    """Our parameters from arrays under Hugging Face's names.

    Args:
        arrays: what :func:`to_hf_names` gives. Projections may be quantised.
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
        elif POSITIONS.match(name):
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
