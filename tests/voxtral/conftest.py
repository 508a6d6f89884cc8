"""Shared by the tests of Voxtral: tiny models rebuilt from a recipe."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.hub.load import load_strict
from mlx_speech.voxtral.config import VoxtralConfig
from mlx_speech.voxtral.layouts import to_our_names
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.prompt import Turn
from mlx_speech.voxtral.realtime_config import RealtimeConfig
from mlx_speech.voxtral.realtime_layouts import to_realtime_names
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.tokenizer import Tekken

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def load_module(name: str) -> ModuleType:
    """A script of tests/goldens as a module."""
    spec = importlib.util.spec_from_file_location(name, GOLDENS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """tests/goldens/voxtral_recipe.py as a module."""
    return load_module("voxtral_recipe")


@pytest.fixture(scope="session")
def tekken(recipe: ModuleType) -> Tekken:
    """The recipe's small tokenizer."""
    return Tekken(recipe.tekken())


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """What transformers computes with the recipe's model."""
    with np.load(GOLDENS / "voxtral.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """Prompts and generated tokens of transformers."""
    return json.loads((GOLDENS / "voxtral.json").read_text())


@pytest.fixture(scope="session")
def real_tekken(recipe: ModuleType) -> Tekken:
    """The vocabulary of the released models; needs `pip install '.[tekken]'`."""
    package = importlib.util.find_spec("mistral_common")
    if package is None or package.origin is None:
        pytest.skip("mistral-common is not installed")
    path = Path(package.origin).parent / "data" / "tekken_240911.json"
    return Tekken(recipe.with_audio(json.loads(path.read_text())))


@pytest.fixture(scope="session")
def tiny(recipe: ModuleType) -> Voxtral:
    """The recipe's model of Voxtral 2507."""
    config = VoxtralConfig.from_dict(recipe.hf_config())
    model = Voxtral(config)
    arrays = {name: mx.array(value) for name, value in recipe.state().items()}
    load_strict(model, to_our_names(arrays, "hf", config), "recipe")
    return model


@pytest.fixture(scope="session")
def long() -> Callable[[list[Any]], list[int]]:
    """Make ids of a golden's, in which runs of audio tokens are [24, how many]."""
    return lambda ids: [
        token
        for entry in ids
        for token in ([entry[0]] * entry[1] if isinstance(entry, list) else [entry])
    ]


@pytest.fixture(scope="session")
def turns(recipe: ModuleType) -> Callable[[str], list[Turn]]:
    """A conversation of the recipe by its name."""

    def part(content: str | list[str]) -> str | np.ndarray:
        if isinstance(content, str):
            return content
        return recipe.clip(content[1]).astype(np.float32) / 32768

    def make(name: str) -> list[Turn]:
        return [
            Turn(
                speaker,
                [said] if isinstance(said, str) else [part(one) for one in said],
            )
            for speaker, said in recipe.CONVERSATIONS[name]
        ]

    return make


Array = mx.array | np.ndarray


@pytest.fixture(scope="session")
def relative() -> Callable[[Array, Array], float]:
    """Compute the largest difference over the largest value."""

    def compute(ours: Array, theirs: Array) -> float:
        ours, theirs = np.array(ours), np.array(theirs)
        assert ours.shape == theirs.shape
        return float(np.abs(ours - theirs).max() / np.abs(theirs).max())

    return compute


@pytest.fixture(scope="session")
def realtime() -> ModuleType:
    """tests/goldens/voxtral_realtime_recipe.py as a module."""
    return load_module("voxtral_realtime_recipe")


@pytest.fixture(scope="session")
def tiny_realtime(realtime: ModuleType) -> VoxtralRealtime:
    """The recipe's model of Voxtral Realtime."""
    config = RealtimeConfig.from_dict(realtime.hf_config())
    model = VoxtralRealtime(config)
    arrays = {name: mx.array(value) for name, value in realtime.state().items()}
    load_strict(model, to_realtime_names(arrays, "hf", config), "recipe")
    return model
