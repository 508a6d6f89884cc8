"""Voxtral's weights in every layout, quantised, written again, and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors, read_metadata
from mlx_speech.hub.save import save_safetensors
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.voxtral import checkpoints
from mlx_speech.voxtral.checkpoints import (
    load_voxtral,
    quantize_voxtral,
    save_voxtral,
)
from mlx_speech.voxtral.model import Voxtral

Relative = Callable[[Any, Any], float]
Writer = Callable[[Path, dict[str, np.ndarray]], None]


def write_single(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    save_safetensors(
        folder / "model.safetensors", {k: mx.array(v) for k, v in arrays.items()}
    )


def write_shards(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    names = sorted(arrays)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_safetensors(folder / shard, {k: mx.array(arrays[k]) for k in held})
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))


def make_folder(
    folder: Path, recipe: ModuleType, arrays: dict[str, np.ndarray], write: Writer
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(recipe.hf_config()))
    (folder / "tekken.json").write_text(json.dumps(recipe.tekken()))
    write(folder, arrays)
    return folder


def logits(model: Voxtral) -> mx.array:
    """Logits of a prompt of text and of one chunk of noise."""
    generator = np.random.default_rng(5)
    noise = generator.standard_normal((1, 3000, 128)).astype(np.float32)
    audio = model.encode(mx.array(noise))[:40]
    tokens = mx.array([1, 3, 25, *[24] * 40, 4, 208, 34])
    hidden = model.language_model(model.embed(tokens, audio), model.new_caches())
    return model.language_model.logits(hidden)[0]


@pytest.fixture(scope="module")
def plain(tiny: Voxtral) -> mx.array:
    return logits(tiny)


@pytest.fixture
def folder(tmp_path: Path, recipe: ModuleType) -> Path:
    return make_folder(tmp_path / "hf", recipe, recipe.state(), write_single)


@pytest.mark.parametrize("write", [write_single, write_shards])
def test_hugging_face_folders_are_read(
    tmp_path: Path, recipe: ModuleType, plain: mx.array, write: Writer
) -> None:
    made = make_folder(tmp_path / "hf", recipe, recipe.state(), write)
    assert mx.array_equal(logits(load_voxtral(made)), plain)


def test_names_of_transformers_5_modules_are_read(
    tmp_path: Path, recipe: ModuleType, plain: mx.array
) -> None:
    arrays = {
        name.removeprefix("language_model.")
        if "lm_head" in name
        else "model." + name.replace("language_model.model.", "language_model."): value
        for name, value in recipe.state().items()
    }
    made = make_folder(tmp_path / "hf", recipe, arrays, write_single)
    assert mx.array_equal(logits(load_voxtral(made)), plain)


def test_mistrals_files_give_the_same_logits(
    tmp_path: Path, recipe: ModuleType, plain: mx.array, relative: Relative
) -> None:
    arrays = {name: mx.array(value) for name, value in recipe.mistral_state().items()}
    save_safetensors(tmp_path / "consolidated.safetensors", arrays)
    (tmp_path / "params.json").write_text(json.dumps(recipe.mistral_params()))
    found = logits(load_voxtral(tmp_path))
    # Mistral's files hold no positions: they are computed, to the last bit or two.
    assert relative(found, plain) < 1e-5
    state = recipe.state()
    del state["audio_tower.embed_positions.weight"]
    without = make_folder(tmp_path / "hf", recipe, state, write_single)
    assert mx.array_equal(found, logits(load_voxtral(without)))


def test_mlx_conversions_are_read(
    tmp_path: Path, folder: Path, plain: mx.array
) -> None:
    save_voxtral(tmp_path / "mlx", load_voxtral(folder), layout="mlx")
    arrays = load_safetensors(tmp_path / "mlx")
    assert arrays["audio_tower.conv1.weight"].shape == (64, 3, 128)
    assert mx.array_equal(logits(load_voxtral(tmp_path / "mlx")), plain)


def test_hugging_faces_layout_is_written_as_it_was_read(
    tmp_path: Path, folder: Path, recipe: ModuleType
) -> None:
    save_voxtral(tmp_path / "again", load_voxtral(folder))
    arrays = load_safetensors(tmp_path / "again")
    state = recipe.state()
    assert set(arrays) == set(state)
    for name, array in arrays.items():
        assert np.array_equal(np.array(array), state[name]), name
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["model_type"] == "voxtral"
    assert config["text_config"]["rope_parameters"]["rope_theta"] == 1e8
    assert (tmp_path / "again" / "tekken.json").is_file()
    assert read_metadata(tmp_path / "again" / "model.safetensors") == {"format": "pt"}


def test_quantised_models_are_written_and_read(
    tmp_path: Path, folder: Path, plain: mx.array, relative: Relative
) -> None:
    model = load_voxtral(folder)
    quantize_voxtral(model, bits=4, group_size=32)
    bits = {path: layout[0] for path, layout in quantized_layers(model).items()}
    heard = {b for p, b in bits.items() if not p.startswith("language_model")}
    assert heard == {8}
    assert {b for p, b in bits.items() if p.startswith("language_model")} == {4}
    before = logits(model)
    save_voxtral(tmp_path / "q4", model)
    again = load_voxtral(tmp_path / "q4")
    assert quantized_layers(again) == quantized_layers(model)
    assert mx.array_equal(logits(again), before)
    assert 0 < relative(before, plain) < 0.5
    entry = json.loads((tmp_path / "q4" / "config.json").read_text())["quantization"]
    assert (entry["bits"], entry["group_size"]) == (4, 32)
    part = "audio_tower.layers.0.self_attn.v_proj"
    assert entry[part] == {"bits": 8, "group_size": 32}
    assert f"{part}.scales" in load_safetensors(tmp_path / "q4")
    with pytest.raises(SpeechError, match="Hugging Face's layout has no place"):
        save_voxtral(tmp_path / "hf4", model, layout="hf")


def test_eight_bits_lose_little(
    folder: Path, plain: mx.array, relative: Relative
) -> None:
    model = load_voxtral(folder)
    quantize_voxtral(model, bits=8, group_size=32)
    assert relative(logits(model), plain) < 0.06


def test_half_precision_is_computed_when_asked_for(
    folder: Path, plain: mx.array, relative: Relative
) -> None:
    model = load_voxtral(folder, mx.bfloat16)
    dtypes = {array.dtype for _, array in tree_flatten(model.parameters())}
    assert dtypes == {mx.bfloat16} and model.dtype == mx.bfloat16
    found = logits(model)
    assert found.dtype == mx.float32 and relative(found, plain) < 0.1


def test_gpus_compute_in_the_precision_of_most_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conversions keep norms and biases in single precision."""
    rewrite(
        folder,
        lambda arrays: arrays.update(
            {
                name: array.astype(mx.float16)
                for name, array in arrays.items()
                if "norm" not in name and "bias" not in name
            }
        ),
    )
    assert load_voxtral(folder).dtype == mx.float32
    monkeypatch.setattr(checkpoints, "current_device", lambda: "gpu")
    model = load_voxtral(folder)
    assert model.dtype == mx.float16
    quantize_voxtral(model, bits=4, group_size=32)
    save_voxtral(tmp_path / "q4", model)
    assert load_voxtral(tmp_path / "q4").dtype == mx.float16


