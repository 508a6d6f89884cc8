"""Every layout of Whisper's files gives the same network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import save_safetensors
from mlx_speech.models import load_model, load_voice, speak
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.whisper import checkpoints
from mlx_speech.whisper.checkpoints import load_whisper
from mlx_speech.whisper.model import Whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
OPENAI_FILE = GOLDENS / "whisper_openai.pt"
NAME = "distilled"


def test_hugging_face_folder(
    hf_folder: Path, plain: Whisper, files: ModuleType
) -> None:
    model = load_whisper(hf_folder)
    files.assert_same(model, plain)
    assert model.folder == hf_folder
    # No heads are known: all of the upper half of the layers, here of the only one.
    assert model.config.alignment_heads == ((0, 0), (0, 1))


def test_shards_and_a_stored_head_that_equals_the_table(
    hf_folder: Path, plain: Whisper, recipe: ModuleType, files: ModuleType
) -> None:
    weights = files.hf_weights(recipe, NAME)
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    (hf_folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[:20], "b.safetensors": names[20:]}
    for shard, inside in shards.items():
        save_safetensors(hf_folder / shard, {name: weights[name] for name in inside})
    index = {name: shard for shard, inside in shards.items() for name in inside}
    files.write_json(hf_folder / "model.safetensors.index.json", {"weight_map": index})
    files.assert_same(load_whisper(hf_folder), plain)


def test_biases_of_keys_are_kept_and_may_be_absent(
    hf_folder: Path, plain: Whisper, recipe: ModuleType, files: ModuleType
) -> None:
    weights = files.hf_weights(recipe, NAME)
    for name in list(weights):
        if name.endswith("k_proj.weight"):
            bias = name.replace("weight", "bias")
            weights[bias] = mx.array(recipe.normal(bias, (32,)))
    save_safetensors(hf_folder / "model.safetensors", weights)
    model = load_whisper(hf_folder)
    fused = model.encoder.layers[1].self_attn.qkv_proj.bias
    stem = "model.encoder.layers.1.self_attn"
    parts = [weights[f"{stem}.{part}_proj.bias"] for part in "qkv"]
    assert mx.array_equal(fused, mx.concatenate(parts))
    without = plain.encoder.layers[1].self_attn.qkv_proj.bias
    assert mx.array_equal(without[32:64], mx.zeros(32))
    assert (
        files.relative(files.run(model, recipe, NAME), files.run(plain, recipe, NAME))
        < 1e-5
    )


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_files_are_widened_on_a_cpu_or_kept_on_request(
    dtype: mx.Dtype,
    hf_folder: Path,
    plain: Whisper,
    recipe: ModuleType,
    files: ModuleType,
) -> None:
    weights = {k: v.astype(dtype) for k, v in files.hf_weights(recipe, NAME).items()}
    save_safetensors(hf_folder / "model.safetensors", weights)
    wide = load_whisper(hf_folder)
    if mx.default_device() == mx.Device(mx.cpu):
        assert wide.dtype == mx.float32
    narrow = load_whisper(hf_folder, dtype)
    kinds = {array.dtype for _, array in tree_flatten(narrow.parameters())}
    assert kinds == {dtype}
    files.assert_same(wide, narrow)
    limit = 0.01 if dtype == mx.float16 else 0.1
    assert (
        files.relative(files.run(wide, recipe, NAME), files.run(plain, recipe, NAME))
        < limit
    )


@pytest.mark.parametrize("kind", ["safetensors", "npz", "model.safetensors"])
def test_mlx_community_folder(
    kind: str, tmp_path: Path, recipe: ModuleType, files: ModuleType
) -> None:
    weights = files.mlx_weights(recipe, "english")
    weights["alignment_heads"] = mx.array([[2, 0], [1, 2]], mx.int32)
    folder = files.write_mlx(tmp_path / "mlx", recipe, "english", weights)
    if kind == "npz":
        (folder / "weights.safetensors").unlink()
        halves = {
            k: np.array(v.astype(mx.float16) if v.ndim > 1 and k[0] != "a" else v)
            for k, v in weights.items()
        }
        np.savez(folder / "weights.npz", **halves)
    elif kind == "model.safetensors":
        (folder / "weights.safetensors").rename(folder / "model.safetensors")
    model = load_whisper(folder)
    assert model.config.alignment_heads == ((2, 0), (1, 2))
    with np.load(GOLDENS / "whisper.npz") as golden:
        stored = golden["english/openai/logits"]
    tokens = mx.array(recipe.tokens("english"))
    cross = model.cross_key_values(model.encode(mx.array(recipe.mel("english"))))
    logits = recipe.sample("logits", np.array(model.decode(tokens, cross)))
    assert files.relative(logits, stored) < (1e-5 if kind != "npz" else 1e-2)


def test_bfloat16_in_an_npz(
    tmp_path: Path, recipe: ModuleType, files: ModuleType
) -> None:
    folder = files.write_mlx(tmp_path / "mlx", recipe, "english", {})
    (folder / "weights.safetensors").unlink()
    narrow = {
        k: v.astype(mx.bfloat16)
        for k, v in files.mlx_weights(recipe, "english").items()
    }
    raw = {k: np.array(v.view(mx.uint16)).view("V2") for k, v in narrow.items()}
    np.savez(folder / "weights.npz", **raw)
    loaded = load_whisper(folder).decoder.embed_tokens.weight
    assert mx.array_equal(loaded, narrow["decoder.token_embedding.weight"])


def test_torch_file_of_hugging_face(
    tmp_path: Path, recipe: ModuleType, files: ModuleType
) -> None:
    folder = files.write_hf(tmp_path / "bin", recipe.hf_config("stored"), {})
    (folder / "model.safetensors").unlink()
    shutil.copy(GOLDENS / "whisper_hf.bin", folder / "pytorch_model.bin")
    files.assert_same(load_whisper(folder), load_whisper(OPENAI_FILE))


def test_openai_file_of_the_release(
    recipe: ModuleType, tmp_path: Path, files: ModuleType
) -> None:
    model = load_whisper(OPENAI_FILE, mx.float16)
    assert model.config.to_dict().items() >= recipe.openai_dims("stored").items()
    config = recipe.hf_config("stored")
    weights = files.hf_weights(recipe, "stored")
    folder = files.write_hf(tmp_path / "same", config, weights)
    files.assert_same(model, load_whisper(folder, mx.float16))
    assert model.folder is None


def test_heads_come_from_the_name_of_an_openai_file_if_they_fit(tmp_path: Path) -> None:
    # "tiny" has heads in layer 3, which this model of one layer has not.
    shutil.copy(OPENAI_FILE, tmp_path / "tiny.pt")
    model = load_whisper(tmp_path / "tiny.pt")
    assert model.config.alignment_heads == ((0, 0), (0, 1))


def test_heads_of_an_openai_file_are_those_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"small.en": ((0, 1),)}
    monkeypatch.setattr(checkpoints, "published_heads", lambda name: table[name])
    shutil.copy(OPENAI_FILE, tmp_path / "small.en.pt")
    model = load_whisper(tmp_path / "small.en.pt")
    assert model.config.alignment_heads == ((0, 1),)


def test_heads_come_from_the_generation_config(
    hf_folder: Path, files: ModuleType
) -> None:
    generation = hf_folder / "generation_config.json"
    files.write_json(generation, {"alignment_heads": [[0, 1]]})
    assert load_whisper(hf_folder).config.alignment_heads == ((0, 1),)
    # Distilled models may bring those of the model that they come from.
    files.write_json(generation, {"alignment_heads": [[7, 0], [10, 17]]})
    assert load_whisper(hf_folder).config.alignment_heads == ((0, 0), (0, 1))
    files.write_json(generation, {"alignment_heads": [7, 0]})
    with pytest.raises(SpeechError, match=r"\[7, 0\] are not pairs"):
        load_whisper(hf_folder)


@pytest.mark.parametrize("source", ["hf", "mlx", "openai"])
def test_load_model_finds_the_family(
    source: str, tmp_path: Path, hf_folder: Path, recipe: ModuleType, files: ModuleType
) -> None:
    path = {"hf": hf_folder, "mlx": tmp_path / "mlx", "openai": OPENAI_FILE}[source]
    if source == "mlx":
        files.write_mlx(path, recipe, "english", files.mlx_weights(recipe, "english"))
        config = json.loads((path / "config.json").read_text())
        del config["model_type"]
        files.write_json(path / "config.json", config)
    assert isinstance(load_model(path, dtype=mx.float32), Whisper)


@pytest.mark.parametrize("use", [load_voice, lambda path: speak("hello", path)])
def test_a_model_that_listens_is_no_voice(
    use: Callable[[Path], Any], hf_folder: Path
) -> None:
    with pytest.raises(SpeechError, match="family `whisper`, which does not speak"):
        use(hf_folder)


@pytest.mark.parametrize(("bits", "group"), [(4, 64), (8, 32)])
def test_quantised_mlx_community_folder(
    bits: int, group: int, tmp_path: Path, recipe: ModuleType, files: ModuleType
) -> None:
    packed = files.mlx_quantized(files.mlx_weights(recipe, "compact"), bits, group)
    setting = {"group_size": group, "bits": bits}
    quantised = load_whisper(
        files.write_mlx(tmp_path / "q", recipe, "compact", packed, quantization=setting)
    )
    layouts = quantized_layers(quantised)
    assert set(layouts.values()) == {(bits, group)}
    # 3 encoder layers of 4 matrices, 2 decoder layers of 7, the table of tokens.
    assert len(layouts) == 3 * 4 + 2 * 7 + 1
    plain = load_whisper(
        files.write_mlx(
            tmp_path / "plain", recipe, "compact", files.unpacked(packed, bits, group)
        )
    )
    assert not quantized_layers(plain)
    ours, theirs = (
        files.run(quantised, recipe, "compact"),
        files.run(plain, recipe, "compact"),
    )
    assert files.relative(ours, theirs) < 1e-5


def test_projections_of_mixed_precision_are_unpacked(
    tmp_path: Path, recipe: ModuleType, files: ModuleType
) -> None:
    whole = files.mlx_weights(recipe, "compact")
    four, eight = files.mlx_quantized(whole, 4, 32), files.mlx_quantized(whole, 8, 32)
    mixed, plain = dict(four), files.unpacked(four, 4, 32)
    for key in four:
        if ".value." in key:
            mixed[key] = eight[key]
            if key in plain:
                plain[key] = files.unpacked(eight, 8, 32)[key]
    model = load_whisper(files.write_mlx(tmp_path / "mixed", recipe, "compact", mixed))
    assert "encoder.layers.0.fc1" in quantized_layers(model)
    assert "encoder.layers.0.self_attn.qkv_proj" not in quantized_layers(model)
    other = load_whisper(files.write_mlx(tmp_path / "plain", recipe, "compact", plain))
    ours, theirs = (
        files.run(model, recipe, "compact"),
        files.run(other, recipe, "compact"),
    )
    assert files.relative(ours, theirs) < 1e-5
