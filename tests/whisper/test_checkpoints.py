"""Every layout of Whisper's files gives the same network; ours go back out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors
from mlx_speech.hub.save import save_safetensors
from mlx_speech.models import load_model, load_voice, speak
from mlx_speech.nn.quantized import quantize, quantized_layers
from mlx_speech.whisper.checkpoints import load_whisper, save_whisper
from mlx_speech.whisper.model import Whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
OPENAI_FILE = GOLDENS / "whisper_openai.pt"
NAME = "distilled"
Weights = dict[str, mx.array]


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def hf_weights(recipe: ModuleType, name: str) -> Weights:
    arrays = {f"model.{key}": mx.array(v) for key, v in recipe.state(name).items()}
    return arrays


def write_hf(folder: Path, config: Mapping[str, Any], weights: Weights) -> Path:
    folder.mkdir()
    write_json(folder / "config.json", config)
    save_safetensors(folder / "model.safetensors", weights)
    return folder


def mlx_weights(recipe: ModuleType, name: str) -> Weights:
    """The recipe's model in mlx-community's layout: its own names, no sinusoids."""
    found = {}
    for key, value in recipe.state(name).items():
        named = recipe.to_openai_name(key)
        named = named.replace(".mlp.0.", ".mlp1.").replace(".mlp.2.", ".mlp2.")
        if "conv" in named and value.ndim == 3:
            value = value.transpose(0, 2, 1)
        if named != "encoder.positional_embedding":
            found[named] = mx.array(value)
    return found


def mlx_quantized(weights: Weights, bits: int, group: int) -> Weights:
    """As mlx-community's files hold it: linear layers and the table of tokens."""
    found = {}
    for key, value in weights.items():
        stem, _, leaf = key.rpartition(".")
        if leaf == "weight" and value.ndim == 2 and value.shape[1] % group == 0:
            packed, scales, offsets = mx.quantize(value, group, bits)
            found |= {key: packed, f"{stem}.scales": scales, f"{stem}.biases": offsets}
        else:
            found[key] = value
    return found


def unpacked(weights: Weights, bits: int, group: int) -> Weights:
    """The same weights as plain numbers."""
    found = {}
    for key, value in weights.items():
        stem, _, leaf = key.rpartition(".")
        if f"{stem}.scales" not in weights or leaf == "bias":
            found[key] = value
        elif leaf == "weight":
            scales, offsets = weights[f"{stem}.scales"], weights[f"{stem}.biases"]
            found[key] = mx.dequantize(value, scales, offsets, group, bits)
    return found


def write_mlx(
    folder: Path, recipe: ModuleType, name: str, weights: Weights, **more: Any
) -> Path:
    folder.mkdir()
    config = {"model_type": "whisper", **recipe.openai_dims(name), **more}
    write_json(folder / "config.json", config)
    save_safetensors(folder / "weights.safetensors", weights)
    return folder


def parameters(model: Whisper) -> dict[str, np.ndarray]:
    return {
        name: np.array(array.astype(mx.float32))
        for name, array in tree_flatten(model.parameters())
    }


def assert_same(one: Whisper, other: Whisper, limit: float = 0.0) -> None:
    ours, theirs = parameters(one), parameters(other)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert np.abs(value - theirs[name]).max() <= limit, name


def run(model: Whisper, recipe: ModuleType, name: str) -> np.ndarray:
    """Logits of several tokens, then of single ones."""
    tokens = mx.array(recipe.tokens(name))
    cross = model.cross_key_values(model.encode(mx.array(recipe.mel(name))))
    cache = model.new_cache()
    pieces = [model.decode(tokens[:, :6], cross, cache)]
    pieces += [model.decode(tokens[:, at : at + 1], cross, cache) for at in (6, 7)]
    # One row in all, which quantised layers compute in another way.
    first = [(keys[:1], values[:1]) for keys, values in cross]
    pieces.append(mx.repeat(model.decode(tokens[:1, :1], first), 2, 0))
    return np.array(mx.concatenate(pieces, axis=1))


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.fixture
def hf_folder(tmp_path: Path, recipe: ModuleType) -> Path:
    return write_hf(tmp_path / "hf", recipe.hf_config(NAME), hf_weights(recipe, NAME))


@pytest.fixture(scope="module")
def plain(tiny_whisper: Callable[[str], Whisper]) -> Whisper:
    return tiny_whisper(NAME)