def remove_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"audio_tower.conv1.weight": "a.safetensors"}})
    )


def rewrite(folder: Path, change: Callable[[dict[str, mx.array]], Any]) -> None:
    arrays = load_safetensors(folder)
    change(arrays)
    save_safetensors(folder / "model.safetensors", arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_shard, r"no file `.+a\.safetensors`"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
        (lambda f: (f / "config.json").unlink(), "neither config.json nor params"),
        (lambda f: (f / "config.json").write_text("[]"), "does not hold a JSON object"),
        (
            lambda f: rewrite(f, lambda a: a.pop("language_model.lm_head.weight")),
            r"1 keys missing \(language_model\.lm_head\.weight\)",
        ),
        (
            lambda f: rewrite(f, lambda a: a.update(extra=mx.zeros(3))),
            r"1 keys unexpected \(extra\)",
        ),
        (
            lambda f: rewrite(
                f, lambda a: [a.pop(k) for k in list(a) if "audio_tower" in k]
            ),
            "holds no weights of Voxtral",
        ),
    ],
)
def test_damaged_folders_are_refused(
    folder: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(folder)
    with pytest.raises(SpeechError, match=message):
        load_voxtral(folder)


def test_weights_of_another_size_are_refused(folder: Path, recipe: ModuleType) -> None:
    content = recipe.hf_config()
    content["text_config"]["num_hidden_layers"] = 3
    content["text_config"]["intermediate_size"] = 128
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(SpeechError, match="with another shape"):
        load_voxtral(folder)
