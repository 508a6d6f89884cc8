"""Tiny Whisper models that say something: weights and cases of the decoding goldens.

The arrays come from generators seeded by model and name, under OpenAI's names. Random
models repeat one token for ever; these look more at positions than at tokens, and the
ends and times have longer embeddings, so that transcripts have segments and endings.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

# Vocabulary, channels, text layers, context, and scales of embeddings: end of text,
# times, positions.
MODELS: dict[str, dict[str, Any]] = {
    "multilingual": {"vocab": 51865, "d": 32, "layers": 2, "ctx": 64, "seed": 1},
    "wordy": {"vocab": 51865, "d": 48, "layers": 1, "ctx": 96, "seed": 2, "time": 0.6},
    "v3": {"vocab": 51866, "d": 32, "layers": 2, "ctx": 64, "seed": 3, "mels": 128},
    "english": {"vocab": 51864, "d": 32, "layers": 2, "ctx": 64, "seed": 4},
    "deep": {"vocab": 51865, "d": 32, "layers": 4, "ctx": 48, "seed": 5, "end": 1.2},
    "timed": {"vocab": 51864, "d": 48, "layers": 1, "ctx": 80, "seed": 6, "time": 1.2},
}
# Models that transcribe recordings. Their windows have 2 s, and one has 30 s as all
# true ones; later times than that are shortened, so that they hardly occur.
TRANSCRIBERS: dict[str, dict[str, Any]] = {
    "short": {"vocab": 51865, "d": 32, "layers": 2, "ctx": 64, "seed": 11, "end": 2.5},
    "other": {"vocab": 51865, "d": 48, "layers": 1, "ctx": 48, "seed": 12, "end": 2.5},
    "short v3": {
        **{"vocab": 51866, "d": 32, "layers": 2, "ctx": 64, "seed": 13, "mels": 128},
        "end": 2.5,
    },
    "short english": {
        **{"vocab": 51864, "d": 32, "layers": 2, "ctx": 64, "seed": 14, "end": 2.5}
    },
    "whole": {"vocab": 51865, "d": 32, "layers": 1, "ctx": 64, "seed": 15, "end": 2.5},
}
TRANSCRIBERS = {
    name: {**model, "positions": 1500 if name == "whole" else 100}
    for name, model in TRANSCRIBERS.items()
}
# These write several segments in a window, and are surer of their words.
LONG: dict[str, dict[str, Any]] = {
    "long": {"vocab": 51865, "d": 48, "layers": 1, "ctx": 64, "seed": 22, "time": 1.5},
    "long english": {
        **{"vocab": 51864, "d": 48, "layers": 1, "ctx": 64, "seed": 21, "time": 1.6},
    },
    "long v3": {
        **{"vocab": 51866, "d": 32, "layers": 2, "ctx": 64, "seed": 23, "time": 1.5},
        "mels": 128,
    },
}
LONG = {
    name: {**model, "positions": 100, "end": 2.0, "sharp": 3.0, "seconds": 24.37}
    for name, model in LONG.items()
}
ALL = MODELS | TRANSCRIBERS | LONG
POSITIONS = 30
WINDOWS = 2
FIRST_TIME = {51864: 50363, 51865: 50364, 51866: 50365}
END = {51864: 50256, 51865: 50257, 51866: 50257}

PROMPT = " Fellow citizens, as I said before."
PREFIX = "And so"
# openai-whisper's options, but "initial": index of the latest first time.
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"language": "en"},
    "untimed": {"language": "de", "without_timestamps": True},
    "detected": {},
    "translated": {"language": "ja", "task": "translate"},
    "prompted": {"language": "en", "prompt": PROMPT},
    "prompted by ids": {"language": "fr", "prompt": list(range(1000, 1200))},
    "prefixed": {"language": "en", "prefix": PREFIX, "sample_len": 12},
    "prefixed, all sampled": {"language": "en", "prefix": PREFIX, "prompt": PROMPT},
    "short": {"language": "en", "sample_len": 4},
    "long": {"language": "en", "sample_len": 400},
    "blank allowed": {"language": "en", "suppress_blank": False, "initial": None},
    "nothing suppressed": {"language": "en", "suppress_tokens": ""},
    "some suppressed": {"language": "en", "suppress_tokens": "11,13,50,300"},
    "early": {"language": "en", "initial": 5},
    "beams": {"language": "en", "beam_size": 5},
    "patient beams": {
        **{"language": "en", "beam_size": 3, "patience": 2.0},
        "length_penalty": 0.6,
    },
    "impatient beams": {"language": "en", "beam_size": 4, "patience": 0.5},
    "untimed beams": {
        **{"language": "en", "beam_size": 2, "without_timestamps": True},
        "prompt": PROMPT,
    },
    "detected beams": {"beam_size": 3, "length_penalty": 0.0},
    "one beam": {"language": "en", "beam_size": 1},
    "drawn": {"language": "en", "temperature": 0.4},
    "best of three": {"language": "en", "temperature": 0.9, "best_of": 3},
    "best of two, untimed": {
        **{"language": "en", "temperature": 1.0, "best_of": 2},
        **{"without_timestamps": True, "length_penalty": 1.0},
    },
}

# Of transcriptions: openai-whisper's options, under its names.
TRANSCRIPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"language": "en", "temperature": 0.0},
    "detected": {"temperature": 0.0},
    "translated": {"language": "de", "task": "translate", "temperature": 0.0},
    "untimed": {"language": "en", "temperature": 0.0, "without_timestamps": True},
    "unlikely windows again": {
        **{"language": "en", "temperature": (0.0, 0.4, 0.8), "best_of": 2},
        "logprob_threshold": -3.4,
    },
    "repetitive windows again": {
        **{"language": "en", "temperature": (0.0, 0.3), "beam_size": 2},
        **{"compression_ratio_threshold": 1.02, "logprob_threshold": None},
    },
    "silent windows": {
        **{"language": "en", "temperature": 0.0, "no_speech_threshold": 1e-5},
        "logprob_threshold": -3.4,
    },
    "nothing fails": {
        **{"language": "en", "no_speech_threshold": None},
        **{"logprob_threshold": None, "compression_ratio_threshold": None},
    },
    "unconditioned": {
        **{"language": "en", "temperature": 0.0},
        "condition_on_previous_text": False,
    },
    "forgetful": {"language": "en", "temperature": 0.6},
    "prompted": {"language": "en", "temperature": 0.0, "initial_prompt": PROMPT},
    "prompted always": {
        **{"language": "en", "temperature": 0.0, "initial_prompt": PROMPT},
        "carry_initial_prompt": True,
    },
    "clips": {
        **{"language": "en", "temperature": 0.0},
        "clip_timestamps": "0.5,2.04,3,4.5",
    },
    "words": {"language": "en", "temperature": 0.0, "word_timestamps": True},
    "words, nothing made up": {
        **{"language": "en", "temperature": 0.0, "word_timestamps": True},
        "hallucination_silence_threshold": 0.4,
    },
    "words, short silences": {
        **{"language": "ja", "temperature": 0.0, "word_timestamps": True},
        "hallucination_silence_threshold": 0.05,
    },
    "open clip": {"temperature": 0.0, "clip_timestamps": [3.0]},
}

# Of a dozen windows and more: options, and the models that have them.
LONG_TRANSCRIPTIONS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({"language": "en", "temperature": 0.0}, ("long", "long english")),
    "detected": ({"temperature": 0.0, "initial_prompt": PROMPT}, ("long v3",)),
    "words": (
        {"language": "en", "temperature": 0.0, "word_timestamps": True},
        ("long", "long english"),
    ),
}


def transcriptions() -> list[tuple[str, str]]:
    """Model and options: all for the first, a share of them for the others."""
    names = list(TRANSCRIPTIONS)
    first, *others = [name for name in TRANSCRIBERS if name != "whole"]
    found = [(first, name) for name in names] + [("whole", "detected")]
    for index, model in enumerate(others):
        chosen = {"plain", "words", *names[index :: len(others)]}
        found += [(model, name) for name in names if name in chosen]
    return [
        (model, name)
        for model, name in found
        if TRANSCRIBERS[model]["vocab"] != 51864
        or TRANSCRIPTIONS[name].get("task") is None
    ]


def recording(name: str) -> np.ndarray:
    """Tones that come and go in noise, float32 at 16 kHz; longer than any window."""
    length = ALL[name].get("seconds", 40.3 if name == "whole" else 5.123)
    generator = np.random.default_rng(ALL[name]["seed"])
    time = np.arange(int(length * 16000)) / 16000
    sound = 0.01 * generator.standard_normal(len(time))
    for start in np.arange(0, length, length / 9):
        pitch, level = generator.uniform(150, 1500), generator.uniform(0.05, 0.5)
        gate = (time >= start) & (time < start + generator.uniform(0.3, 1.2))
        sound += gate * level * np.sin(2 * np.pi * pitch * time)
    return sound.astype(np.float32)


def cases() -> list[tuple[str, str]]:
    """Model and options: all for the first model, a share of them for each other."""
    names = list(OPTIONS)
    first, *others = MODELS
    found = [(first, name) for name in names]
    for index, model in enumerate(others):
        chosen = {"greedy", "beams", *names[index :: len(others)]}
        found += [(model, name) for name in names if name in chosen]
    return [
        (model, name)
        for model, name in found
        if MODELS[model]["vocab"] != 51864 or "language" in OPTIONS[name]
    ]


def dims(name: str) -> dict[str, int]:
    """OpenAI's ten numbers."""
    model = ALL[name]
    positions = model.get("positions", POSITIONS)
    return {
        **{"n_mels": model.get("mels", 80), "n_audio_ctx": positions},
        **{"n_audio_state": model["d"], "n_audio_head": 2, "n_audio_layer": 1},
        **{"n_vocab": model["vocab"], "n_text_ctx": model["ctx"]},
        **{"n_text_state": model["d"], "n_text_head": 2},
        "n_text_layer": model["layers"],
    }


