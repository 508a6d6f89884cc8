"""Captions of a model that hears a stream as it comes, not utterance by utterance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.audio.utterances import UtteranceOptions
    from mlx_speech.cli.captions import Captions
    from mlx_speech.cli.listening_screen import ListeningScreen
    from mlx_speech.cli.live_sound import LiveSound, Stretch
    from mlx_speech.writers import Segment


def hears_streams(model: Any) -> bool:
    """Whether a loaded model writes while it hears."""
    from mlx_speech.voxtral.realtime_model import VoxtralRealtime

    return isinstance(model, VoxtralRealtime)


def follow_stream(
    sound: LiveSound,
    captions: Captions,
    cut: UtteranceOptions,
    screen: ListeningScreen,
) -> None:
    """Show what is said while it is heard, until the sound ends.

    Args:
        sound: at 16 kHz. After a gap the model begins anew.
        captions: receives the segments; its file is rewritten after each.
        cut: what the user wants of utterances.
        screen: shows segments with their times, or letters as they come.

    Raises:
        SpeechError: a language or utterances were asked for.
    """
    from mlx_speech.audio.utterances import UtteranceOptions
    from mlx_speech.voxtral.transcribe import UNDETERMINED

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
    for stretch in sound.stretches():
        _follow_stretch(stretch, sound, captions, screen)


def _follow_stretch(
    stretch: Stretch, sound: LiveSound, captions: Captions, screen: ListeningScreen
) -> None:
    from mlx_speech.voxtral.realtime import transcribe_stream

    def hear(segments: Sequence[Segment], seconds: float) -> None:
        new = captions.add(segments, stretch.start, stretch.start + seconds)
        if screen.verbose:
            screen.show(new)
        if new and captions.output is not None:
            captions.save()
        screen.tell_behind(sound.behind)

    transcribe_stream(
        captions.model,
        stretch.blocks,
        listener=hear,
        on_text=None if screen.verbose else screen.write,
    )
    screen.end_line()
