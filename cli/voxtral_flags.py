"""Flags that only Voxtral knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from mlx_speech.errors import SpeechError

_PANEL = "Voxtral"
TOKEN_MILLISECONDS = 80


@dataclass(frozen=True)
class VoxtralFlags:
    """How Voxtral hears."""

    piece_seconds: Annotated[
        float | None,
        typer.Option(
            help="voxtral-mini, -small: longest piece, and so longest segment, up to "
            "1800 [default: 30].",
            rich_help_panel=_PANEL,
        ),
    ] = None
    delay_ms: Annotated[
        int | None,
        typer.Option(
            help="voxtral-realtime: how far the text is behind the audio, 80 to 2400 "
            "in steps of 80 [default: what the model's files say, 480].",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """The options of ``mlx_speech.transcribe`` that were asked for.

        Raises:
            SpeechError: a delay between two steps.
        """
        found: dict[str, Any] = {}
        if self.piece_seconds is not None:
            found["piece_seconds"] = self.piece_seconds
        if self.delay_ms is not None:
            if self.delay_ms % TOKEN_MILLISECONDS:
                raise SpeechError(
                    f"--delay-ms is {self.delay_ms}, between two steps",
                    f"give a multiple of {TOKEN_MILLISECONDS}",
                )
            found["delay_tokens"] = self.delay_ms // TOKEN_MILLISECONDS
        return found
