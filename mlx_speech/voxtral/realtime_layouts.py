"""Names of Voxtral Realtime's weights in four kinds of files.

Hugging Face's; Mistral's own; those of mlx-audio's and of voxmlx's conversions, which
are Mistral's with other separators. All but the first pair neighbouring channels for
rotary positions, in the audio tower too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.layouts import (
    TOWER,
    Dialect,
    from_mistral,
    hf_name,
    pair_half_a_head_apart,
    with_mlx_convolutions,
)
from mlx_speech.voxtral.realtime_config import RealtimeConfig

_MISTRAL = "mm_streams_embeddings.embedding_module."
# What begins a name of one layer, in Mistral's, mlx-audio's and voxmlx's files.
_ENCODER_LAYER = re.compile(
    rf"(?:{re.escape(_MISTRAL)}whisper_encoder\.transformer\.layers"
    r"|encoder\.transformer_layers|encoder\.layers)\.(\d+)\.(.+)"
)
_DECODER_LAYER = re.compile(r"(?:|decoder\.|language_model\.)layers\.(\d+)\.(.+)")
# Part of a layer in any of them -> Hugging Face's.
_PARTS = {
    **{f"attention.w{part}": f"self_attn.{part}_proj" for part in "qkvo"},
    **{f"attention.{part}_proj": f"self_attn.{part}_proj" for part in "qkvo"},
    **{
        f"{theirs}{number}": f"mlp.{ours}_proj"
        for theirs in ("feed_forward.w", "feed_forward_w")
        for number, ours in ((1, "gate"), (2, "down"), (3, "up"))
    },
    **{f"mlp.{part}_proj": f"mlp.{part}_proj" for part in ("gate", "down", "up")},
}
_ENCODER_PARTS = _PARTS | {
    "attention_norm": "self_attn_layer_norm",
    "attn_norm": "self_attn_layer_norm",
    "ffn_norm": "final_layer_norm",
}
_DECODER_PARTS = _PARTS | {
    "attention_norm": "input_layernorm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ada_rms_norm_t_cond.0": "ada_rms_norm.linear1",
    "ada_rms_norm_t_cond.2": "ada_rms_norm.linear2",
    "ada_rms_norm_t_cond.ada_down": "ada_rms_norm.linear1",
    "ada_rms_norm_t_cond.ada_up": "ada_rms_norm.linear2",
    "ada_norm.linear_in": "ada_rms_norm.linear1",
    "ada_norm.linear_out": "ada_rms_norm.linear2",
}
# Hugging Face's name of what is outside of the layers -> Mistral's, mlx-audio's and
# voxmlx's.
_OUTSIDE = {
    "language_model.model.embed_tokens": (
        f"{_MISTRAL}tok_embeddings",
        "decoder.tok_embeddings",
        "language_model.embed_tokens",
    ),
    "language_model.model.norm": ("norm", "decoder.norm", "language_model.norm"),
    "multi_modal_projector.linear_1": (
        f"{_MISTRAL}audio_language_projection.0",
        "encoder.audio_language_projection_0",
        "adapter.w_in",
    ),
    "multi_modal_projector.linear_2": (
        f"{_MISTRAL}audio_language_projection.2",
        "encoder.audio_language_projection_2",
        "adapter.w_out",
    ),
    "audio_tower.embedder.conv1": (
        f"{_MISTRAL}whisper_encoder.conv_layers.0.conv",
        "encoder.conv_layers_0_conv.conv",
        "encoder.conv1",
    ),
    "audio_tower.embedder.conv2": (
        f"{_MISTRAL}whisper_encoder.conv_layers.1.conv",
        "encoder.conv_layers_1_conv.conv",
        "encoder.conv2",
    ),
    "audio_tower.norm": (
        f"{_MISTRAL}whisper_encoder.transformer.norm",
        "encoder.transformer_norm",
        "encoder.norm",
    ),
}
_BY_THEIRS = {name: ours for ours, theirs in _OUTSIDE.items() for name in theirs}


def find_realtime_dialect(names: Sequence[str], source: str) -> Dialect:
    """Which names a checkpoint uses; "mistral" stands for all that pair neighbours.

    Raises:
        SpeechError: none that are known.
    """
    if any(name.removeprefix("model.").startswith(TOWER) for name in names):
        return "hf"
    if any(name.rpartition(".")[0] in _BY_THEIRS for name in names):
        return "mistral"
    shown = ", ".join(sorted(names)[:3])
    raise SpeechError(
        f"`{source}` holds no weights of Voxtral Realtime: {shown} ...",
        "give a folder with weights from mistralai, or converted ones",
    )


def to_realtime_names(
    arrays: Mapping[str, mx.array], dialect: Dialect, config: RealtimeConfig
) -> dict[str, mx.array]:
    """The parameters of :class:`mlx_speech.voxtral.realtime_model.VoxtralRealtime`.

    Args:
        arrays: of a checkpoint; layers may be quantised. What has an unknown name
            keeps it, so that strict loading reports it.
        dialect: of :func:`find_realtime_dialect`.
        config: sizes.
    """
    if dialect == "hf":
        named = {hf_name(name): array for name, array in arrays.items()}
        # Written by some versions, though it is the table of tokens.
        named.pop("language_model.lm_head.weight", None)
        return with_mlx_convolutions(named)
    named = from_mistral(arrays, realtime_name)
    heads = config.audio.num_attention_heads
    named = pair_half_a_head_apart(named, TOWER, heads, heads)
    text = config.text
    named = pair_half_a_head_apart(
        named, "language_model.", text.num_attention_heads, text.num_key_value_heads
    )
    return with_mlx_convolutions(named)


def realtime_name(module: str) -> str | None:
    """Hugging Face's name of a module of the other files; None: it is unknown."""
    if module in _BY_THEIRS:
        return _BY_THEIRS[module]
    for pattern, parts, prefix in (
        (_ENCODER_LAYER, _ENCODER_PARTS, "audio_tower.layers"),
        (_DECODER_LAYER, _DECODER_PARTS, "language_model.model.layers"),
    ):
        match = pattern.fullmatch(module)
        if match and match[2] in parts:
            return f"{prefix}.{match[1]}.{parts[match[2]]}"
    return None
