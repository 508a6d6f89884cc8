"""Names of Voxtral's weights: Hugging Face's, Mistral's own, those of MLX conversions.

Mistral's files name everything differently and pair the channels of rotary positions
differently: neighbours there, half a head apart in Hugging Face's files and here. MLX
conversions keep Hugging Face's names, with convolutions in MLX's order of axes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.nn.projections import fuse, split
from mlx_speech.nn.speech_encoder import sinusoids
from mlx_speech.voxtral.config import VoxtralConfig

Dialect = Literal["hf", "mistral"]
Arrays = Mapping[str, mx.array]

TOWER = "audio_tower."
_MISTRAL = "mm_whisper_embeddings."
CONVOLUTION = re.compile(r"audio_tower\.(?:embedder\.)?conv[12]\.weight")

# Parts of a Mistral name of one layer -> Hugging Face's, in the decoder.
_DECODER_PARTS = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "ffn_norm": "post_attention_layernorm",
}
_ENCODER_PARTS = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "feed_forward.w1": "fc1",
    "feed_forward.w2": "fc2",
    "ffn_norm": "final_layer_norm",
}
# What is outside of the layers.
_MISTRAL_NAMES = {
    "norm": "language_model.model.norm",
    "output": "language_model.lm_head",
    "tok_embeddings": "language_model.model.embed_tokens",
    f"{_MISTRAL}tok_embeddings": "language_model.model.embed_tokens",
    f"{_MISTRAL}audio_language_projection.0": "multi_modal_projector.linear_1",
    f"{_MISTRAL}audio_language_projection.2": "multi_modal_projector.linear_2",
    f"{_MISTRAL}whisper_encoder.conv_layers.0": "audio_tower.conv1",
    f"{_MISTRAL}whisper_encoder.conv_layers.1": "audio_tower.conv2",
    f"{_MISTRAL}whisper_encoder.transformer.norm": "audio_tower.layer_norm",
}
_DECODER_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
_ENCODER_LAYER = re.compile(
    re.escape(_MISTRAL) + r"whisper_encoder\.transformer\.layers\.(\d+)\.(.+)"
)


def find_dialect(names: Sequence[str], source: str) -> Dialect:
    """Which names a checkpoint of Voxtral 2507 uses.

    Raises:
        SpeechError: none that are known.
    """
    if any(name.startswith(_MISTRAL) for name in names):
        return "mistral"
    if any(name.removeprefix("model.").startswith(TOWER) for name in names):
        return "hf"
    shown = ", ".join(sorted(names)[:3])
    raise SpeechError(
        f"`{source}` holds no weights of Voxtral: {shown} ...",
        "give a folder with weights from mistralai, or converted ones",
    )


def to_our_names(
    arrays: Arrays, dialect: Dialect, config: VoxtralConfig
) -> dict[str, mx.array]:
    """The parameters of :class:`mlx_speech.voxtral.model.Voxtral`.

    Args:
        arrays: of a checkpoint; layers may be quantised. What has an unknown name
            keeps it, so that strict loading reports it.
        dialect: of :func:`find_dialect`.
        config: sizes.

    Raises:
        SpeechError: a quantised layer whose shapes make no sense.
    """
    if dialect == "mistral":
        named = from_mistral(arrays, mistral_name)
        heads = config.text.num_attention_heads, config.text.num_key_value_heads
        named = pair_half_a_head_apart(named, "language_model.", *heads)
    else:
        named = {hf_name(name): array for name, array in arrays.items()}
    named = with_mlx_convolutions(named)
    audio = config.audio
    tower = {n: array for n, array in named.items() if n.startswith(TOWER)}
    rest = {n: array for n, array in named.items() if not n.startswith(TOWER)}
    fused = fuse(tower, audio.hidden_size)
    table = f"{TOWER}embed_positions"
    if table not in fused:
        fused[table] = sinusoids(audio.max_source_positions, audio.hidden_size)
    return rest | fused


def to_hf_names(parameters: Arrays, mlx_convolutions: bool) -> dict[str, mx.array]:
    """Hugging Face's checkpoint of the parameters of a model.

    Args:
        parameters: of :class:`mlx_speech.voxtral.model.Voxtral`.
        mlx_convolutions: keep convolutions in MLX's order of axes.
    """
    named = split(parameters)
    if mlx_convolutions:
        return named
    return {
        name: array.transpose(0, 2, 1) if CONVOLUTION.fullmatch(name) else array
        for name, array in named.items()
    }


def hf_name(name: str) -> str:
    """The name in Hugging Face's files, of that name or of transformers 5's modules."""
    name = name.removeprefix("model.")
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    part = name.removeprefix("language_model.")
    if part != name and not part.startswith(("model.", "lm_head.")):
        return f"language_model.model.{part}"
    return name


def mistral_name(module: str) -> str | None:
    """Hugging Face's name of one of Mistral's modules; None: it is unknown."""
    if module in _MISTRAL_NAMES:
        return _MISTRAL_NAMES[module]
    for pattern, parts, prefix in (
        (_DECODER_LAYER, _DECODER_PARTS, "language_model.model.layers"),
        (_ENCODER_LAYER, _ENCODER_PARTS, "audio_tower.layers"),
    ):
        match = pattern.fullmatch(module)
        if match and match[2] in parts:
            return f"{prefix}.{match[1]}.{parts[match[2]]}"
    return None


def from_mistral(
    arrays: Arrays, rename: Callable[[str], str | None]
) -> dict[str, mx.array]:
    """Arrays under the names that ``rename`` gives to their modules."""
    found = {}
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        theirs = rename(module)
        found[name if theirs is None else f"{theirs}.{leaf}"] = array
    return found


def pair_half_a_head_apart(
    arrays: Arrays, prefix: str, n_heads: int, n_kv_heads: int
) -> dict[str, mx.array]:
    """Reorder the rows of queries and keys for Hugging Face's rotary positions.

    Args:
        arrays: under Hugging Face's names; weights, biases and, of quantised layers,
            what belongs to each row.
        prefix: of the part that has rotary positions.
        n_heads, n_kv_heads: heads of queries, and of keys.
    """
    found = dict(arrays)
    for name, array in arrays.items():
        heads = n_heads if ".self_attn.q_proj." in name else n_kv_heads
        if name.startswith(prefix) and re.search(r"\.self_attn\.[qk]_proj\.", name):
            if array.shape[0] % (2 * heads):
                # Strict loading says what is wrong with its shape.
                continue
            rest = array.shape[1:]
            pairs = array.reshape(heads, -1, 2, *rest)
            found[name] = pairs.swapaxes(1, 2).reshape(-1, *rest)
    return found


def with_mlx_convolutions(arrays: Arrays) -> dict[str, mx.array]:
    """Weights of convolutions as [outputs, taps, inputs]; those that are stay so.

    No name tells the layouts apart, but the taps do: they are three, and no model has
    so few channels or bands.
    """
    return {
        name: array.transpose(0, 2, 1)
        if CONVOLUTION.fullmatch(name) and array.ndim == 3 and array.shape[2] == 3
        else array
        for name, array in arrays.items()
    }
