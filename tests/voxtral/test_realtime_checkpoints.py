"""Voxtral Realtime's weights in every layout, quantised, and written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors
from mlx_speech.hub.save import save_safetensors
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.voxtral.checkpoints import (
    load_realtime,
    quantize_voxtral,
    save_voxtral,
)
from mlx_speech.voxtral.realtime_config import RealtimeConfig, is_realtime
from mlx_speech.voxtral.realtime_model import VoxtralRealtime

Relative = Callable[[Any, Any], float]

# What mlx-audio and voxmlx make of Mistral's names.
MLX_AUDIO = {
    "mm_streams_embeddings.embedding_module.whisper_encoder.": "encoder.",
    "mm_streams_embeddings.embedding_module.audio": "encoder.audio",
    "mm_streams_embeddings.embedding_module.tok": "decoder.tok",
    "transformer.layers": "transformer_layers",
    "transformer.norm": "transformer_norm",
    "conv_layers.0": "conv_layers_0_conv",
    "conv_layers.1": "conv_layers_1_conv",
    "projection.": "projection_",
    "feed_forward.": "feed_forward_",
    "t_cond.0": "t_cond.ada_down",
    "t_cond.2": "t_cond.ada_up",
}
VOXMLX = {
    "mm_streams_embeddings.embedding_module.whisper_encoder.conv_layers.0.conv": (
        "encoder.conv1"
    ),
    "mm_streams_embeddings.embedding_module.whisper_encoder.conv_layers.1.conv": (
        "encoder.conv2"
    ),
    "mm_streams_embeddings.embedding_module.whisper_encoder.transformer": "encoder",
    "mm_streams_embeddings.embedding_module.audio_language_projection.0": (
        "adapter.w_in"
    ),
    "mm_streams_embeddings.embedding_module.audio_language_projection.2": (
        "adapter.w_out"
    ),
    "mm_streams_embeddings.embedding_module.tok_embeddings": (
        "language_model.embed_tokens"
    ),
    "attention.wq": "attention.q_proj",
    "attention.wk": "attention.k_proj",
    "attention.wv": "attention.v_proj",
    "attention.wo": "attention.o_proj",
    "attention_norm": "attn_norm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "ada_rms_norm_t_cond.0": "ada_norm.linear_in",
    "ada_rms_norm_t_cond.2": "ada_norm.linear_out",
}


def renamed(name: str, table: dict[str, str], decoder: str) -> str:
    for ours, theirs in table.items():
        name = name.replace(ours, theirs)
    return f"{decoder}.{name}" if name.startswith(("layers", "norm")) else name


def logits(model: VoxtralRealtime) -> mx.array:
    generator = np.random.default_rng(5)
    mel = mx.array(generator.standard_normal((320, 128)).astype(np.float32))
    audio = model.encode(mel, model.audio_tower.new_state())
    tokens = mx.array([1] + [32] * 38 + [200])
    caches = model.language_model.new_caches()
    return model.read(tokens, audio, caches, model.delay_scales(6))


@pytest.fixture(scope="module")
def plain(tiny_realtime: VoxtralRealtime) -> mx.array:
    return logits(tiny_realtime)


@pytest.fixture
def folder(tmp_path: Path, realtime: ModuleType) -> Path:
    return write(tmp_path / "hf", realtime.hf_config(), realtime.state())


def write(
    folder: Path, config: dict[str, Any], arrays: dict[str, Any], stem: str = "model"
) -> Path:
    folder.mkdir()
    name = "params.json" if stem == "consolidated" else "config.json"
    (folder / name).write_text(json.dumps(config))
    save_safetensors(
        folder / f"{stem}.safetensors", {k: mx.array(v) for k, v in arrays.items()}
    )
    return folder


def test_all_dialects_give_equal_logits(
    tmp_path: Path, folder: Path, realtime: ModuleType, plain: mx.array
) -> None:
    mistral = realtime.mistral_state()
    params, flat = realtime.mistral_params(), realtime.mlx_config()
    # mlx-audio writes convolutions in MLX's order of axes, voxmlx in Mistral's.
    audio = {
        renamed(name, MLX_AUDIO, "decoder"): np.ascontiguousarray(
            array.transpose(0, 2, 1) if array.ndim == 3 else array
        )
        for name, array in mistral.items()
    }
    vox = {renamed(n, VOXMLX, "language_model"): a for n, a in mistral.items()}
    assert "decoder.layers.0.ada_rms_norm_t_cond.ada_up.weight" in audio
    assert "encoder.layers.1.attention.q_proj.bias" in vox
    folders = [
        folder,
        write(tmp_path / "mistral", params, mistral, "consolidated"),
        write(tmp_path / "mlx-audio", flat, audio),
        write(tmp_path / "voxmlx", params, vox),
    ]
    for each in folders:
        assert mx.array_equal(logits(load_realtime(each)), plain), each.name


def test_quantised_files_of_mistrals_names_are_read(
    tmp_path: Path, folder: Path, realtime: ModuleType
) -> None:
    """Rows of packed integers are reordered with their scales."""
    model = load_realtime(folder)
    quantize_voxtral(model, bits=4, group_size=32)
    packed: dict[str, mx.array] = {}
    for name, value in realtime.mistral_state().items():
        module, _, leaf = name.rpartition(".")
        layer = "attention.w" in name or "feed_forward.w" in name
        if layer and leaf == "weight":
            bits = 8 if "whisper_encoder" in name else 4
            parts = mx.quantize(mx.array(value), 32, bits)
            for part, array in zip(("weight", "scales", "biases"), parts, strict=True):
                packed[f"{module}.{part}"] = array
        else:
            packed[name] = mx.array(value)
    made = write(tmp_path / "q", realtime.mistral_params(), packed)
    found = load_realtime(made)
    whole = dict(quantized_layers(model))
    assert set(quantized_layers(found)) < set(whole)
    for part in ("q_proj", "k_proj", "v_proj"):
        ours = model.language_model.model.layers[1].self_attn[part]
        theirs = found.language_model.model.layers[1].self_attn[part]
        assert mx.array_equal(ours.weight, theirs.weight), part
        assert mx.array_equal(ours.scales, theirs.scales), part


def test_quantised_models_are_written_and_read(
    tmp_path: Path, folder: Path, plain: mx.array, relative: Relative
) -> None:
    model = load_realtime(folder)
    quantize_voxtral(model, bits=6, group_size=32)
    before = logits(model)
    save_voxtral(tmp_path / "q6", model)
    again = load_realtime(tmp_path / "q6")
    assert quantized_layers(again) == quantized_layers(model)
    assert mx.array_equal(logits(again), before)
    assert 0 < relative(before, plain) < 0.2
    config = json.loads((tmp_path / "q6" / "config.json").read_text())
    assert config["quantization"]["bits"] == 6
    assert config["quantization"]["multi_modal_projector.linear_1"]["bits"] == 8
    with pytest.raises(SpeechError, match="Hugging Face's layout has no place"):
        save_voxtral(tmp_path / "hf6", model, layout="hf")


def test_half_precision_is_computed_when_asked_for(
    folder: Path, plain: mx.array, relative: Relative
) -> None:
    model = load_realtime(folder, mx.bfloat16)
    assert model.dtype == mx.bfloat16
    assert model.delay_scales(6)[0].dtype == mx.bfloat16
    state = model.audio_tower.new_state()
    assert model.encode(mx.zeros((8, 128)), state).dtype == mx.bfloat16
    found = logits(model)
    assert found.dtype == mx.float32 and relative(found, plain) < 0.1


def test_hugging_faces_layout_is_written_as_it_was_read(
    tmp_path: Path, folder: Path, realtime: ModuleType
) -> None:
    save_voxtral(tmp_path / "again", load_realtime(folder))
    arrays, state = load_safetensors(tmp_path / "again"), realtime.state()
    assert set(arrays) == set(state)
    for name, array in arrays.items():
        assert np.array_equal(np.array(array), state[name]), name


def test_forms_of_the_configuration_mean_the_same(
    realtime: ModuleType, recipe: ModuleType
) -> None:
    forms = [realtime.hf_config(), realtime.mistral_params(), realtime.mlx_config()]
    first, *others = [RealtimeConfig.from_dict(form) for form in forms]
    assert all(other == first for other in others)
    assert RealtimeConfig.from_dict(first.to_hf()) == first
    assert all(is_realtime(form) for form in forms)
    assert not is_realtime(recipe.hf_config())
    assert not is_realtime(recipe.mistral_params())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sliding_window": None}, "the decoder has no sliding_window"),
        ({"tied_embeddings": False}, "tied_embeddings is False instead of True"),
        ({"ada_rms_norm_t_cond": False}, "ada_rms_norm_t_cond is False"),
        ({"multimodal": {}}, "whisper_model_args is missing"),
        ({"sliding_window": "wide"}, "sliding_window is 'wide'"),
        ({"transcription_delay_ms": None}, "transcription_delay_ms is None"),
        ({"transcription_delay_ms": float("nan")}, "transcription_delay_ms is nan"),
    ],
)
def test_settings_that_make_another_network_are_refused(
    realtime: ModuleType, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpeechError, match=message):
        RealtimeConfig.from_dict(realtime.mistral_params() | change)


def test_weights_of_another_model_are_refused(
    tmp_path: Path, realtime: ModuleType
) -> None:
    arrays = {"encoder.blocks.0.attn.query.weight": np.zeros((4, 4), np.float32)}
    made = write(tmp_path / "w", realtime.hf_config(), arrays)
    with pytest.raises(SpeechError, match="holds no weights of Voxtral Realtime"):
        load_realtime(made)