def test_hugging_face_folder(hf_folder: Path, plain: Whisper) -> None:
    model = load_whisper(hf_folder)
    assert_same(model, plain)
    assert model.folder == hf_folder
    # No heads are known: all of the upper half of the layers, here of the only one.
    assert model.config.alignment_heads == ((0, 0), (0, 1))


def test_shards_and_a_stored_head_that_equals_the_table(
    hf_folder: Path, plain: Whisper, recipe: ModuleType
) -> None:
    weights = hf_weights(recipe, NAME)
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    (hf_folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[:20], "b.safetensors": names[20:]}
    for shard, inside in shards.items():
        save_safetensors(hf_folder / shard, {name: weights[name] for name in inside})
    index = {name: shard for shard, inside in shards.items() for name in inside}
    write_json(hf_folder / "model.safetensors.index.json", {"weight_map": index})
    assert_same(load_whisper(hf_folder), plain)


def test_a_head_of_its_own_is_refused(hf_folder: Path, recipe: ModuleType) -> None:
    weights = hf_weights(recipe, NAME)
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"] + 1
    save_safetensors(hf_folder / "model.safetensors", weights)
    with pytest.raises(SpeechError, match=r"1 keys unexpected \(proj_out.weight\)"):
        load_whisper(hf_folder)


def test_biases_of_keys_are_kept_and_may_be_absent(
    hf_folder: Path, plain: Whisper, recipe: ModuleType
) -> None:
    weights = hf_weights(recipe, NAME)
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
    assert relative(run(model, recipe, NAME), run(plain, recipe, NAME)) < 1e-5


@pytest.mark.parametrize("part", ["q_proj", "v_proj", "out_proj"])
@pytest.mark.parametrize("leaf", ["weight", "bias"])
def test_a_missing_projection_or_bias_is_named_or_counted(
    part: str, leaf: str, hf_folder: Path, recipe: ModuleType
) -> None:
    weights = hf_weights(recipe, NAME)
    del weights[f"model.decoder.layers.0.encoder_attn.{part}.{leaf}"]
    save_safetensors(hf_folder / "model.safetensors", weights)
    with pytest.raises(SpeechError, match="another architecture") as caught:
        load_whisper(hf_folder)
    assert "decoder.layers.0.encoder_attn" in caught.value.message


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_files_are_widened_on_a_cpu_or_kept_on_request(
    dtype: mx.Dtype, hf_folder: Path, plain: Whisper, recipe: ModuleType
) -> None:
    weights = {k: v.astype(dtype) for k, v in hf_weights(recipe, NAME).items()}
    save_safetensors(hf_folder / "model.safetensors", weights)
    wide = load_whisper(hf_folder)
    if mx.default_device() == mx.Device(mx.cpu):
        assert wide.dtype == mx.float32
    narrow = load_whisper(hf_folder, dtype)
    kinds = {array.dtype for _, array in tree_flatten(narrow.parameters())}
    assert kinds == {dtype}
    assert_same(wide, narrow)
    limit = 0.01 if dtype == mx.float16 else 0.1
    assert relative(run(wide, recipe, NAME), run(plain, recipe, NAME)) < limit


@pytest.mark.parametrize("kind", ["safetensors", "npz", "model.safetensors"])
def test_mlx_community_folder(kind: str, tmp_path: Path, recipe: ModuleType) -> None:
    weights = mlx_weights(recipe, "english")
    weights["alignment_heads"] = mx.array([[2, 0], [1, 2]], mx.int32)
    folder = write_mlx(tmp_path / "mlx", recipe, "english", weights)
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
    assert relative(logits, stored) < (1e-5 if kind != "npz" else 1e-2)


def test_bfloat16_in_an_npz(tmp_path: Path, recipe: ModuleType) -> None:
    folder = write_mlx(tmp_path / "mlx", recipe, "english", {})
    (folder / "weights.safetensors").unlink()
    narrow = {
        k: v.astype(mx.bfloat16) for k, v in mlx_weights(recipe, "english").items()
    }
    raw = {k: np.array(v.view(mx.uint16)).view("V2") for k, v in narrow.items()}
    np.savez(folder / "weights.npz", **raw)
    loaded = load_whisper(folder).decoder.embed_tokens.weight
    assert mx.array_equal(loaded, narrow["decoder.token_embedding.weight"])


