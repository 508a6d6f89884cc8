"""`mlx-speech transcribe` writes what openai-whisper's command wrote, flag for flag."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import soundfile

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def load_module(name: str) -> ModuleType:
    """A script of tests/goldens as a module."""
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_module("make_whisper_command")
EXPECTED = json.loads((GOLDENS / "whisper_command.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the goldens, in Hugging Face's layout."""
    recipe, files = load_module("whisper_recipe"), load_module("whisper_files")
    return files.write_hf(
        tmp_path_factory.mktemp("whisper") / "model",
        recipe.hf_config(SCRIPT.MODEL),
        files.hf_weights(recipe, SCRIPT.MODEL),
    )


def close(found: Any, expected: Any) -> bool:
    """Whether two results are the same but for the rounding of probabilities."""
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(
            close(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=1e-4)
    return found == expected


# The times of segments that were emptied are nobody's: in a last window of 20 ms they
# may differ by its length.
def spoken_rows(tsv: str) -> list[str]:
    return [row for row in tsv.splitlines() if not row.endswith("\t")]


def spoken(result: dict[str, Any]) -> dict[str, Any]:
    segments = [segment for segment in result["segments"] if segment["text"]]
    return result | {"segments": segments}


@pytest.mark.parametrize("case", SCRIPT.CASES)
def test_files_are_those_of_openai_whispers_command(
    case: str, command: Callable[..., tuple[int, str, str]], model: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "talk.wav", SCRIPT.sound(), SCRIPT.RATE)
    given = [tmp_path / "talk.wav", *SCRIPT.ONCE, *SCRIPT.CASES[case], "--model", model]
    code, _, err = command(
        *("transcribe", *given, "--exact", "--output_format", "all"),
        *("--output_dir", tmp_path / case, "--verbose", "False"),
    )
    assert (code, err) == (0, "")
    expected = EXPECTED[case]
    for format in ("txt", "srt", "vtt"):
        written = (tmp_path / case / f"talk.{format}").read_text(encoding="utf-8")
        assert written == expected[format], format
        assert len(written) > 10
    rows = (tmp_path / case / "talk.tsv").read_text(encoding="utf-8")
    assert spoken_rows(rows) == spoken_rows(expected["tsv"])
    written = json.loads((tmp_path / case / "talk.json").read_text())
    assert close(spoken(written), spoken(json.loads(expected["json"])))
