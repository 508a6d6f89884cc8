"""Would Apple's compiler take it? Clang with real address spaces, then C++ types.

Apple's compiler is a clang, so another clang finds most of what it would refuse: a
``threadgroup`` pointer given to a ``device`` parameter, a write through ``const``, an
input that became ``constant`` because it is small, an unknown function, a vector of the
wrong type. ``lint.py`` has what clang accepts and Metal does not. Final is only a Mac.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.emulate.build import kernel_library
from mlx_speech.metal_kernels.emulate.compilers import Compiler, zig_command
from mlx_speech.metal_kernels.emulate.faults import Finding, KernelFault
from mlx_speech.metal_kernels.emulate.generate import GeneratedText
from mlx_speech.metal_kernels.emulate.lint import lint
from mlx_speech.metal_kernels.emulate.rewrite import (
    replace_shared,
    with_float_literals,
    without_attributes,
)
from mlx_speech.metal_kernels.emulate.tokens import (
    closing_angle,
    join,
    next_spoken,
    tokens,
)
from mlx_speech.metal_kernels.emulate.unit import KERNEL_FILE

CLANG_VARIABLE = "MLX_SPEECH_CLANG"
# Older ones lack _Float16 or __bf16 as arithmetic types.
_OLDEST_CLANG = 17
_HEADERS = Path(__file__).resolve().parent / "spaces"
_VECTOR = re.compile(
    r"(bool|char|uchar|short|ushort|int|uint|long|ulong|float|half|bfloat)([234])"
)
_FLAGS = (
    "-std=c++17",
    "-nostdinc",
    "-ffreestanding",
    "-fno-exceptions",
    "-fno-rtti",
    "-Wall",
    "-Wno-unused",
    "-Wno-undefined-inline",
    "-Wno-undefined-internal",
    "-Wno-unknown-pragmas",
    "-Wno-pass-failed",
    "-Werror=uninitialized",
    "-Werror=conditional-uninitialized",
    "-Werror=return-type",
    "-Werror=double-promotion",
    "-Werror=array-bounds",
    "-fno-caret-diagnostics",
)
_ERROR = re.compile(r"^[^\s:]+:\d+:\d+: (?:fatal )?error: (.*)$", re.MULTILINE)
_KERNEL_LINE = re.compile(
    rf"^(?:[^\s:]*/)?{re.escape(KERNEL_FILE)}:(\d+):\d+: ", re.MULTILINE
)


def check_text(generated: GeneratedText, *, compile_too: bool = True) -> None:
    """Check a completed kernel without running it.

    Args:
        generated: the kernel for one set of shapes, dtypes and template values. Call
            this for each that ships: small and large inputs differ in address space.
        compile_too: also compile it for the emulator, whose number types know that
            nothing becomes bfloat by itself; the result is kept for ``run``.

    Raises:
        KernelFault: with all findings of lint and clang, or else of the C++ compiler.
        SpeechError: a compiler is missing.
    """
    findings = [*lint(generated), *clang_findings(generated)]
    if findings:
        raise KernelFault(generated.kernel.name, findings)
    if compile_too:
        kernel_library(generated)


def clang_findings(generated: GeneratedText) -> list[Finding]:
    """Ask clang.

    Raises:
        SpeechError: there is no clang that is new enough.
    """
    try:
        unit = clang_unit(generated)
    except ValueError as error:
        return [Finding("type", str(error))]
    chosen = clang()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.cpp").write_text(unit, encoding="utf-8")
        flags = [*_FLAGS, "-I", str(_HEADERS), "-c", "unit.cpp", "-o", "unit.o"]
        good, said = chosen.run(flags, folder)
    findings = []
    errors = list(_ERROR.finditer(said))
    ends = [match.start() for match in errors[1:]] + [len(said)] * bool(errors)
    for match, end in zip(errors, ends, strict=True):
        # An error in a declaration is told there; the notes behind it lead to the use.
        where = _KERNEL_LINE.search(said, match.start(), end)
        number = int(where[1]) if where else 0
        place = generated.place(number) if number else ""
        finding = Finding("type", match[1], place, generated.line(number))
        if finding not in findings:
            findings.append(finding)
    if not good and not findings:
        findings.append(Finding("type", said[-2000:]))
    return findings


def clang_unit(generated: GeneratedText) -> str:
    """Write what clang reads; lines of the kernel keep their numbers."""
    body, _ = replace_shared(
        generated.definition,
        lambda v: f"static threadgroup {v.type} {v.name}{v.brackets};",
    )
    body = _with_makers(with_float_literals(without_attributes(body)))
    unit = f'#include "metal_spaces.h"\n#line 1 "{KERNEL_FILE}"\n{body}\n'
    if generated.template:
        kinds = [buffer.parameter for buffer in generated.buffers]
        kinds += [kind for _, kind in generated.attributes]
        unit += (
            f'#line 1 "instance"\ntemplate void {generated.function}'
            f"{generated.template_arguments}({', '.join(kinds)});\n"
        )
    return unit


def _with_makers(text: str) -> str:
    """Turn ``float2(...)`` and ``vec<T, 2>(...)`` into calls of ``emu_make``."""
    parts = tokens(text)
    out = []
    index = 0
    while index < len(parts):
        token = parts[index]
        after = next_spoken(parts, index + 1)
        match = _VECTOR.fullmatch(token.text)
        if match and after < len(parts) and parts[after].text == "(":
            out.append(f"emu_make<{match[1]}, {match[2]}>")
        elif token.text == "vec" and after < len(parts) and parts[after].text == "<":
            end = closing_angle(parts, after) or after
            behind = next_spoken(parts, end + 1)
            maker = behind < len(parts) and parts[behind].text == "("
            out.append("emu_make" if maker else "vec")
            out.append(join(parts[index + 1 : end + 1]))
            index = end
        else:
            out.append(token.text)
        index += 1
    return "".join(out)


def clang() -> Compiler:
    """Find a clang: that of ``MLX_SPEECH_CLANG``, the system's, or ziglang's.

    Raises:
        SpeechError: none is here, or it is too old.
    """
    return _clang(os.environ.get(CLANG_VARIABLE, ""))


@functools.cache
def _clang(asked: str) -> Compiler:
    if asked:
        choices = [tuple(asked.split())]
    else:
        names = [f"clang++-{version}" for version in range(30, _OLDEST_CLANG - 1, -1)]
        choices = [(name,) for name in [*names, "clang++"] if shutil.which(name)]
        choices += [zig] if (zig := zig_command()) else []
    for choice in choices:
        said = subprocess.run(
            [*choice, "--version"], capture_output=True, text=True, check=False
        ).stdout
        version = re.search(r"clang version (\d+)", said)
        if version and int(version[1]) >= _OLDEST_CLANG:
            return Compiler(choice, True)
    raise SpeechError(
        f"the type check of kernels needs clang {_OLDEST_CLANG} or newer; none is here",
        "pip install ziglang (it brings one), or install clang",
    )
