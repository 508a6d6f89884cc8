"""Shared by the tests of Whisper: tiny models rebuilt from a recipe."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from mlx_speech.hub.load import load_strict
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.layouts import fuse, to_hf_names
from mlx_speech.whisper.model import Whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """tests/goldens/whisper_recipe.py as a module."""
    path = GOLDENS / "whisper_recipe.py"
    spec = importlib.util.spec_from_file_location("whisper_recipe", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Models that no golden compares.
    module.SIZES |= {"stored": module.STORED, "compact": module.COMPACT}
    return module


@pytest.fixture(scope="session")
def tiny_whisper(recipe: ModuleType) -> Callable[[str], Whisper]:
    """Make the recipe's model of a name; each call makes a new one."""

    def make(name: str) -> Whisper:
        config = WhisperConfig.from_dict(recipe.hf_config(name))
        model = Whisper(config)
        arrays = {key: mx.array(value) for key, value in recipe.state(name).items()}
        weights = fuse(to_hf_names(arrays, "hf"), config.n_audio_state)
        load_strict(model, weights, name)
        return model

    return make
