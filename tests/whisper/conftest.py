"""Shared by the tests of Whisper: tiny models rebuilt from a recipe."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from mlx_speech.hub.load import load_strict
from mlx_speech.nn.projections import fuse
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.layouts import to_hf_names
from mlx_speech.whisper.model import Whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def load_module(name: str) -> ModuleType:
    """A script of tests/goldens as a module."""
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def files() -> ModuleType:
    """tests/goldens/whisper_files.py as a module."""
    return load_module("whisper_files")


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """tests/goldens/whisper_recipe.py as a module."""
    module = load_module("whisper_recipe")
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


@pytest.fixture(scope="session")
def talkers() -> ModuleType:
    """tests/goldens/whisper_decoding_recipe.py: models that say something."""
    return load_module("whisper_decoding_recipe")


@pytest.fixture(scope="session")
def loop_recipe() -> ModuleType:
    """tests/goldens/whisper_loop_recipe.py: results of windows that are made up."""
    return load_module("whisper_loop_recipe")


@pytest.fixture(scope="session")
def search_recipe() -> ModuleType:
    """tests/goldens/whisper_search_recipe.py: languages that are made up."""
    return load_module("whisper_search_recipe")


@pytest.fixture(scope="session")
def talking_whisper(talkers: ModuleType) -> Callable[[str], Whisper]:
    """Give the model of ``talkers`` of a name, the same at every call."""

    @cache
    def make(name: str) -> Whisper:
        model = Whisper(WhisperConfig.from_dict(talkers.dims(name)))
        arrays = {key: mx.array(value) for key, value in talkers.state(name).items()}
        weights = fuse(to_hf_names(arrays, "openai"), model.config.n_audio_state)
        load_strict(model, weights, name)
        return model

    return make


@pytest.fixture
def hf_folder(tmp_path: Path, recipe: ModuleType, files: ModuleType) -> Path:
    """A small model in Hugging Face's layout."""
    return files.write_hf(
        tmp_path / "hf",
        recipe.hf_config("distilled"),
        files.hf_weights(recipe, "distilled"),
    )


@pytest.fixture(scope="session")
def plain(tiny_whisper: Callable[[str], Whisper]) -> Whisper:
    """The model of ``hf_folder``."""
    return tiny_whisper("distilled")
