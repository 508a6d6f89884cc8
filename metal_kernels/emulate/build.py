"""Compiling a kernel and the runtime into shared libraries, once per text."""

from __future__ import annotations

import functools
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.emulate.compilers import (
    Compiler,
    cache_folder,
    cache_key,
    compiler,
    keep,
)
from mlx_speech.metal_kernels.emulate.faults import Finding, KernelFault
from mlx_speech.metal_kernels.emulate.generate import GeneratedText
from mlx_speech.metal_kernels.emulate.lines import keep_lines, lines_file
from mlx_speech.metal_kernels.emulate.unit import KERNEL_FILE, cpp_unit

_FOLDER = Path(__file__).resolve().parent
_DARWIN = platform.system() == "Darwin"

# -fsanitize makes the compiler call the runtime; no sanitizer library is linked. Local
# variables begin with a pattern, so that using one unset does not go well by luck. Of
# what a debugger wants, only lines are kept: all of it takes a fifth of the time. With
# less than -O1, g++ does not see every variable that may be used unset.
_CHECK = (
    "-O1",
    "-g1",
    "-fsanitize=thread",
    "-fsanitize=alignment,shift,integer-divide-by-zero,float-cast-overflow",
    "-fsanitize-coverage=trace-pc",
    "-ftrivial-auto-var-init=pattern",
    "-fno-strict-aliasing",
)
_FAST = ("-O2",)
_COMMON = (
    "-std=c++17",
    "-fPIC",
    # Nothing is thrown; and each call would be followed by code for it.
    "-fno-exceptions",
    "-fno-rtti",
    # As in Metal; on Linux, Arm processors have it the other way.
    "-fsigned-char",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fwrapv",
    "-Wall",
    "-Wno-unused",
    "-Wno-unknown-pragmas",
    "-Wno-comment",
)
_GCC_CHECK = ("-fsanitize=bounds",)
# Not "bounds": half of that would end the process instead of calling the runtime.
_CLANG_CHECK = ("-fsanitize=array-bounds",)
_GCC = (
    "-fno-aggressive-loop-optimizations",
    "-Wno-attributes",
    # The vectorizer of basic blocks needs more time than it saves.
    "-fno-tree-slp-vectorize",
)
_CLANG = (
    "-Wno-unknown-attributes",
    "-Wno-deprecated-copy-with-user-provided-copy",
    "-Wno-pass-failed",
)
_HEADER = "metal_words.h"
# Warnings that mean a wrong result on a GPU, wherever they point into the kernel.
_FATAL_WARNINGS = ("uninitialized", "return-type", "array-bounds")
_DIAGNOSTIC = re.compile(
    rf"^(?P<file>[^\s:]*{re.escape(KERNEL_FILE)}|[^\s:]+):(?P<line>\d+):\d+: "
    r"(?P<level>(?:fatal )?error|warning): (?P<message>.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Library:
    """A compiled kernel.

    Args:
        path: of the shared library.
        runtime: path of the runtime that it was linked with.
        warnings: all that the compiler said.
    """

    path: Path
    runtime: Path
    warnings: str


@functools.cache
def _sources(folder: str) -> tuple[Path, ...]:
    return tuple(sorted((_FOLDER / folder).iterdir()))


@functools.cache
def _digest(folder: str) -> str:
    parts = [part for path in _sources(folder) for part in _named_content(path)]
    return cache_key(*parts)


def _named_content(path: Path) -> tuple[str, bytes]:
    return path.name, path.read_bytes()


def runtime_library(chosen: Compiler) -> Path:
    """Compile the runtime, or find it in the cache.

    Raises:
        SpeechError: the compiler refuses it.
    """
    key = cache_key(_digest("runtime"), *chosen.command, platform.machine())
    target = cache_folder() / f"runtime-{key}.so"
    if target.exists():
        return target
    units = [str(path) for path in _sources("runtime") if path.suffix == ".cpp"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "runtime.so"
        flags = ["-std=c++17", "-O2", "-g", "-fPIC", "-shared"]
        # By this name kernels find it among the libraries that are loaded.
        name = f"-install_name,{target}" if _DARWIN else f"-soname,{target.name}"
        flags.append(f"-Wl,{name}")
        good, said = chosen.run([*flags, *units, "-o", str(made)], Path(folder))
        if not good:
            raise SpeechError(
                f"the emulator's runtime does not compile with "
                f"{' '.join(chosen.command)}: {said[-2000:]}",
                "set MLX_SPEECH_CXX to another compiler",
            )
        keep(made, target)
    return target


def kernel_library(
    generated: GeneratedText,
    *,
    check: bool = True,
    contract: bool = False,
    chosen: Compiler | None = None,
) -> Library:
    """Compile a kernel, or find it in the cache.

    Args:
        generated: the text.
        check: with the calls that check every access, or fast without.
        contract: let the compiler join products and sums (fused multiply-add), as a GPU
            may; without ``check``.
        chosen: the compiler; by default ``compilers.compiler()``.

    Raises:
        KernelFault: the text is no valid C++ or uses a variable before it is set.
        SpeechError: there is no compiler.
    """
    chosen = chosen or compiler()
    runtime = runtime_library(chosen)
    try:
        unit = cpp_unit(generated)
    except ValueError as error:
        finding = Finding("compile", str(error))
        raise KernelFault(generated.kernel.name, [finding]) from error
    flags = [*(_CHECK if check else _FAST), *_COMMON]
    flags += _CLANG if chosen.clang else _GCC
    if check:
        flags += _CLANG_CHECK if chosen.clang else _GCC_CHECK
    if contract:
        flags += ["-ffp-contract=fast"]
        flags += ["-mfma"] if platform.machine() == "x86_64" else []
    link = _link_flags(check, runtime)
    parts = (*flags, "link", *link, *chosen.command)
    key = cache_key(unit, _digest("shim"), runtime.name, *parts)
    target = cache_folder() / f"kernel-{key}.so"
    notes = target.with_suffix(".txt")
    if target.exists() and notes.exists():
        warnings = notes.read_text(encoding="utf-8")
    else:
        warnings = _compile(generated, unit, flags, link, chosen, target)
    _refuse(generated, warnings, _FATAL_WARNINGS)
    return Library(target, runtime, warnings)


def _link_flags(check: bool, runtime: Path) -> tuple[str, ...]:
    """What is linked with a kernel: the runtime, and as little else as can be.

    A name that is found nowhere is an error here, not a crash at the first call.
    """
    if _DARWIN:
        return (str(runtime),)
    # g++ leaves large copies to these functions: they are checked as well.
    copies = ("memcpy", "memmove", "memset") if check else ()
    wrapped = (f"-Wl,--wrap={name}" for name in copies)
    return ("-nostdlib", "-Wl,-z,defs", *wrapped, str(runtime), "-lm", "-lc", "-lgcc")


def _compile(
    generated: GeneratedText,
    unit: str,
    flags: Sequence[str],
    link: Sequence[str],
    chosen: Compiler,
    target: Path,
) -> str:
    """Compile and link into the cache; answer what the compiler said."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.cpp").write_text(unit, encoding="utf-8")
        include = [f"-I{place}" for place in _headers(flags, chosen)]
        good, said = chosen.run(
            [*flags, *include, "-c", "unit.cpp", "-o", "unit.o"], folder
        )
        if not good:
            _refuse(generated, said, ())
            raise KernelFault(generated.kernel.name, [Finding("compile", said[-2000:])])
        good, linked = chosen.run(
            ["-shared", "unit.o", *link, "-o", "kernel.so"], folder
        )
        if not good:
            raise KernelFault(generated.kernel.name, [Finding("link", linked[-2000:])])
        if lines := keep_lines(folder / "kernel.so"):
            keep(lines, lines_file(target))
        (folder / "notes.txt").write_text(said, encoding="utf-8")
        keep(folder / "kernel.so", target)
        keep(folder / "notes.txt", target.with_suffix(".txt"))
    return said


def _headers(flags: Sequence[str], chosen: Compiler) -> list[Path]:
    """Where the words of Metal's library are; g++ reads them faster when precompiled.

    They are more than half of what compiling a small kernel takes.
    """
    shim = _FOLDER / "shim"
    if chosen.clang:
        return [shim]
    key = cache_key(_digest("shim"), *flags, *chosen.command, platform.machine())
    precompiled = cache_folder() / f"headers-{key}" / f"{_HEADER}.gch"
    if not precompiled.exists():
        with tempfile.TemporaryDirectory() as name:
            made = Path(name) / precompiled.name
            header = ["-x", "c++-header", str(shim / _HEADER), "-o", str(made)]
            good, _ = chosen.run([*flags, *header], Path(name))
            if not good:
                return [shim]  # the kernel's own compilation says what is wrong
            keep(made, precompiled)
    return [precompiled.parent, shim]


def _refuse(generated: GeneratedText, said: str, warnings: tuple[str, ...]) -> None:
    """Raise what the compiler said, with the lines of the author."""
    findings = []
    for match in _DIAGNOSTIC.finditer(said):
        in_kernel = match["file"].endswith(KERNEL_FILE)
        message = match["message"]
        error = "error" in match["level"]
        if not error and not (in_kernel and any(w in message for w in warnings)):
            continue
        if not error and "uninitialized" in message:
            kind = "uninitialised variable"
        else:
            kind = "compile"
        place = line = ""
        if in_kernel:
            number = int(match["line"])
            place, line = generated.place(number), generated.line(number)
        finding = Finding(kind, message, place, line)
        if finding not in findings:
            findings.append(finding)
    if findings:
        raise KernelFault(generated.kernel.name, findings)