def state(name: str) -> dict[str, np.ndarray]:
    """All weights, float32, in PyTorch's layout."""
    model = ALL[name]
    d = model["d"]
    arrays = {
        "encoder.conv1.weight": _normal(name, "conv1", (d, dims(name)["n_mels"], 3)),
        "encoder.conv1.bias": _normal(name, "conv1 bias", (d,), 0.1),
        "encoder.conv2.weight": _normal(name, "conv2", (d, d, 3)),
        "encoder.conv2.bias": _normal(name, "conv2 bias", (d,), 0.1),
        "encoder.positional_embedding": _sinusoids(dims(name)["n_audio_ctx"], d),
        "decoder.positional_embedding": _normal(
            name, "positions", (model["ctx"], d), model.get("position", 1.5)
        ),
        "decoder.token_embedding.weight": _embedding(name),
    }
    arrays |= _layer(name, "encoder.blocks.0", d, ("attn",))
    arrays |= _norm("encoder.ln_post", d) | _norm("decoder.ln", d)
    # Longer vectors make larger logits, and surer words.
    arrays["decoder.ln.weight"] *= np.float32(model.get("sharp", 1.0))
    for index in range(model["layers"]):
        arrays |= _layer(name, f"decoder.blocks.{index}", d, ("attn", "cross_attn"))
    return arrays


