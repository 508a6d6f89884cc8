"""Checkpoints of Whisper that are damaged or of something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import save_safetensors
from mlx_speech.whisper.checkpoints import load_whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
NAME = "distilled"


def test_a_head_of_its_own_is_refused(
    hf_folder: Path, recipe: ModuleType, files: ModuleType
) -> None:
    weights = files.hf_weights(recipe, NAME)
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"] + 1
    save_safetensors(hf_folder / "model.safetensors", weights)
    with pytest.raises(SpeechError, match=r"1 keys unexpected \(proj_out.weight\)"):
        load_whisper(hf_folder)


@pytest.mark.parametrize("part", ["q_proj", "v_proj", "out_proj"])
@pytest.mark.parametrize("leaf", ["weight", "bias"])
def test_a_missing_projection_or_bias_is_named(
    part: str, leaf: str, hf_folder: Path, recipe: ModuleType, files: ModuleType
) -> None:
    weights = files.hf_weights(recipe, NAME)
    del weights[f"model.decoder.layers.0.encoder_attn.{part}.{leaf}"]
    save_safetensors(hf_folder / "model.safetensors", weights)
    with pytest.raises(SpeechError, match="another architecture") as caught:
        load_whisper(hf_folder)
    assert "decoder.layers.0.encoder_attn" in caught.value.message


def break_config(folder: Path, recipe: ModuleType, files: ModuleType) -> None:
    config = recipe.hf_config(NAME)
    del config["decoder_layers"]
    files.write_json(folder / "config.json", config | {"activation_function": "relu"})


def break_size(folder: Path, recipe: ModuleType, files: ModuleType) -> None:
    files.write_json(
        folder / "config.json", recipe.hf_config(NAME) | {"vocab_size": 98}
    )


def cut_weights(folder: Path, *_: ModuleType) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def remove_weights(folder: Path, *_: ModuleType) -> None:
    (folder / "model.safetensors").unlink()


def other_weights(folder: Path, *_: ModuleType) -> None:
    save_safetensors(folder / "model.safetensors", {"a.b": mx.zeros(3)})


def damage_npz(folder: Path, recipe: ModuleType, files: ModuleType) -> None:
    (folder / "model.safetensors").unlink()
    path = folder / "weights.npz"
    np.savez(
        path, **{k: np.array(v) for k, v in files.mlx_weights(recipe, NAME).items()}
    )
    path.write_bytes(path.read_bytes()[:-300])


def only_an_adapter(folder: Path, *_: ModuleType) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def scales_alone(folder: Path, recipe: ModuleType, files: ModuleType) -> None:
    weights = files.mlx_quantized(files.mlx_weights(recipe, NAME), 4, 32)
    del weights["encoder.blocks.0.attn.out.biases"]
    save_safetensors(folder / "model.safetensors", weights)


def odd_scales(folder: Path, recipe: ModuleType, files: ModuleType) -> None:
    weights = files.mlx_quantized(files.mlx_weights(recipe, NAME), 4, 32)
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
    damage: Callable[[Path, ModuleType, ModuleType], None],
    message: str,
    hf_folder: Path,
    recipe: ModuleType,
    files: ModuleType,
) -> None:
    damage(hf_folder, recipe, files)
    with pytest.raises(SpeechError, match=message):
        load_whisper(hf_folder)


def test_a_torch_file_of_something_else_is_refused() -> None:
    with pytest.raises(SpeechError, match="it lacks `dims` or `model_state_dict`"):
        load_whisper(GOLDENS / "torch_zip.pth")
