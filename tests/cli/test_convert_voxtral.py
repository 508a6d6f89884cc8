"""`mlx-speech convert` with both of Voxtral's releases."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from mlx_speech.hub.load import load_safetensors
from mlx_speech.hub.save import save_safetensors
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.voxtral.listening import load

Run = Callable[..., tuple[int, str, str]]
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture
def run(command: Run) -> Run:
    """Run the command: exit code, standard output, standard error."""
    return partial(command, "convert")


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["voxtral_recipe", "voxtral_realtime_recipe"])
def mistral(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder as mistralai publishes it."""
    made = recipe(request.param)
    folder = tmp_path / "mistral"
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(made.mistral_params()))
    (folder / "tekken.json").write_text(json.dumps(made.tekken()))
    arrays = {name: mx.array(value) for name, value in made.mistral_state().items()}
    save_safetensors(folder / "consolidated.safetensors", arrays)
    return folder


def test_mistrals_files_become_hugging_faces(
    run: Run, mistral: Path, tmp_path: Path
) -> None:
    output = tmp_path / "hf"
    arguments = ["--to", "hf", "-o", output, "--dtype", "bfloat16"]
    assert run(mistral, *arguments) == (0, f"{output}\n", "")
    arrays = load_safetensors(output)
    assert {array.dtype for array in arrays.values()} == {mx.bfloat16}
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in arrays
    assert (output / "tekken.json").is_file()
    assert load(output).config == load(mistral).config


def test_what_hears_keeps_eight_bits(run: Run, mistral: Path, tmp_path: Path) -> None:
    output = tmp_path / "four"
    arguments = ["--to", "mlx", "-o", output, "--quantize", 4]
    assert run(mistral, *arguments)[0] == 0
    bits = {path: each[0] for path, each in quantized_layers(load(output)).items()}
    decoder = {b for path, b in bits.items() if path.startswith("language_model")}
    hearing = {b for path, b in bits.items() if not path.startswith("language_model")}
    assert (decoder, hearing) == ({4}, {8})
    # A quantised model is written again as it is.
    again = tmp_path / "again"
    assert run(output, "--to", "mlx", "-o", again)[0] == 0
    assert quantized_layers(load(again)) == quantized_layers(load(output))


def test_layouts_that_have_no_place_for_it_are_refused(
    run: Run, mistral: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    code, _, err = run(mistral, "--to", "hf", "-o", output, "--quantize", 4)
    assert code == 1 and "no place for quantised weights" in err
    code, _, err = run(mistral, "--to", "hf", "-o", output, "--config", "c.json")
    assert code == 1 and "needs no other configuration" in err
    assert not output.exists()
