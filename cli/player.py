"""Playing a sound file with whatever player the system has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mlx_speech.errors import SpeechError

# Each with the arguments that make it play one file and end.
PLAYERS = (
    ("afplay",),
    ("paplay",),
    ("aplay", "-q"),
    ("play", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
)


def find_player() -> list[str]:
    """Command and arguments of the first player found; empty when there is none."""
    for name, *arguments in PLAYERS:
        found = shutil.which(name)
        if found:
            return [found, *arguments]
    return []


def require_player() -> list[str]:
    """What ``find_player`` found.

    Raises:
        SpeechError: no player is installed.
    """
    command = find_player()
    if not command:
        raise SpeechError(
            "no audio player was found",
            f"install one of {', '.join(name for name, *_ in PLAYERS)}, "
            "or write a file with `-o` and open it",
        )
    return command


def play(path: Path) -> None:
    """Play ``path`` and wait for the end.

    Raises:
        SpeechError: no player is installed, or it failed (no sound device, say).
    """
    command = require_player()
    result = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SpeechError(f"`{command[0]}` could not play `{path}`: {reason}")
