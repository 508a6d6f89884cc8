"""Captions of a model that hears a stream as it comes, not utterance by utterance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlx_speech.cli.console import print_data, print_piece
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    import numpy as np

    from mlx_speech.audio.utterances import UtteranceOptions
    from mlx_speech.cli.listen import Captions
    from mlx_speech.writers import Segment


def hears_streams(model: Any) -> bool:
    """Whether a loaded model writes while it hears."""
    from mlx_speech.voxtral.realtime_model import VoxtralRealtime

    return isinstance(model, VoxtralRealtime)


def follow_stream(
    blocks: Iterable[np.ndarray],
    captions: Captions,
    cut: UtteranceOptions,
    verbose: bool,
) -> None:
    """Show what is said until the stream, or Ctrl-C, ends it.

    Args:
        blocks: float [samples] at 16 kHz.
        captions: receives the segments; its file is rewritten after each.
        cut: what the user wants of utterances.
        verbose: show segments with their times instead of letters as they come.

    Raises:
        SpeechError: a language or utterances were asked for.
    """
    from mlx_speech.audio.utterances import UtteranceOptions
    from mlx_speech.voxtral.realtime import transcribe_stream
    from mlx_speech.voxtral.transcribe import UNDETERMINED
    from mlx_speech.writers import clock

    if cut != UtteranceOptions():
        raise SpeechError(
            "--pause and --max-seconds mean nothing to a model that hears streams",
            "leave them out",
        )
    if captions.options.get("language") is not None:
        raise SpeechError(
            "Voxtral Realtime cannot be told the language: it finds it out",
            "leave the language out",
        )
    captions.language = UNDETERMINED

    def hear(segments: Sequence[Segment], seconds: float) -> None:
        captions.segments += segments
        captions.seconds = seconds
        if verbose:
            for segment in segments:
                span = f"{clock(segment.start)} --> {clock(segment.end)}"
                print_data(f"[{span}]  {segment.text.strip()}")
        if segments and captions.output is not None:
            captions.save()

    # Ctrl-C while it computes: what was written down before is kept.
    with suppress(KeyboardInterrupt):
        transcribe_stream(
            captions.model,
            blocks,
            listener=hear,
            on_text=None if verbose else print_piece,
        )
    if not verbose:
        print_data("")
