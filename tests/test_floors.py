"""Imports point down: the floors of the architecture, checked on the source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import from lower floors only, never from its own or a higher one.
FLOORS = {
    "errors": 0,
    "files": 0,
    "backend": 0,
    "metal_kernels": 1,
    "audio": 2,
    "nn": 2,
    "hub": 2,
    "butterfly": 3,
    "spectral": 3,
    "text": 3,
    "corpus": 3,
    "training": 3,
    "writers": 3,
    "vits": 4,
    "whisper": 4,
    "voxtral": 4,
    "gpt_sovits": 5,
    "models": 6,
    "bench": 7,
    "cli": 8,
}
# These may explain themselves with an error; all stand on the lowest floor.
ALLOWED_SIDEWAYS = {("files", "errors"), ("backend", "errors")}
EXEMPT = {"__init__", "__main__", "weights"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for top in ("mlx_speech", "cli", "metal_kernels"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT / top).with_suffix("").parts
            name = parts[0] if top == "mlx_speech" else top
            if name not in EXEMPT:
                found.append((name, path))
    return found


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            targets = [node.module or ""]
            if node.module == "mlx_speech":
                targets = [f"mlx_speech.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.startswith("mlx_speech."):
                names.add(target.split(".")[1])
    return names - {"__version__"}


def test_every_package_has_a_floor() -> None:
    unknown = {name for name, _ in modules()} - set(FLOORS)
    assert not unknown, f"give these a floor: {sorted(unknown)}"


def test_imports_point_down() -> None:
    wrong = []
    for name, path in modules():
        for target in imported_packages(path):
            assert target in FLOORS, f"{path} imports unknown package {target}"
            sideways = target != name and (name, target) not in ALLOWED_SIDEWAYS
            if sideways and FLOORS[target] >= FLOORS[name]:
                wrong.append(f"{path.relative_to(ROOT)}: {name} imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        (
            "import mlx_speech",
            ["mlx", "librosa", "huggingface_hub", "matplotlib", "typer", "scipy"],
        ),
        (
            "import sys; sys.argv = ['mlx-speech', '--help']\n"
            "from mlx_speech.cli.main import app\n"
            "app(standalone_mode=False)",
            ["mlx.core", "librosa", "huggingface_hub", "matplotlib", "scipy"],
        ),
    ],
)
def test_start_up_does_not_import_heavy_libraries(
    code: str, unwanted: list[str], tmp_path: Path
) -> None:
    check = f"{code}\nimport sys\nprint([m for m in {unwanted!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
