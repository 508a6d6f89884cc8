"""Options that several commands share: one spelling, one help text."""

from __future__ import annotations

import typer

# Of commands that need a voice, or may be given one.
VOICE = typer.Option(
    "--voice",
    "-m",
    envvar="MLX_SPEECH_VOICE",
    help="A training run, a voice folder, a Hugging Face VitsModel folder "
    "or a G_*.pth.",
)