def mel(name: str) -> np.ndarray:
    """Input of the encoder, float32 [windows, frames, n_mels]."""
    shape = (WINDOWS, 2 * POSITIONS, dims(name)["n_mels"])
    return _normal(name, "mel", shape, 0.7)


def _embedding(name: str) -> np.ndarray:
    model = ALL[name]
    first = FIRST_TIME[model["vocab"]]
    table = _normal(name, "tokens", (model["vocab"], model["d"]), 0.35)
    table[first:] *= np.float32(model.get("time", 1.0))
    if "positions" in model:
        table[first + model["positions"] + 1 :] *= np.float32(0.1)
    table[END[model["vocab"]]] *= np.float32(model.get("end", 2.0))
    return table


def _layer(
    model: str, layer: str, d: int, attentions: tuple[str, ...]
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for attention in attentions:
        for part in ("query", "key", "value", "out"):
            name = f"{layer}.{attention}.{part}"
            arrays[f"{name}.weight"] = _normal(model, name, (d, d), 1.5 / math.sqrt(d))
            if part != "key":
                arrays[f"{name}.bias"] = _normal(model, f"{name} bias", (d,), 0.2)
        arrays |= _norm(f"{layer}.{attention}_ln", d)
    for part, shape in (("mlp.0", (4 * d, d)), ("mlp.2", (d, 4 * d))):
        name = f"{layer}.{part}"
        arrays[f"{name}.weight"] = _normal(model, name, shape, 1 / math.sqrt(shape[1]))
        arrays[f"{name}.bias"] = _normal(model, f"{name} bias", (shape[0],), 0.2)
    return arrays | _norm(f"{layer}.mlp_ln", d)


def _norm(name: str, d: int) -> dict[str, np.ndarray]:
    return {
        f"{name}.weight": np.ones(d, np.float32),
        f"{name}.bias": np.zeros(d, np.float32),
    }


def _sinusoids(length: int, channels: int) -> np.ndarray:
    step = math.log(10000) / (channels // 2 - 1)
    angles = np.arange(length)[:, None] * np.exp(-step * np.arange(channels // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def _normal(
    model: str, name: str, shape: tuple[int, ...], scale: float | None = None
) -> np.ndarray:
    """float32 normal numbers that depend on the model and the name alone."""
    if scale is None:
        scale = 1 / math.sqrt(math.prod(shape[1:]))
    seed = zlib.crc32(f"{ALL[model]['seed']} {name}".encode())
    draw = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return np.float32(scale) * draw
