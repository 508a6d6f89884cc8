"""Tiny Whisper models, rebuilt from a recipe instead of stored.

Each array comes from a generator seeded by its Hugging Face name, so that the script
with torch and the tests without it make the same model. Biases are large: a result
shows when one is missing.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

# Sizes under OpenAI's names, and feed-forward widths where they are not four times the
# channels (only transformers has such models).
SIZES: dict[str, dict[str, int]] = {
    "multilingual": {
        **{"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 32, "n_audio_head": 4},
        **{"n_audio_layer": 1, "n_vocab": 51865, "n_text_ctx": 448, "n_text_head": 2},
        **{"n_text_layer": 2},
    },
    "english": {
        **{"n_mels": 80, "n_audio_ctx": 50, "n_audio_state": 48, "n_audio_head": 3},
        **{"n_audio_layer": 2, "n_vocab": 51864, "n_text_ctx": 40, "n_text_head": 3},
        **{"n_text_layer": 3},
    },
    "v3": {
        **{"n_mels": 128, "n_audio_ctx": 40, "n_audio_state": 64, "n_audio_head": 4},
        **{"n_audio_layer": 3, "n_vocab": 51866, "n_text_ctx": 24, "n_text_head": 4},
        **{"n_text_layer": 2},
    },
    "distilled": {
        **{"n_mels": 128, "n_audio_ctx": 33, "n_audio_state": 32, "n_audio_head": 4},
        **{"n_audio_layer": 3, "n_vocab": 97, "n_text_ctx": 20, "n_text_head": 2},
        **{"n_text_layer": 1, "n_audio_mlp": 80, "n_text_mlp": 48},
    },
}
# A model whose checkpoint is stored whole, as OpenAI writes it.
STORED: dict[str, int] = {
    **{"n_mels": 4, "n_audio_ctx": 6, "n_audio_state": 8, "n_audio_head": 2},
    **{"n_audio_layer": 1, "n_vocab": 20, "n_text_ctx": 8, "n_text_head": 2},
    **{"n_text_layer": 1},
}
# A model that can be quantised in groups of 64, and is quick.
COMPACT: dict[str, int] = SIZES["v3"] | {"n_vocab": 120}
BATCH, TOKENS = 2, 9
# The cached run decodes this many tokens at once, then one at a time.
PREFIX = 4
# A value in so many is stored, so that the files stay small.
STRIDES = {"encoder": 53, "logits": 211, "scores": 7}


def mlp_sizes(name: str) -> tuple[int, int]:
    """Inner widths of the feed-forward networks of encoder and decoder."""
    sizes = SIZES[name]
    width = 4 * sizes["n_audio_state"]
    return sizes.get("n_audio_mlp", width), sizes.get("n_text_mlp", width)


def hf_config(name: str) -> dict[str, Any]:
    """Settings for transformers' WhisperConfig."""
    sizes = SIZES[name]
    audio_mlp, text_mlp = mlp_sizes(name)
    return {
        "model_type": "whisper",
        "num_mel_bins": sizes["n_mels"],
        "max_source_positions": sizes["n_audio_ctx"],
        "d_model": sizes["n_audio_state"],
        "encoder_attention_heads": sizes["n_audio_head"],
        "encoder_layers": sizes["n_audio_layer"],
        "encoder_ffn_dim": audio_mlp,
        "vocab_size": sizes["n_vocab"],
        "max_target_positions": sizes["n_text_ctx"],
        "decoder_attention_heads": sizes["n_text_head"],
        "decoder_layers": sizes["n_text_layer"],
        "decoder_ffn_dim": text_mlp,
        "pad_token_id": 1,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "decoder_start_token_id": 2,
        "activation_function": "gelu",
        "tie_word_embeddings": True,
    }


