"""The toy task, loaded by path (tests are not packages)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOY = Path(__file__).with_name("toy.py")


def load_toy() -> ModuleType:
    if "training_toy" not in sys.modules:
        spec = importlib.util.spec_from_file_location("training_toy", TOY)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["training_toy"] = module
        spec.loader.exec_module(module)
    return sys.modules["training_toy"]


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    return load_toy()


@pytest.fixture(scope="session")
def toy_script() -> Path:
    return TOY


@pytest.fixture
def no_pictures() -> Iterator[None]:
    """Runs draw no loss curves: that takes longer than all else in these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_speech.training.keeper.plot_losses", lambda *_: True)
        yield
