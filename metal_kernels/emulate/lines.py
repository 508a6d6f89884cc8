"""From addresses in a compiled kernel to the lines that its author wrote.

On Linux the shared library keeps its table of lines itself. On macOS the linker leaves
that in the object file, so ``keep_lines`` gathers it before the object file goes.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_speech.metal_kernels.emulate.unit import KERNEL_FILE

_KERNEL_LINE = re.compile(
    rf"{re.escape(KERNEL_FILE)}(?::|', line )(?P<line>\d+)", re.MULTILINE
)
_ADDRESS = re.compile(r"^0x[0-9a-f]+$", re.MULTILINE)


def lines_file(library: Path) -> Path:
    """The file beside a library that knows its lines; on Linux the library itself."""
    return library.with_suffix(".dwarf") if _on_darwin() else library


def keep_lines(library: Path) -> Path | None:
    """Gather the lines of a library just linked; None where nothing is to be kept."""
    if not _on_darwin() or not shutil.which("dsymutil"):
        return None
    made = lines_file(library)
    command = ["dsymutil", "--flat", "-o", str(made), str(library)]
    subprocess.run(command, capture_output=True, check=False)
    return made if made.exists() else None


def lines_of(addresses: Sequence[str], library: Path) -> list[int]:
    """Find the kernel line of each code address; 0 where no tool here can tell.

    Args:
        addresses: hexadecimal, relative to the start of the library.
        library: the compiled kernel.
    """
    if not addresses:
        return []
    if not _on_darwin():
        return _by_addr2line(addresses, library)
    return [_by_apples_tools(address, lines_file(library)) for address in addresses]


def _on_darwin() -> bool:
    return platform.system() == "Darwin"


def _by_addr2line(addresses: Sequence[str], library: Path) -> list[int]:
    if not shutil.which("addr2line"):
        return [0] * len(addresses)
    said = _said(["addr2line", "-a", "-i", "-e", str(library), *addresses])
    # Each answer begins with its address; inlined functions come before their callers.
    answers = _ADDRESS.split(said)[1:]
    return [next(_lines(answer), 0) for answer in answers]


def _by_apples_tools(address: str, file: Path) -> int:
    for command in (
        ["atos", "-i", "-o", str(file), "-l", "0x0", address],
        ["dwarfdump", f"--lookup={address}", str(file)],
    ):
        if shutil.which(command[0]):
            for line in _lines(_said(command)):
                return line
    return 0


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _lines(said: str) -> Iterator[int]:
    """Kernel lines in what a tool said; a 0 stands for code without a line."""
    for match in _KERNEL_LINE.finditer(said):
        if int(match["line"]):
            yield int(match["line"])
