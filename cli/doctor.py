"""``mlx-speech doctor``: what this machine offers, and what to do about problems."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = "Example: `mlx-speech doctor --json`"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Print device, versions, BLAS speed, caches and extras, and how to mend each."""
