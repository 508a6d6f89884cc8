"""The three spellings of a Whisper checkpoint.

All go through Hugging Face's names, from which `nn.projections` fuses for our modules
and to which it splits. Which array is which stands here as rules on names. Convolutions
are [out, in, taps] in PyTorch's files, [out, taps, in] in ours and in mlx-community's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import mlx.core as mx

from mlx_speech.errors import SpeechError

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