@pytest.mark.parametrize(("bits", "group"), [(4, 64), (8, 32)])
def test_quantised_mlx_community_folder(
    bits: int, group: int, tmp_path: Path, recipe: ModuleType
) -> None:
    packed = mlx_quantized(mlx_weights(recipe, "compact"), bits, group)
    setting = {"group_size": group, "bits": bits}
    quantised = load_whisper(
        write_mlx(tmp_path / "q", recipe, "compact", packed, quantization=setting)
    )
    layouts = quantized_layers(quantised)
    assert set(layouts.values()) == {(bits, group)}
    # 3 encoder layers of 4 matrices, 2 decoder layers of 7, the table of tokens.
    assert len(layouts) == 3 * 4 + 2 * 7 + 1
    plain = load_whisper(
        write_mlx(tmp_path / "plain", recipe, "compact", unpacked(packed, bits, group))
    )
    assert not quantized_layers(plain)
    ours, theirs = run(quantised, recipe, "compact"), run(plain, recipe, "compact")
    assert relative(ours, theirs) < 1e-5


def test_projections_of_mixed_precision_are_unpacked(
    tmp_path: Path, recipe: ModuleType
) -> None:
    whole = mlx_weights(recipe, "compact")
    four, eight = mlx_quantized(whole, 4, 32), mlx_quantized(whole, 8, 32)
    mixed, plain = dict(four), unpacked(four, 4, 32)
    for key in four:
        if ".value." in key:
            mixed[key] = eight[key]
            if key in plain:
                plain[key] = unpacked(eight, 8, 32)[key]
    model = load_whisper(write_mlx(tmp_path / "mixed", recipe, "compact", mixed))
    assert "encoder.layers.0.fc1" in quantized_layers(model)
    assert "encoder.layers.0.self_attn.qkv_proj" not in quantized_layers(model)
    other = load_whisper(write_mlx(tmp_path / "plain", recipe, "compact", plain))
    ours, theirs = run(model, recipe, "compact"), run(other, recipe, "compact")
    assert relative(ours, theirs) < 1e-5


def test_openai_file_of_the_release(recipe: ModuleType, tmp_path: Path) -> None:
    model = load_whisper(OPENAI_FILE, mx.float16)
    assert model.config.to_dict().items() >= recipe.openai_dims("stored").items()
    config = recipe.hf_config("stored")
    weights = hf_weights(recipe, "stored")
    folder = write_hf(tmp_path / "same", config, weights)
    assert_same(model, load_whisper(folder, mx.float16))
    assert model.folder is None


def test_heads_come_from_the_name_of_an_openai_file_if_they_fit(tmp_path: Path) -> None:
    # "tiny" has heads in layer 3, which this model of one layer has not.
    shutil.copy(OPENAI_FILE, tmp_path / "tiny.pt")
    model = load_whisper(tmp_path / "tiny.pt")
    assert model.config.alignment_heads == ((0, 0), (0, 1))


def test_heads_come_from_the_generation_config(hf_folder: Path) -> None:
    generation = hf_folder / "generation_config.json"
    write_json(generation, {"alignment_heads": [[0, 1]]})
    assert load_whisper(hf_folder).config.alignment_heads == ((0, 1),)
    # Distilled models may bring those of the model that they come from.
    write_json(generation, {"alignment_heads": [[7, 0], [10, 17]]})
    assert load_whisper(hf_folder).config.alignment_heads == ((0, 0), (0, 1))
    write_json(generation, {"alignment_heads": [7, 0]})
    with pytest.raises(SpeechError, match=r"\[7, 0\] are not pairs"):
        load_whisper(hf_folder)


@pytest.mark.parametrize("source", ["hf", "mlx", "openai"])
def test_load_model_finds_the_family(
    source: str, tmp_path: Path, hf_folder: Path, recipe: ModuleType
) -> None:
    path = {"hf": hf_folder, "mlx": tmp_path / "mlx", "openai": OPENAI_FILE}[source]
    if source == "mlx":
        write_mlx(path, recipe, "english", mlx_weights(recipe, "english"))
        config = json.loads((path / "config.json").read_text())
        del config["model_type"]
        write_json(path / "config.json", config)
    assert isinstance(load_model(path, dtype=mx.float32), Whisper)


@pytest.mark.parametrize("use", [load_voice, lambda path: speak("hello", path)])
def test_a_model_that_listens_is_no_voice(
    use: Callable[[Path], Any], hf_folder: Path
) -> None:
    with pytest.raises(SpeechError, match="family `whisper`, which does not speak"):
        use(hf_folder)


