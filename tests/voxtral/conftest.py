"""Shared by the tests of Voxtral: tiny models rebuilt from a recipe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

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
    """The vocabulary of the released models, out of mistral-common's package."""
    package = importlib.util.find_spec("mistral_common")
    if package is None or package.origin is None:
        pytest.skip("mistral-common is not installed")
    path = Path(package.origin).parent / "data" / "tekken_240911.json"
    return Tekken(recipe.with_audio(json.loads(path.read_text())))