def openai_dims(name: str) -> dict[str, int]:
    """The ten numbers of OpenAI's checkpoints."""
    sizes = {k: v for k, v in SIZES[name].items() if not k.endswith("_mlp")}
    return sizes | {"n_text_state": sizes["n_audio_state"]}


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the checkpoint by Hugging Face's names, without ``model.``."""
    sizes = SIZES[name]
    d = sizes["n_audio_state"]
    found: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (d, sizes["n_mels"], 3),
        "encoder.conv1.bias": (d,),
        "encoder.conv2.weight": (d, d, 3),
        "encoder.conv2.bias": (d,),
        "encoder.embed_positions.weight": (sizes["n_audio_ctx"], d),
        "decoder.embed_tokens.weight": (sizes["n_vocab"], d),
        "decoder.embed_positions.weight": (sizes["n_text_ctx"], d),
    }
    for part, layers, mlp in (
        ("encoder", sizes["n_audio_layer"], mlp_sizes(name)[0]),
        ("decoder", sizes["n_text_layer"], mlp_sizes(name)[1]),
    ):
        for index in range(layers):
            found |= _layer(f"{part}.layers.{index}", d, mlp, part == "decoder")
        found |= _norm(f"{part}.layer_norm", d)
    return found


def _layer(
    layer: str, d: int, mlp: int, has_context: bool
) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    attentions = ("self_attn", "encoder_attn") if has_context else ("self_attn",)
    for attention in attentions:
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found[f"{layer}.{attention}.{part}.weight"] = (d, d)
            if part != "k_proj":
                found[f"{layer}.{attention}.{part}.bias"] = (d,)
        found |= _norm(f"{layer}.{attention}_layer_norm", d)
    found |= {f"{layer}.fc1.weight": (mlp, d), f"{layer}.fc1.bias": (mlp,)}
    found |= {f"{layer}.fc2.weight": (d, mlp), f"{layer}.fc2.bias": (d,)}
    return found | _norm(f"{layer}.final_layer_norm", d)


def _norm(name: str, d: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (d,), f"{name}.bias": (d,)}


def sinusoids(length: int, channels: int) -> np.ndarray:
    """Positions of the encoder, in double precision."""
    step = math.log(10000) / (channels // 2 - 1)
    angles = np.arange(length)[:, None] * np.exp(-step * np.arange(channels // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One float32 array, in PyTorch's layout."""
    if name == "encoder.embed_positions.weight":
        return sinusoids(*shape)
    draw = normal(name, shape)
    if "layer_norm" in name:
        return (0.1 * draw + name.endswith("weight")).astype(np.float32)
    if name.endswith("bias"):
        return np.float32(0.3) * draw
    if "embed" in name:
        return np.float32(0.3) * draw
    return np.float32(1.5 / math.sqrt(math.prod(shape[1:]))) * draw


def state(name: str) -> Arrays:
    """All weights of SIZES[name]."""
    return {key: weight(key, shape) for key, shape in shapes(name).items()}


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 standard normal numbers that depend on the name alone."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.standard_normal(shape).astype(np.float32)


def mel(name: str) -> np.ndarray:
    """Input of the encoder, [batch, frames, n_mels]."""
    sizes = SIZES[name]
    shape = (BATCH, 2 * sizes["n_audio_ctx"], sizes["n_mels"])
    return np.float32(0.5) * normal(f"mel {name}", shape)


def tokens(name: str) -> np.ndarray:
    """Input of the decoder, [batch, tokens] int64."""
    generator = np.random.default_rng(zlib.crc32(f"tokens {name}".encode()))
    return generator.integers(3, SIZES[name]["n_vocab"], (BATCH, TOKENS))


def sample(field: str, value: np.ndarray) -> np.ndarray:
    """The stored values of a field, float32 [n]."""
    flat = np.ascontiguousarray(value, dtype=np.float32).reshape(-1)
    return flat[:: STRIDES[field.rpartition("/")[2].split("_")[0]]]


def to_openai_name(name: str) -> str:
    """OpenAI's name of an array, from Hugging Face's."""
    for ours, theirs in (
        ("encoder.layer_norm", "encoder.ln_post"),
        ("decoder.layer_norm", "decoder.ln"),
        ("embed_positions.weight", "positional_embedding"),
        ("embed_tokens", "token_embedding"),
        ("layers", "blocks"),
        ("encoder_attn_layer_norm", "cross_attn_ln"),
        ("self_attn_layer_norm", "attn_ln"),
        ("final_layer_norm", "mlp_ln"),
        ("encoder_attn", "cross_attn"),
        ("self_attn", "attn"),
        ("q_proj", "query"),
        ("k_proj", "key"),
        ("v_proj", "value"),
        ("out_proj", "out"),
        ("fc1", "mlp.0"),
        ("fc2", "mlp.2"),
    ):
        name = name.replace(ours, theirs)
    return name
