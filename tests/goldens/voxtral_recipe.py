"""Tiny Voxtral models, clips and conversations, rebuilt from a recipe.

Each array comes from a generator seeded by its name in Hugging Face's checkpoints, so
that the script with torch and the tests without it make the same model.
"""

from __future__ import annotations

import copy
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SAMPLE_RATE = 16000
Arrays = dict[str, np.ndarray]

AUDIO = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_mel_bins": 128,
    "max_source_positions": 1500,
}
# Queries are wider than the channels, and share two heads of keys, as in the release.
TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
}
ROPE_THETA = 1e8
# Seconds, and how loud the second half is: whole chunks share one loudest moment.
CLIPS = {
    "short": (7.3, 1.0),
    "other": (2.5, 0.4),
    "long": (45.0, 0.01),
    "longest": (61.5, 0.02),
}
TRANSCRIPTIONS: list[tuple[str, str | None]] = [
    ("short", None),
    ("short", "en"),
    ("long", "fr"),
    ("long", None),
    ("longest", "hi"),
]
# Speakers and what they say; ["audio", name] is a clip.
CONVERSATIONS: dict[str, list[tuple[str, list[Any] | str]]] = {
    "question": [("user", [["audio", "short"], "What is said here?"])],
    "two audios": [
        ("user", [["audio", "short"], ["audio", "other"], "Compare the two."])
    ],
    "text before": [("user", ["Listen:", ["audio", "other"], "Who speaks?"])],
    "texts": [("user", [["audio", "other"], "One.", "Two.", ["audio", "short"]])],
    "turns": [
        ("user", [["audio", "other"], "What is it?"]),
        ("assistant", "A dog barks. "),
        ("user", "Why does it?"),
    ],
    "same speaker": [("user", [["audio", "other"]]), ("user", "Who is it?")],
    "system": [("system", "Be brief."), ("user", "Où est la gare ?")],
    "no audio": [("user", "Say [INST] and </s> as they are.")],
}
GENERATED = 12
LANGUAGES = ("en", "fr", "de", "es", "it", "pt", "nl", "hi")
TEXTS = (
    "",
    " ",
    "lang:en",
    "Hello, world! It's 3.14 o'clock -- isn't it?",
    "  two  spaces\n\n\tand a tab ",
    "Fünf schöne Äpfel kosten 12,50 €.",
    "Ça va très bien, n'est-ce pas ?",
    "Съешь же ещё этих мягких булок.",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "今日は天気がいいですね。",
    "مرحبا بالعالم",
    "🎉👩‍👩‍👧‍👦 emoji",
    "[INST] <s> [AUDIO] </s> are text",
    "CamelCase snake_case 1,000,000 x/y\\z",
)
# A value in so many is stored, so that the file stays small.
STRIDES = {"features": 1499, "encoder": 997, "projector": 211, "logits": 911}


def hf_config() -> dict[str, Any]:
    """Settings for transformers' VoxtralConfig, in the spelling of transformers 5."""
    return {
        "model_type": "voxtral",
        "audio_token_id": 24,
        "projector_hidden_act": "gelu",
        "audio_config": {"model_type": "voxtral_encoder", **AUDIO},
        "text_config": {
            "model_type": "llama",
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
            **TEXT,
        },
    }


