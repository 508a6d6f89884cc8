"""Goldens of the PyTorch reference for the VITS tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def _recipe_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "goldens_recipe", GOLDENS / "recipe.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """tests/goldens/recipe.py as a module."""
    return _recipe_module()


@pytest.fixture(scope="session")
def high(recipe: ModuleType) -> Any:
    """Golden of the large model (ljs_base): forward, gradients, one step, inference."""
    return recipe.Golden(GOLDENS / "vits_ljs.npz", "high")


@pytest.fixture(scope="session")
def medium(recipe: ModuleType) -> Any:
    """Golden of the Piper medium model (resblock 2): forward and losses, inference."""
    return recipe.Golden(GOLDENS / "vits_ljs.npz", "medium")
