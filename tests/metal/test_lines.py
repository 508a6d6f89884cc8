"""Addresses become lines of the kernel by the tools of either system."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlx_speech.metal_kernels.emulate import lines


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of programs, the only ones that are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def make_tool(folder: Path, name: str, script: str) -> None:
    tool = folder / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def on(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)


# What the tools say of code that was inlined into line 23, and of code without a line.
ADDR2LINE = """\
printf '0x0000000000000010\\n/s/vectors.h:12\\n/tmp/x/kernel.metal:23\\n'
printf '0x0000000000000020\\nkernel.metal:0\\n??:0\\n0x0000000000000030\\n'
printf '/tmp/x/kernel.metal:7\\nkernel.metal:9\\n'"""
ATOS = "printf 'times (in k) (vectors.h:12)\\nk (in k) (kernel.metal:23)\\n'"
DWARFDUMP = (
    "printf \"Line info: file 'kernel.metal', line 45, column 3, start line 0\\n\""
)


def test_linux_asks_once_for_all(monkeypatch: pytest.MonkeyPatch, tools: Path) -> None:
    on(monkeypatch, "Linux")
    make_tool(tools, "addr2line", ADDR2LINE)
    library = Path("kernel-1.so")
    assert lines.lines_of(["0x10", "0x20", "0x30"], library) == [23, 0, 7]
    assert lines.lines_file(library) == library
    assert lines.keep_lines(library) is None


def test_macos_asks_atos_and_then_dwarfdump(
    monkeypatch: pytest.MonkeyPatch, tools: Path
) -> None:
    on(monkeypatch, "Darwin")
    make_tool(tools, "dwarfdump", DWARFDUMP)
    assert lines.lines_of(["0x10"], Path("kernel-1.so")) == [45]
    make_tool(tools, "atos", "echo 0x10")
    assert lines.lines_of(["0x10"], Path("kernel-1.so")) == [45]
    make_tool(tools, "atos", ATOS)
    assert lines.lines_of(["0x10", "0x20"], Path("kernel-1.so")) == [23, 23]


def test_macos_keeps_the_lines_in_a_file_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tools: Path, tmp_path: Path
) -> None:
    on(monkeypatch, "Darwin")
    library = tmp_path / "kernel.so"
    assert lines.keep_lines(library) is None
    make_tool(tools, "dsymutil", 'echo "$@" > "$3"')
    kept = lines.keep_lines(library)
    assert kept == lines.lines_file(library) == tmp_path / "kernel.dwarf"
    assert kept.read_text() == f"--flat -o {kept} {library}\n"


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_without_a_tool_there_are_no_lines(
    monkeypatch: pytest.MonkeyPatch, tools: Path, system: str
) -> None:
    on(monkeypatch, system)
    assert lines.lines_of(["0x10", "0x20"], Path("kernel-1.so")) == [0, 0]
    assert lines.lines_of([], Path("kernel-1.so")) == []
