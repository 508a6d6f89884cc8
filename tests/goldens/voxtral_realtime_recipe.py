"""A tiny Voxtral Realtime model, rebuilt from a recipe; see voxtral_recipe.py.

The windows are short, so that a few seconds go beyond them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import voxtral_recipe as base

AUDIO = {
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
    "num_mel_bins": 128,
    "rms_norm_eps": 1e-5,
    "sliding_window": 50,
}
TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072,
    "sliding_window": 24,
}
ROPE_THETA = 1e6
DELAY_CHANNELS = 32
GROUP = 4
# Samples, and the delay in tokens of 80 ms.
CLIPS = {"long": (73_211, 6), "short": (20_480, 6), "quick": (20_001, 3)}
STRIDES = {"features": 397, "encoder": 13, "projector": 11, "logits": 61}


def hf_config() -> dict[str, Any]:
    """Settings for transformers' VoxtralRealtimeConfig."""
    rope = {"rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"}}
    return {
        "model_type": "voxtral_realtime",
        "projector_hidden_act": "gelu",
        "audio_length_per_tok": 8,
        "default_num_delay_tokens": 6,
        "downsample_factor": GROUP,
        "tie_word_embeddings": True,
        "audio_config": {"model_type": "voxtral_realtime_encoder", **AUDIO, **rope},
        "text_config": {"model_type": "voxtral_realtime_text", **TEXT, **rope},
    }


def mistral_params() -> dict[str, Any]:
    """The same model as Mistral's params.json describes it."""
    return {
        **mistral_decoder(),
        "multimodal": {
            "whisper_model_args": {
                "encoder_args": mistral_encoder(),
                "downsample_args": {"downsample_factor": GROUP},
            }
        },
    }


def mlx_config() -> dict[str, Any]:
    """The same model as mlx-audio's conversions describe it."""
    encoder = mistral_encoder() | {"downsample_factor": GROUP}
    return {
        "model_type": "voxtral_realtime",
        "decoder": mistral_decoder(),
        "encoder_args": encoder,
        "transcription_delay_ms": 480,
    }


def mistral_decoder() -> dict[str, Any]:
    """The decoder's settings in params.json."""
    return {
        "dim": TEXT["hidden_size"],
        "n_layers": TEXT["num_hidden_layers"],
        "head_dim": TEXT["head_dim"],
        "hidden_dim": TEXT["intermediate_size"],
        "n_heads": TEXT["num_attention_heads"],
        "n_kv_heads": TEXT["num_key_value_heads"],
        "use_biases": False,
        "causal": True,
        "rope_theta": ROPE_THETA,
        "norm_eps": TEXT["rms_norm_eps"],
        "vocab_size": TEXT["vocab_size"],
        "tied_embeddings": True,
        "sliding_window": TEXT["sliding_window"],
        "ada_rms_norm_t_cond": True,
        "ada_rms_norm_t_cond_dim": DELAY_CHANNELS,
    }


