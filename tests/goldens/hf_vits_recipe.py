"""Tiny Hugging Face VITS folders, rebuilt from a recipe instead of stored.

The weights of an array come from a generator seeded by its name, so that the script
with torch and the tests without it make the same folder.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

SYMBOLS = "_ abcdehlorșț'"
COMMON: dict[str, Any] = {
    "model_type": "vits",
    "architectures": ["VitsModel"],
    "vocab_size": len(SYMBOLS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "window_size": 4,
    "ffn_dim": 24,
    "ffn_kernel_size": 3,
    "flow_size": 8,
    "spectrogram_bins": 9,
    "upsample_initial_channel": 16,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 2]],
    "prior_encoder_num_flows": 3,
    "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 3,
    "sampling_rate": 8000,
    "noise_scale": 0.6,
    "noise_scale_duration": 0.7,
    "speaking_rate": 1.25,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "single": COMMON | {"use_stochastic_duration_prediction": True},
    "multi": COMMON
    | {
        "use_stochastic_duration_prediction": False,
        "num_speakers": 3,
        "speaker_embedding_size": 6,
    },
}
TOKENIZER = {
    "tokenizer_class": "VitsTokenizer",
    "add_blank": True,
    "normalize": True,
    "phonemize": False,
    "is_uroman": False,
    "language": "ron",
    "pad_token": "_",
    "unk_token": "<unk>",
}


def state(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """float32 arrays by Hugging Face's names, in PyTorch's layout."""
    arrays: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        noise = generator.standard_normal(shape)
        arrays[name] = (noise * _scale(name, shape) + _offset(name)).astype(np.float32)
    for name in shapes:
        if name.endswith("original0"):
            v = arrays[name[:-1] + "1"]
            length = np.sqrt(np.square(v).sum(axis=(1, 2), keepdims=True))
            arrays[name] = length * arrays[name]
    return arrays


def write_folder(folder: Path, name: str, shapes: dict[str, list[int]]) -> Path:
    """Write the Hugging Face folder of CONFIGS[name]."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]))
    vocabulary = {symbol: index for index, symbol in enumerate(SYMBOLS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    (folder / "added_tokens.json").write_text(json.dumps({"<unk>": len(SYMBOLS)}))
    save_file(state(shapes), folder / "model.safetensors", {"format": "pt"})
    return folder


def _scale(name: str, shape: list[int]) -> float:
    if name.endswith(("bias", "original0", "translate", "log_scale")) or _is_norm(name):
        return 0.1
    if "emb_rel" in name or name.startswith("embed_speaker"):
        return 0.35
    if name == "duration_predictor.proj.weight":
        return 0.04
    if "embed_tokens" in name:
        return shape[1] ** -0.5
    return float(np.prod(shape[1:]) ** -0.5)


def _offset(name: str) -> float:
    if name.endswith("original0") or (_is_norm(name) and name.endswith("weight")):
        return 1.0
    return 1.0 if name == "duration_predictor.proj.bias" else 0.0


def _is_norm(name: str) -> bool:
    return "norm" in name