def mistral_params() -> dict[str, Any]:
    """The same model as Mistral's params.json describes it."""
    return {
        "dim": TEXT["hidden_size"],
        "n_layers": TEXT["num_hidden_layers"],
        "head_dim": TEXT["head_dim"],
        "hidden_dim": TEXT["intermediate_size"],
        "n_heads": TEXT["num_attention_heads"],
        "n_kv_heads": TEXT["num_key_value_heads"],
        "rope_theta": ROPE_THETA,
        "norm_eps": TEXT["rms_norm_eps"],
        "vocab_size": TEXT["vocab_size"],
        "max_seq_len": TEXT["max_position_embeddings"],
        "multimodal": {
            "whisper_model_args": {
                "encoder_args": {
                    "dim": AUDIO["hidden_size"],
                    "n_layers": AUDIO["num_hidden_layers"],
                    "head_dim": AUDIO["hidden_size"] // AUDIO["num_attention_heads"],
                    "hidden_dim": AUDIO["intermediate_size"],
                    "n_heads": AUDIO["num_attention_heads"],
                    "vocab_size": 51866,
                    "max_source_positions": AUDIO["max_source_positions"],
                    "audio_encoding_args": {
                        "sampling_rate": SAMPLE_RATE,
                        "num_mel_bins": AUDIO["num_mel_bins"],
                        "hop_length": 160,
                        "window_size": 400,
                    },
                },
                "downsample_args": {"downsample_factor": 4},
            }
        },
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the checkpoint, by its names on disk."""
    d, bands = AUDIO["hidden_size"], AUDIO["num_mel_bins"]
    found: dict[str, tuple[int, ...]] = {
        "audio_tower.conv1.weight": (d, bands, 3),
        "audio_tower.conv1.bias": (d,),
        "audio_tower.conv2.weight": (d, d, 3),
        "audio_tower.conv2.bias": (d,),
        "audio_tower.embed_positions.weight": (AUDIO["max_source_positions"], d),
        "audio_tower.layer_norm.weight": (d,),
        "audio_tower.layer_norm.bias": (d,),
    }
    inner = AUDIO["intermediate_size"]
    for index in range(AUDIO["num_hidden_layers"]):
        layer = f"audio_tower.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found[f"{layer}.self_attn.{part}.weight"] = (d, d)
            if part != "k_proj":
                found[f"{layer}.self_attn.{part}.bias"] = (d,)
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            found |= {f"{layer}.{norm}.weight": (d,), f"{layer}.{norm}.bias": (d,)}
        found |= {f"{layer}.fc1.weight": (inner, d), f"{layer}.fc1.bias": (inner,)}
        found |= {f"{layer}.fc2.weight": (d, inner), f"{layer}.fc2.bias": (d,)}
    h = TEXT["hidden_size"]
    found["multi_modal_projector.linear_1.weight"] = (h, inner)
    found["multi_modal_projector.linear_2.weight"] = (h, h)
    return found | decoder_shapes(TEXT) | {"language_model.lm_head.weight": (512, h)}


def decoder_shapes(sizes: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the language model without its head."""
    h, inner = sizes["hidden_size"], sizes["intermediate_size"]
    queries = sizes["num_attention_heads"] * sizes["head_dim"]
    keys = sizes["num_key_value_heads"] * sizes["head_dim"]
    found: dict[str, tuple[int, ...]] = {
        "language_model.model.embed_tokens.weight": (sizes["vocab_size"], h),
        "language_model.model.norm.weight": (h,),
    }
    for index in range(sizes["num_hidden_layers"]):
        layer = f"language_model.model.layers.{index}"
        found |= {
            f"{layer}.self_attn.q_proj.weight": (queries, h),
            f"{layer}.self_attn.k_proj.weight": (keys, h),
            f"{layer}.self_attn.v_proj.weight": (keys, h),
            f"{layer}.self_attn.o_proj.weight": (h, queries),
            f"{layer}.mlp.gate_proj.weight": (inner, h),
            f"{layer}.mlp.up_proj.weight": (inner, h),
            f"{layer}.mlp.down_proj.weight": (h, inner),
            f"{layer}.input_layernorm.weight": (h,),
            f"{layer}.post_attention_layernorm.weight": (h,),
        }
    return found


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One float32 array, in PyTorch's layout."""
    if name.endswith("embed_positions.weight"):
        return sinusoids(*shape)
    draw = normal(name, shape)
    if "norm" in name and "ada_rms_norm" not in name:
        return (0.1 * draw + name.endswith("weight")).astype(np.float32)
    if name.endswith("bias"):
        return np.float32(0.3) * draw
    if "embed_tokens" in name or "lm_head" in name:
        return np.float32(0.3) * draw
    return np.float32(1.5 / math.sqrt(math.prod(shape[1:]))) * draw


def state() -> Arrays:
    """All weights under the names of Hugging Face's files."""
    return {name: weight(name, shape) for name, shape in shapes().items()}


def mistral_state() -> Arrays:
    """All weights as Mistral's consolidated.safetensors names and pairs them."""
    found = {}
    for name, array in state().items():
        if name == "audio_tower.embed_positions.weight":
            continue
        if name.startswith("language_model") and ".q_proj" in name:
            array = neighbours(array, TEXT["num_attention_heads"])
        elif name.startswith("language_model") and ".k_proj" in name:
            array = neighbours(array, TEXT["num_key_value_heads"])
        found[mistral_name(name)] = array
    return found


def neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows with the two of a rotated pair beside each other, not half a head apart."""
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def mistral_name(name: str) -> str:
    """Mistral's name of an array, from Hugging Face's."""
    embeddings = "mm_whisper_embeddings"
    encoder = f"{embeddings}.whisper_encoder"
    for ours, theirs in (
        ("language_model.model.embed_tokens", f"{embeddings}.tok_embeddings"),
        ("language_model.lm_head", "output"),
        ("language_model.model.", ""),
        ("multi_modal_projector.linear_1", f"{embeddings}.audio_language_projection.0"),
        ("multi_modal_projector.linear_2", f"{embeddings}.audio_language_projection.2"),
        ("audio_tower.conv1", f"{encoder}.conv_layers.0"),
        ("audio_tower.conv2", f"{encoder}.conv_layers.1"),
        ("audio_tower.layer_norm", f"{encoder}.transformer.norm"),
        ("audio_tower.layers", f"{encoder}.transformer.layers"),
        ("self_attn_layer_norm", "attention_norm"),
        ("final_layer_norm", "ffn_norm"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attention.wq"),
        ("self_attn.k_proj", "attention.wk"),
        ("self_attn.v_proj", "attention.wv"),
        ("self_attn.o_proj", "attention.wo"),
        ("self_attn.out_proj", "attention.wo"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("fc1", "feed_forward.w1"),
        ("fc2", "feed_forward.w2"),
    ):
        name = name.replace(ours, theirs)
    return name


def sinusoids(length: int, channels: int) -> np.ndarray:
    """Positions of the encoder, in double precision."""
    step = math.log(10000) / (channels // 2 - 1)
    angles = np.arange(length)[:, None] * np.exp(-step * np.arange(channels // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 standard normal numbers that depend on the name alone."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.standard_normal(shape).astype(np.float32)


def clip(name: str) -> np.ndarray:
    """int16 samples of a clip: a voice-like tone in noise, quieter in its second half.

    Whole numbers, so that a wav file holds them exactly; / 32768 gives -1..1.
    """
    seconds, second_half = CLIPS[name]
    return sound(name, round(seconds * SAMPLE_RATE), second_half)


def sound(name: str, samples: int, second_half: float = 1.0) -> np.ndarray:
    """int16 [samples]; see :func:`clip`."""
    time = np.arange(samples) / SAMPLE_RATE
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time)
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)
    loudness = 0.3 + 0.3 * np.sin(2 * np.pi * 3 * time)
    loudness[samples // 2 :] *= second_half
    noise = 0.1 * normal(f"sound {name}", (samples,))
    return np.round(16000 * loudness * (tone**3 + noise)).astype(np.int16)


def sample(field: str, value: np.ndarray) -> np.ndarray:
    """The stored values of a field, float32 [n]."""
    flat = np.ascontiguousarray(value, dtype=np.float32).reshape(-1)
    return flat[:: STRIDES[field]]


def tekken(realtime: bool = False) -> dict[str, Any]:
    """A small tekken.json whose special tokens have Voxtral's ids."""
    content = json.loads((HERE / "voxtral_tekken.json").read_text())
    return with_audio(content, realtime)


def with_audio(content: dict[str, Any], realtime: bool = False) -> dict[str, Any]:
    """A tekken.json with the special tokens and settings of one of the two models."""
    content = copy.deepcopy(content)
    # Only the version's rules for conversations depend on it.
    content["config"]["version"] = "v7"
    names = dict(enumerate(SPECIAL_TOKENS)) | {34: "[TRANSCRIBE]"}
    names |= {32: "[STREAMING_PAD]", 33: "[STREAMING_WORD]"}
    content["special_tokens"] = [
        {"rank": i, "token_str": names.get(i, f"<SPECIAL_{i}>"), "is_control": True}
        for i in range(content["config"]["default_num_special_tokens"])
    ]
    content["audio"] = {
        "sampling_rate": SAMPLE_RATE,
        "frame_rate": 12.5,
        "audio_encoding_config": {
            "num_mel_bins": 128,
            "hop_length": 160,
            "window_size": 400,
        },
        "chunk_length_s": None if realtime else 30.0,
    }
    if realtime:
        content["audio"] |= {
            "transcription_format": "streaming",
            "transcription_delay_ms": 480,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": 32,
        }
    return content


SPECIAL_TOKENS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]"),
    *("[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]"),
    *("[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
    *("<SPECIAL_20>", "<SPECIAL_21>", "<SPECIAL_22>", "<SPECIAL_23>"),
    *("[AUDIO]", "[BEGIN_AUDIO]"),
)