def mistral_encoder() -> dict[str, Any]:
    """The encoder's settings in params.json."""
    return {
        "audio_encoding_args": {
            "sampling_rate": base.SAMPLE_RATE,
            "frame_rate": 12.5,
            "num_mel_bins": AUDIO["num_mel_bins"],
            "hop_length": 160,
            "window_size": 400,
            "chunk_length_s": None,
            "global_log_mel_max": 1.5,
            "transcription_format": "streaming",
        },
        "dim": AUDIO["hidden_size"],
        "n_layers": AUDIO["num_hidden_layers"],
        "head_dim": AUDIO["head_dim"],
        "hidden_dim": AUDIO["intermediate_size"],
        "n_heads": AUDIO["num_attention_heads"],
        "n_kv_heads": AUDIO["num_attention_heads"],
        "vocab_size": 131072,
        "use_biases": True,
        "rope_theta": ROPE_THETA,
        "causal": True,
        "norm_eps": AUDIO["rms_norm_eps"],
        "pos_embed": "rope",
        "max_source_positions": None,
        "ffn_type": "swiglu",
        "norm_type": "rms_norm",
        "sliding_window": AUDIO["sliding_window"],
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the checkpoint, by its names on disk."""
    d, inner = AUDIO["hidden_size"], AUDIO["intermediate_size"]
    wide, h = AUDIO["num_attention_heads"] * AUDIO["head_dim"], TEXT["hidden_size"]
    found: dict[str, tuple[int, ...]] = {
        "audio_tower.embedder.conv1.weight": (d, AUDIO["num_mel_bins"], 3),
        "audio_tower.embedder.conv1.bias": (d,),
        "audio_tower.embedder.conv2.weight": (d, d, 3),
        "audio_tower.embedder.conv2.bias": (d,),
        "audio_tower.norm.weight": (d,),
        "multi_modal_projector.linear_1.weight": (h, GROUP * d),
        "multi_modal_projector.linear_2.weight": (h, h),
    }
    for index in range(AUDIO["num_hidden_layers"]):
        layer = f"audio_tower.layers.{index}"
        for part in "qkv":
            found[f"{layer}.self_attn.{part}_proj.weight"] = (wide, d)
        found |= {
            f"{layer}.self_attn.q_proj.bias": (wide,),
            f"{layer}.self_attn.v_proj.bias": (wide,),
            f"{layer}.self_attn.o_proj.weight": (d, wide),
            f"{layer}.self_attn.o_proj.bias": (d,),
            f"{layer}.mlp.gate_proj.weight": (inner, d),
            f"{layer}.mlp.up_proj.weight": (inner, d),
            f"{layer}.mlp.down_proj.weight": (d, inner),
            f"{layer}.mlp.down_proj.bias": (d,),
            f"{layer}.self_attn_layer_norm.weight": (d,),
            f"{layer}.final_layer_norm.weight": (d,),
        }
    found |= base.decoder_shapes(TEXT)
    for index in range(TEXT["num_hidden_layers"]):
        scale = f"language_model.model.layers.{index}.ada_rms_norm"
        found[f"{scale}.linear1.weight"] = (DELAY_CHANNELS, h)
        found[f"{scale}.linear2.weight"] = (h, DELAY_CHANNELS)
    return found


def state() -> base.Arrays:
    """All weights under the names of Hugging Face's files."""
    return {
        name: base.weight(f"realtime {name}", shape) for name, shape in shapes().items()
    }


def mistral_state() -> base.Arrays:
    """All weights as Mistral's consolidated.safetensors names and pairs them."""
    found = {}
    for name, array in state().items():
        sizes = AUDIO if name.startswith("audio_tower") else TEXT
        heads = sizes["num_attention_heads"]
        if ".q_proj" in name:
            array = base.neighbours(array, heads)
        elif ".k_proj" in name:
            array = base.neighbours(array, sizes.get("num_key_value_heads", heads))
        found[mistral_name(name)] = array
    return found


def mistral_name(name: str) -> str:
    """Mistral's name of an array, from Hugging Face's."""
    embeddings = "mm_streams_embeddings.embedding_module"
    encoder = f"{embeddings}.whisper_encoder"
    for ours, theirs in (
        ("audio_tower.embedder.conv1", f"{encoder}.conv_layers.0.conv"),
        ("audio_tower.embedder.conv2", f"{encoder}.conv_layers.1.conv"),
        ("audio_tower.norm", f"{encoder}.transformer.norm"),
        ("ada_rms_norm.linear1", "ada_rms_norm_t_cond.0"),
        ("ada_rms_norm.linear2", "ada_rms_norm_t_cond.2"),
    ):
        name = name.replace(ours, theirs)
    return base.mistral_name(name).replace("mm_whisper_embeddings", embeddings)


def clip(name: str) -> np.ndarray:
    """int16 samples of a clip, / 32768 gives -1..1."""
    return base.sound(f"realtime {name}", CLIPS[name][0])


def tekken(delay_tokens: int = 6) -> dict[str, Any]:
    """The small tekken.json with the settings of the realtime model."""
    content = base.tekken(realtime=True)
    content["audio"]["transcription_delay_ms"] = 80 * delay_tokens
    return content


def sample(field: str, value: np.ndarray) -> np.ndarray:
    """The stored values of a field, float32 [n]."""
    flat = np.ascontiguousarray(value, dtype=np.float32).reshape(-1)
    return flat[:: STRIDES[field]]
