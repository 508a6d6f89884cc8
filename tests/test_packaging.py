"""The wheel: built from a clean copy of the tracked files, installed elsewhere."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Where each folder of the checkout installs.
DESTINATIONS = {
    "mlx_speech": "mlx_speech",
    "cli": "mlx_speech/cli",
    "metal_kernels": "mlx_speech/metal_kernels",
    "weights": "mlx_speech/weights",
}
# Guides are for readers of the checkout; the one of the weights says what they are.
GUIDE = "README.md"
SHIPPED_GUIDES = {"weights/README.md"}


def run(command: Sequence[str], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files under version control that exist, relative to the checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout, to know which files belong to the project")
    listed = run(["git", "ls-files", "-z"], ROOT).split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a left-over ``build/`` puts deleted files back."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked:
        if not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    # Without isolation nothing is downloaded; the test extra brings what it needs.
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", "out"]
    run([sys.executable, *build], copy)
    (found,) = (copy / "out").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    run(
        [sys.executable, "-m", "pip", "install", *options, "--target", ".", str(wheel)],
        target,
    )
    return target


def destination(name: str) -> str | None:
    """Where a tracked file installs, or None if it is not part of the package."""
    top, _, rest = name.partition("/")
    return f"{DESTINATIONS[top]}/{rest}" if rest and top in DESTINATIONS else None


def test_every_module_of_every_package_is_in_the_wheel(
    tracked: list[str], contents: set[str]
) -> None:
    """Fails when a package is not listed in pyproject.toml, or has no __init__.py."""
    missing = [
        name
        for name in tracked
        if name.endswith(".py")
        and not name.startswith("weights/")
        and (place := destination(name))
        and place not in contents
    ]
    assert not missing, f"list their packages in pyproject.toml: {missing}"


def test_every_data_file_is_in_the_wheel(
    tracked: list[str], contents: set[str]
) -> None:
    missing = [
        name
        for name in tracked
        if not name.endswith(".py")
        and (name in SHIPPED_GUIDES or PurePosixPath(name).name != GUIDE)
        and (place := destination(name))
        and place not in contents
    ]
    assert not missing, f"add a pattern to pyproject.toml's package-data: {missing}"


def test_nothing_but_the_package_is_installed(contents: set[str]) -> None:
    tops = {name.split("/")[0] for name in contents}
    (metadata,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"mlx_speech", metadata}, "such as a top-level module called cli"


def test_the_wheel_holds_tracked_files_only(
    tracked: list[str], contents: set[str]
) -> None:
    expected = {destination(name) for name in tracked}
    strangers = {name for name in contents if name.startswith("mlx_speech/")} - expected
    assert not strangers


def test_no_script_is_shipped_as_data(contents: set[str]) -> None:
    packages = {
        str(PurePosixPath(name).parent)
        for name in contents
        if PurePosixPath(name).name == "__init__.py"
    }
    scripts = [
        name
        for name in contents
        if name.endswith((".py", ".pyc", ".sh"))
        and str(PurePosixPath(name).parent) not in packages
    ]
    assert not scripts
    assert not [name for name in contents if "__pycache__" in name]


def test_the_console_script_and_the_licence_are_declared(
    wheel: Path, contents: set[str]
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in contents if n.endswith(".dist-info/entry_points.txt"))
        entries = configparser.ConfigParser()
        entries.read_string(archive.read(name).decode())
    assert dict(entries["console_scripts"]) == {
        "mlx-speech": "mlx_speech.cli.main:main"
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)


def test_the_installed_package_runs_outside_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    where = "import mlx_speech.cli.main as m, mlx_speech as s; print(m.__file__)"
    asked = run([sys.executable, "-c", where], tmp_path, PYTHONPATH=str(installed))
    assert Path(asked.strip()).resolve().is_relative_to(installed.resolve())
    helped = run(
        [sys.executable, "-m", "mlx_speech", "--help"],
        tmp_path,
        PYTHONPATH=str(installed),
    )
    assert "train-vits" in helped
