"""Kernel files: sections, declarations, places of lines, one build per back-end."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from mlx_speech.metal_kernels import presence
from mlx_speech.metal_kernels.text import KernelText, load_text

GOOD = """\
// Doubles x.
// inputs: x
// outputs: y
// shares: pieces
// [header]
inline float twice(float a) { return add(a, a); }
// [body]
uint i = thread_position_in_grid.x;
y[i] = twice(x[i]);
"""
SHARED = """\
// Arithmetic.
// [header]
inline float add(float a, float b) {
  return a + b;
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "double_it.metal").write_text(GOOD)
    (tmp_path / "pieces.metal").write_text(SHARED)
    return tmp_path


def test_a_file_becomes_names_header_and_source(folder: Path) -> None:
    text = load_text("double_it", folder=folder)
    assert (text.name, text.input_names, text.output_names) == (
        "double_it",
        ("x",),
        ("y",),
    )
    assert text.header.splitlines()[0] == "inline float add(float a, float b) {"
    assert text.header.splitlines()[-1].startswith("inline float twice")
    assert text.source.endswith("y[i] = twice(x[i]);\n")
    assert "Doubles" not in text.header + text.source


def test_every_line_knows_where_it_was_written(folder: Path) -> None:
    text = load_text("double_it", folder=folder)
    lines = (text.header + text.source).splitlines()
    assert text.place(1) == "pieces.metal:3"
    assert text.place(1 + lines.index("y[i] = twice(x[i]);")) == "double_it.metal:9"
    bare = KernelText("k", ("x",), ("y",), "// a\n// b\n", "one;\ntwo;\n")
    assert bare.place(2) == "k, header line 2"
    assert bare.place(4) == "k, source line 2"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("// inputs: x\n", "", "inputs"),
        ("// [body]\n", "", "body"),
        ("// Doubles x.", "float z;", "above the first section"),
        ("// [body]\n", "// [body]\n// [header]\n", "unexpected"),
        ("outputs: y", "outputs: x", "twice"),
        ("outputs: y", "outputs:", "no output"),
        ("shares: pieces", "shares: double_it, absent", "absent.metal"),
    ],
)
def test_a_wrong_file_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "double_it.metal").write_text(GOOD.replace(old, new))
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        load_text("double_it", folder=folder)


def test_the_kernel_is_made_when_asked_for_and_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def factory(**arguments: object) -> str:
        made.append(arguments)
        return f"kernel {len(made)}"

    text = load_text("double_it", folder=folder)
    monkeypatch.setattr(mx.fast, "metal_kernel", factory)
    assert text.build() == text.build() == "kernel 1"
    assert made[0]["input_names"] == ["x"] and made[0]["source"] == text.source
    monkeypatch.setattr(mx.fast, "metal_kernel", lambda **arguments: "another")
    assert text.build() == "another"


def test_a_pretended_device_is_there_for_the_length_of_the_block() -> None:
    before = presence.metal_is_available(), presence.device_name()
    with presence.pretend_metal("made up"):
        assert presence.metal_is_available()
        assert presence.device_name() == "made up"
    assert (presence.metal_is_available(), presence.device_name()) == before
