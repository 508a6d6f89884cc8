"""`mlx-speech convert` with Whisper: layouts, precision, quantising, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from mlx_speech.hub.load import load_safetensors
from mlx_speech.nn.quantized import quantized_layers
from mlx_speech.whisper.checkpoints import load_whisper

Run = Callable[..., tuple[int, str, str]]
OPENAI_FILE = Path(__file__).resolve().parents[1] / "goldens" / "whisper_openai.pt"


@pytest.fixture
def run(command: Run) -> Run:
    """Run the command: exit code, standard output, standard error."""
    return partial(command, "convert")


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model that can be quantised in groups of 64."""
    from mlx_speech.whisper.checkpoints import save_whisper
    from mlx_speech.whisper.config import WhisperConfig
    from mlx_speech.whisper.model import Whisper

    mx.random.seed(0)
    save_whisper(
        tmp_path / "wide", Whisper(WhisperConfig(4, 6, 64, 2, 1, 20, 8, 64, 2, 1))
    )
    return tmp_path / "wide"


def test_the_bundled_recogniser_is_called_by_its_name(
    command: Run, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    flags = ("--to", "mlx", "--quantize", "8", "-o", made)
    assert command("convert", "bundled", *flags) == (0, f"{made}\n", "")
    assert (made / "config.json").is_file()


def test_from_openai_to_hugging_face_to_mlx(run: Run, tmp_path: Path) -> None:
    there, back = tmp_path / "names with spaces ü", tmp_path / "back"
    assert run(OPENAI_FILE, "--to", "hf", "-o", there) == (0, f"{there}\n", "")
    assert run(there, "--to", "mlx", "-o", back) == (0, f"{back}\n", "")
    assert (back / "weights.safetensors").is_file()
    before, after = load_whisper(OPENAI_FILE), load_whisper(back)
    assert after.config == before.config
    others = dict(tree_flatten(after.parameters()))
    for name, value in tree_flatten(before.parameters()):
        # The table of positions is computed anew, from one in half precision.
        assert mx.allclose(others[name], value, atol=1e-3), name


def test_half_precision_and_quantised_weights(
    run: Run, wide: Path, tmp_path: Path
) -> None:
    half, four = tmp_path / "half", tmp_path / "four"
    assert run(wide, "--to", "hf", "-o", half, "--dtype", "float16")[0] == 0
    assert {a.dtype for a in load_safetensors(half).values()} == {mx.float16}
    code, _, _ = run(wide, "--to", "mlx", "-o", four, "--quantize", 4)
    assert code == 0
    config = json.loads((four / "config.json").read_text())
    assert config["quantization"] == {"group_size": 64, "bits": 4}
    assert set(quantized_layers(load_whisper(four)).values()) == {(4, 64)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "hf", "--quantize", 4], "layout has no place for quantised weights"),
        (["--to", "mlx", "--quantize", 7], "no quantisation to 7 bits"),
        (["--to", "mlx", "--config", "c.json"], "needs no other configuration"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], message: str, run: Run, wide: Path, tmp_path: Path
) -> None:
    code, printed, err = run(wide, "-o", tmp_path / "out", *arguments)
    assert (code, printed) == (1, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_model_too_narrow_to_quantise_says_so(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, err = run(OPENAI_FILE, "--to", "mlx", "-o", out, "--quantize", 8)
    assert code == 1
    assert "no layer of this model can be quantised in groups of 64" in err


def test_quantised_models_do_not_become_plain_ones(
    run: Run, wide: Path, tmp_path: Path
) -> None:
    four = tmp_path / "four"
    assert run(wide, "--to", "mlx", "-o", four, "--quantize", 4)[0] == 0
    code, _, err = run(four, "--to", "hf", "-o", tmp_path / "out")
    assert code == 1
    assert "is quantised" in err
    code, _, err = run(four, "--to", "mlx", "-o", tmp_path / "out", "--quantize", 8)
    assert code == 1
    assert "cannot be quantised again" in err