def test_saved_folder_has_the_names_and_shapes_that_transformers_loads(
    tmp_path: Path, plain: Whisper, recipe: ModuleType
) -> None:
    """transformers loaded this folder: `make_whisper.py --check FOLDER distilled`."""
    save_whisper(tmp_path / "out", plain)
    saved = load_safetensors(tmp_path / "out")
    expected = {
        f"model.{name}": list(shape) for name, shape in recipe.shapes(NAME).items()
    }
    assert {name: list(array.shape) for name, array in saved.items()} == expected
    for name, value in recipe.state(NAME).items():
        assert np.array_equal(np.array(saved[f"model.{name}"]), value), name
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    kept = {k: v for k, v in recipe.hf_config(NAME).items() if "token_id" not in k}
    assert config.items() >= kept.items()
    assert config["architectures"] == ["WhisperForConditionalGeneration"]
    # 97 tokens are none of OpenAI's vocabularies, so their special ones are unknown.
    assert config["pad_token_id"] is None
    assert "decoder_start_token_id" not in config
    features = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (features["feature_size"], features["nb_max_frames"]) == (128, 66)


@pytest.mark.parametrize(("name", "end"), [("english", 50256), ("v3", 50257)])
def test_saved_special_tokens_are_those_of_the_vocabulary(
    name: str, end: int, tiny_whisper: Callable[[str], Whisper], tmp_path: Path
) -> None:
    model = tiny_whisper(name)
    save_whisper(tmp_path / "out", model, mx.float16)
    for file in ("config.json", "generation_config.json"):
        content = json.loads((tmp_path / "out" / file).read_text())
        assert content["eos_token_id"] == content["pad_token_id"] == end
        assert content["decoder_start_token_id"] == end + 1
    assert [list(pair) for pair in model.config.alignment_heads] == content[
        "alignment_heads"
    ]
    again = load_whisper(tmp_path / "out")
    assert again.config == model.config
    assert_same(again, model, limit=5e-3)


def test_a_vocabulary_of_its_own_is_told_by_the_caller(
    tmp_path: Path, plain: Whisper
) -> None:
    own = {"eos_token_id": 7, "decoder_start_token_id": 8}
    save_whisper(tmp_path / "out", plain, special_tokens=own)
    for file in ("config.json", "generation_config.json"):
        content = json.loads((tmp_path / "out" / file).read_text())
        assert content.items() >= own.items()


def test_saving_keeps_what_lay_beside_the_weights(
    hf_folder: Path, tmp_path: Path
) -> None:
    config = json.loads((hf_folder / "config.json").read_text())
    write_json(hf_folder / "config.json", config | {"median_filter_width": 9})
    write_json(hf_folder / "generation_config.json", {"suppress_tokens": [5]})
    (hf_folder / "vocab.json").write_text('{"a": 0}')
    model = load_whisper(hf_folder)
    out = tmp_path / "out"
    save_whisper(out, model)
    assert (out / "vocab.json").read_text() == '{"a": 0}'
    saved = json.loads((out / "config.json").read_text())
    assert (saved["median_filter_width"], saved["pad_token_id"]) == (9, 1)
    generation = json.loads((out / "generation_config.json").read_text())
    heads = [list(pair) for pair in model.config.alignment_heads]
    assert generation == {"suppress_tokens": [5], "alignment_heads": heads}
    # In place, over the folder that it came from.
    save_whisper(hf_folder, model)
    assert (hf_folder / "vocab.json").read_text() == '{"a": 0}'
    assert_same(load_whisper(hf_folder), model)


def test_quantised_model_is_saved_in_mlx_communitys_layout(
    tmp_path: Path, recipe: ModuleType, tiny_whisper: Callable[[str], Whisper]
) -> None:
    model = tiny_whisper("compact")
    assert quantize(model, bits=8) == 27
    save_whisper(tmp_path / "out", model)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization"] == {"group_size": 64, "bits": 8}
    assert config.items() >= recipe.openai_dims("compact").items()
    expected = set(mlx_quantized(mlx_weights(recipe, "compact"), 8, 64))
    saved = load_safetensors(tmp_path / "out" / "weights.safetensors")
    assert set(saved) == expected | {"alignment_heads"}
    again = load_whisper(tmp_path / "out")
    assert relative(run(again, recipe, "compact"), run(model, recipe, "compact")) < 1e-6
    plain = tiny_whisper("compact")
    assert relative(run(again, recipe, "compact"), run(plain, recipe, "compact")) < 0.05


