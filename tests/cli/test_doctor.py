"""`mlx-speech doctor`: the report, the advice for each problem, the exit code."""

from __future__ import annotations

import builtins
import importlib.metadata
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mlx_speech
from mlx_speech import backend
from mlx_speech.cli import doctor, player
from mlx_speech.cli.doctor import Finding

Run = Callable[..., tuple[int, str, str]]
Usage = namedtuple("Usage", "total used free")


def nothing_found(*arguments: object, **options: object) -> None:
    return None


@pytest.fixture
def cannot_import(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    """Make one import fail, inside of functions."""
    real = builtins.__import__

    def forbid(name: str, error: Exception) -> None:
        def fake(wanted: str, *arguments: Any, **options: Any) -> ModuleType:
            if wanted == name:
                raise error
            return real(wanted, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", fake)

    return forbid


def test_this_machine_passes(command: Run) -> None:
    code, out, err = command("doctor")
    assert (code, err) == (0, "")
    for expected in (
        mlx_speech.__version__,
        importlib.metadata.version("mlx"),
        backend.device_name(),
        "GFLOP/s",
        "GiB",
        "libsndfile",
        "extra plot",
    ):
        assert expected in out


def test_json_says_the_same(command: Run) -> None:
    code, out, err = command("doctor", "--json")
    assert (code, err) == (0, "")
    found = {finding.pop("name"): finding for finding in json.loads(out)}
    assert set(found) >= {
        "system",
        "versions",
        "device",
        "matrix products",
        "memory",
        "disk",
        "model cache",
        "audio files",
        "player",
        "extra plot",
        "extra mic",
        "extra vad",
        "extra test",
    }
    assert all(set(row) == {"value", "good", "advice"} for row in found.values())
    assert found["extra test"] == {"value": "installed", "good": True, "advice": ""}
    for name, row in found.items():
        assert row["good"] or row["advice"], f"{name}: a problem without advice"


@pytest.mark.parametrize("name", doctor.REQUIRED)
def test_what_everybody_needs_decides_the_exit_code(
    command: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bad = Finding(name, "broken", False, "mend it")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: bad,))
    code, out, _ = command("doctor")
    assert code == 1
    (row,) = (line for line in out.splitlines() if name in line)
    assert row.startswith("!!")
    assert row.rstrip().endswith("mend it")
    assert command("doctor", "--json")[0] == 1


def test_other_problems_are_advice(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Finding("player", "none", False, "install one")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: bad,))
    code, out, _ = command("doctor")
    assert code == 0
    assert "install one" in out


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "soxr":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    finding = doctor.versions()
    assert not finding.good
    assert "missing: soxr; install mlx-speech again" in finding.advice
    assert "numpy" in finding.value


@pytest.mark.parametrize(
    ("name", "release", "machine", "good"),
    [
        ("Darwin", "15.1", "arm64", True),
        ("Darwin", "14.0", "arm64", True),
        ("Darwin", "13.6", "arm64", False),
        ("Darwin", "15.1", "x86_64", False),
        ("Linux", "", "x86_64", True),
        ("Linux", "", "aarch64", True),
        ("Windows", "", "AMD64", False),
    ],
)
def test_the_system(
    monkeypatch: pytest.MonkeyPatch, name: str, release: str, machine: str, good: bool
) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: name)
    monkeypatch.setattr(doctor.platform, "machine", lambda: machine)
    monkeypatch.setattr(doctor.platform, "mac_ver", lambda: (release, ("",) * 3, ""))
    finding = doctor.system()
    assert finding.good is good
    assert bool(finding.advice) is not good
    assert machine in finding.value


def test_a_mac_without_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(backend, "on_metal", lambda: False)
    finding = doctor.device()
    assert not finding.good
    assert "Metal is not available" in finding.advice
    # A hosted Mac may have none, and its job goes on.
    assert finding.name not in doctor.REQUIRED
    monkeypatch.setattr(backend, "on_metal", lambda: True)
    assert doctor.device().good


def test_mlx_that_cannot_be_imported(
    cannot_import: Callable[[str, Exception], None],
) -> None:
    cannot_import("mlx.core", ImportError("libopenblas is missing"))
    finding = doctor.device()
    assert not finding.good
    assert finding.name in doctor.REQUIRED
    assert finding.value == "mlx cannot be imported: libopenblas is missing"
    assert "--force-reinstall" in finding.advice
    assert doctor.matrix_products().advice == "see mlx"


@pytest.mark.parametrize("error", [ImportError("none"), OSError("no sndfile")])
def test_soundfile_that_cannot_be_imported(
    cannot_import: Callable[[str, Exception], None], error: Exception
) -> None:
    cannot_import("soundfile", error)
    finding = doctor.audio_formats()
    assert not finding.good
    assert finding.name in doctor.REQUIRED
    assert str(error) in finding.value
    assert "pip install" in finding.advice


@pytest.mark.parametrize(
    ("state", "speed", "good", "advice"),
    [
        (backend.BlasState("libopenblas.so.0", ""), 80.0, True, ""),
        (backend.BlasState("", "install OpenBLAS"), 3.0, False, "install OpenBLAS"),
        (backend.BlasState("libopenblas.so.0", ""), 3.0, False, "is the machine busy"),
        (backend.BlasState("", ""), 2000.0, True, ""),
    ],
)
def test_matrix_products(
    monkeypatch: pytest.MonkeyPatch,
    state: backend.BlasState,
    speed: float,
    good: bool,
    advice: str,
) -> None:
    monkeypatch.setattr(backend, "prepare", lambda: state)
    monkeypatch.setattr(backend, "matmul_gflops", lambda: speed)
    finding = doctor.matrix_products()
    assert finding.good is good
    assert f"{speed:.0f} GFLOP/s ({state.library or 'MLX'}" in finding.value
    assert (advice in finding.advice) if advice else not finding.advice


@pytest.mark.parametrize(("free_gib", "good"), [(0.5, False), (50, True)])
def test_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, good: bool
) -> None:
    usage = Usage(100 * 2**30, 0, free_gib * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    finding = doctor.disk()
    assert finding.good is good
    assert ("free some space" in finding.advice) is not good


def test_the_model_cache_is_where_the_hub_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert doctor.model_cache().value == f"{tmp_path / 'hub'} (empty)"
    (tmp_path / "hub" / "models--a--b").mkdir(parents=True)
    (tmp_path / "hub" / "datasets--c--d").mkdir()
    assert doctor.model_cache().value == f"{tmp_path / 'hub'} (1 models)"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert doctor.model_cache().value == f"{tmp_path / 'elsewhere'} (empty)"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        str(tmp_path / ".cache" / "huggingface" / "hub") in doctor.model_cache().value
    )


def test_m4a_needs_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", nothing_found)
    finding = doctor.audio_formats()
    assert not finding.good
    assert finding.name not in doctor.REQUIRED
    assert "install ffmpeg" in finding.advice
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert "/bin/afconvert" in doctor.audio_formats().value


def test_no_player(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "find_player", list)
    finding = doctor.player()
    assert not finding.good
    assert "afplay" in finding.advice
    monkeypatch.setattr(player, "find_player", lambda: ["/bin/aplay", "-q"])
    assert doctor.player() == Finding("player", "/bin/aplay")


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", nothing_found)
    found = {finding.name: finding for finding in doctor.extras()}
    assert not found["extra plot"].good
    assert found["extra plot"].advice == "`pip install -e '.[plot]'` in the checkout"
