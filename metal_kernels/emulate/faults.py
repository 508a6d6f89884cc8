"""What is wrong with a kernel, in words and with the line that the author wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
        kind: a short name, such as "race" or "out of bounds"; see README.md.
        message: what happened, with the numbers.
        place: file and line; "" when it has none.
        line: the text of that line.
    """

    kind: str
    message: str
    place: str = ""
    line: str = ""

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        quoted = f"\n    {self.line}" if self.line else ""
        return f"{where}{self.kind}: {self.message}{quoted}"


class KernelFault(Exception):
    """A kernel did what would be wrong, or undefined, on a GPU.

    Args:
        kernel: its name.
        findings: one or more.
    """

    def __init__(self, kernel: str, findings: Sequence[Finding]) -> None:
        super().__init__(kernel, findings)
        self.kernel = kernel
        self.findings = tuple(findings)

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of all findings."""
        return frozenset(finding.kind for finding in self.findings)

    def __str__(self) -> str:
        return f"kernel {self.kernel}\n" + "\n".join(map(str, self.findings))
