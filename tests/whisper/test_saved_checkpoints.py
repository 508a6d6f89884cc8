"""What is written of Whisper: Hugging Face's layout, and mlx-community's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors
from mlx_speech.nn.quantized import quantize
from mlx_speech.whisper.checkpoints import load_whisper, save_whisper
from mlx_speech.whisper.model import Whisper

NAME = "distilled"


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
    name: str,
    end: int,
    tiny_whisper: Callable[[str], Whisper],
    tmp_path: Path,
    files: ModuleType,
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
    files.assert_same(again, model, limit=5e-3)


def test_a_vocabulary_of_its_own_is_told_by_the_caller(
    tmp_path: Path, plain: Whisper
) -> None:
    own = {"eos_token_id": 7, "decoder_start_token_id": 8}
    save_whisper(tmp_path / "out", plain, special_tokens=own)
    for file in ("config.json", "generation_config.json"):
        content = json.loads((tmp_path / "out" / file).read_text())
        assert content.items() >= own.items()


def test_saving_keeps_what_lay_beside_the_weights(
    hf_folder: Path, tmp_path: Path, files: ModuleType
) -> None:
    config = json.loads((hf_folder / "config.json").read_text())
    files.write_json(hf_folder / "config.json", config | {"median_filter_width": 9})
    files.write_json(hf_folder / "generation_config.json", {"suppress_tokens": [5]})
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
    files.assert_same(load_whisper(hf_folder), model)


def test_quantised_model_is_saved_in_mlx_communitys_layout(
    tmp_path: Path,
    recipe: ModuleType,
    tiny_whisper: Callable[[str], Whisper],
    files: ModuleType,
) -> None:
    model = tiny_whisper("compact")
    assert quantize(model, bits=8) == 27
    save_whisper(tmp_path / "out", model)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization"] == {"group_size": 64, "bits": 8}
    assert config.items() >= recipe.openai_dims("compact").items()
    expected = set(files.mlx_quantized(files.mlx_weights(recipe, "compact"), 8, 64))
    saved = load_safetensors(tmp_path / "out" / "weights.safetensors")
    assert set(saved) == expected | {"alignment_heads"}
    again = load_whisper(tmp_path / "out")
    assert (
        files.relative(
            files.run(again, recipe, "compact"), files.run(model, recipe, "compact")
        )
        < 1e-6
    )
    plain = tiny_whisper("compact")
    assert (
        files.relative(
            files.run(again, recipe, "compact"), files.run(plain, recipe, "compact")
        )
        < 0.05
    )


def test_mlx_layout_goes_out_and_back(
    tmp_path: Path,
    recipe: ModuleType,
    tiny_whisper: Callable[[str], Whisper],
    files: ModuleType,
) -> None:
    for name in ("compact", NAME):
        model = tiny_whisper(name)
        save_whisper(tmp_path / name, model, layout="mlx")
        saved = load_safetensors(tmp_path / name / "weights.safetensors")
        heads = saved.pop("alignment_heads")
        assert heads.tolist() == [list(pair) for pair in model.config.alignment_heads]
        expected = files.mlx_weights(recipe, name)
        assert saved.keys() == expected.keys()
        assert all(mx.array_equal(saved[key], expected[key]) for key in saved)
        config = json.loads((tmp_path / name / "config.json").read_text())
        # Readers of this layout know no other sizes, unless the model has them.
        more = {"n_audio_mlp": 80, "n_text_mlp": 48} if name == NAME else {}
        assert config == {"model_type": "whisper", **recipe.openai_dims(name), **more}
        # The table of positions comes back computed.
        files.assert_same(load_whisper(tmp_path / name), model, limit=1e-5)


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