def test_mlx_layout_goes_out_and_back(
    tmp_path: Path, recipe: ModuleType, tiny_whisper: Callable[[str], Whisper]
) -> None:
    for name in ("compact", NAME):
        model = tiny_whisper(name)
        save_whisper(tmp_path / name, model, layout="mlx")
        saved = load_safetensors(tmp_path / name / "weights.safetensors")
        heads = saved.pop("alignment_heads")
        assert heads.tolist() == [list(pair) for pair in model.config.alignment_heads]
        expected = mlx_weights(recipe, name)
        assert saved.keys() == expected.keys()
        assert all(mx.array_equal(saved[key], expected[key]) for key in saved)
        config = json.loads((tmp_path / name / "config.json").read_text())
        # Readers of this layout know no other sizes, unless the model has them.
        more = {"n_audio_mlp": 80, "n_text_mlp": 48} if name == NAME else {}
        assert config == {"model_type": "whisper", **recipe.openai_dims(name), **more}
        # The table of positions comes back computed.
        assert_same(load_whisper(tmp_path / name), model, limit=1e-5)


def test_what_quantised_files_cannot_hold_is_refused(
    tmp_path: Path, tiny_whisper: Callable[[str], Whisper]
) -> None:
    model = tiny_whisper("compact")
    quantize(model.encoder, bits=8)
    quantize(model.decoder, bits=4)
    with pytest.raises(SpeechError, match="quantised in different ways: 4 bits in"):
        save_whisper(tmp_path / "out", model)
    model = tiny_whisper("compact")
    quantize(model)
    with pytest.raises(SpeechError, match="Hugging Face's layout has no place for"):
        save_whisper(tmp_path / "out", model, layout="hf")
    model.encoder.embed_positions = mx.zeros((40, 64))
    with pytest.raises(SpeechError, match="positions are learned"):
        save_whisper(tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def break_config(folder: Path, recipe: ModuleType) -> None:
    config = recipe.hf_config(NAME)
    del config["decoder_layers"]
    write_json(folder / "config.json", config | {"activation_function": "relu"})


def break_size(folder: Path, recipe: ModuleType) -> None:
    write_json(folder / "config.json", recipe.hf_config(NAME) | {"vocab_size": 98})


def cut_weights(folder: Path, _recipe: ModuleType) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def remove_weights(folder: Path, _recipe: ModuleType) -> None:
    (folder / "model.safetensors").unlink()


def other_weights(folder: Path, _recipe: ModuleType) -> None:
    save_safetensors(folder / "model.safetensors", {"a.b": mx.zeros(3)})


def damage_npz(folder: Path, recipe: ModuleType) -> None:
    (folder / "model.safetensors").unlink()
    path = folder / "weights.npz"
    np.savez(path, **{k: np.array(v) for k, v in mlx_weights(recipe, NAME).items()})
    path.write_bytes(path.read_bytes()[:-300])


def only_an_adapter(folder: Path, _recipe: ModuleType) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def scales_alone(folder: Path, recipe: ModuleType) -> None:
    weights = mlx_quantized(mlx_weights(recipe, NAME), 4, 32)
    del weights["encoder.blocks.0.attn.out.biases"]
    save_safetensors(folder / "model.safetensors", weights)


def odd_scales(folder: Path, recipe: ModuleType) -> None:
    weights = mlx_quantized(mlx_weights(recipe, NAME), 4, 32)
    key = "encoder.blocks.0.attn.out.weight"
    weights[key] = weights[key][:, :1]
    save_safetensors(folder / "model.safetensors", weights)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_config, "activation_function is 'relu' .*decoder_layers is missing"),
        (break_size, r"embed_tokens.weight \[97, 32\] instead of \[98, 32\]"),
        (cut_weights, "model.safetensors` is truncated"),
        (remove_weights, "holds a config.json but no weights"),
        (other_weights, "holds no weights of Whisper: its names are like a.b"),
        (damage_npz, "weights.npz` is truncated or corrupt"),
        (only_an_adapter, "holds an adapter, not a whole model"),
        (scales_alone, "`encoder.layers.0.self_attn.out_proj` has `scales` but no"),
        (odd_scales, r"\[32, 1\] with scales \[32, 1\] is no quantised matrix of 32"),
    ],
)
def test_damaged_folders_are_explained(
    damage: Callable[[Path, ModuleType], None],
    message: str,
    hf_folder: Path,
    recipe: ModuleType,
) -> None:
    damage(hf_folder, recipe)
    with pytest.raises(SpeechError, match=message):
        load_whisper(hf_folder)


def test_a_torch_file_of_something_else_is_refused() -> None:
    with pytest.raises(SpeechError, match="it lacks `dims` or `model_state_dict`"):
        load_whisper(GOLDENS / "torch_zip.pth")
