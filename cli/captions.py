"""What was said so far, and the file that it is kept in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.audio.utterances import Utterance
    from mlx_speech.writers import Segment, Transcription, Word


class Captions:
    """What was said so far, and the file that it is kept in.

    Args:
        model: that listens.
        options: of ``mlx_speech.transcribe``.
        output: file, rewritten whole whenever something is said; None for none.
    """

    def __init__(
        self, model: Any, options: dict[str, Any], output: Path | None
    ) -> None:
        self.model = model
        self.options = options
        self.output = output
        self.segments: list[Segment] = []
        self.language = options.get("language") or "en"
        self.seconds = 0.0

    def hear(self, utterance: Utterance, sample_rate: int) -> list[Segment]:
        """Find out what is said in an utterance; its times are those of the sound."""
        from mlx_speech.models import transcribe

        sound = (utterance.samples, sample_rate)
        result = transcribe(sound, self.model, **self.options)
        new = [segment for segment in result.segments if segment.text.strip()]
        if new:
            self.language = result.language
        end = utterance.start + len(utterance.samples) / sample_rate
        return self.add(new, utterance.start, end)

    def add(
        self, segments: Sequence[Segment], start: float, seconds: float
    ) -> list[Segment]:
        """Append segments.

        Args:
            segments: with times of their own.
            start: seconds at which those times begin.
            seconds: of the sound that are heard now.

        Returns:
            The segments with the times and numbers that they have in the whole.
        """
        first = len(self.segments)
        new = [
            replace(
                segment,
                id=first + number,
                seek=segment.seek + round(100 * start),
                start=segment.start + start,
                end=segment.end + start,
                words=_moved(segment.words, start),
            )
            for number, segment in enumerate(segments)
        ]
        self.segments += new
        self.seconds = seconds
        return new

    def save(self) -> None:
        """Write the file, whole.

        Raises:
            SpeechError: it cannot be written.
        """
        from mlx_speech.files import replacing_file
        from mlx_speech.writers import render

        assert self.output is not None
        content = render(self.transcription(), self.output.suffix[1:].lower())
        with replacing_file(self.output) as temporary:
            temporary.write_bytes(content.encode("utf-8"))

    def transcription(self) -> Transcription:
        """All that was said."""
        from mlx_speech.writers import Transcription

        text = "".join(segment.text for segment in self.segments)
        return Transcription(text, self.segments, self.language, self.seconds)


def _moved(words: Sequence[Word] | None, seconds: float) -> list[Word] | None:
    if words is None:
        return None
    return [
        replace(word, start=word.start + seconds, end=word.end + seconds)
        for word in words
    ]


def require_savable(output: Path) -> None:
    """Say before anything is said that captions could not be kept in a file.

    Raises:
        SpeechError: an unknown format, a folder, or a place that cannot be written.
    """
    from mlx_speech.cli.transcription_output import require_writable
    from mlx_speech.writers import FORMATS

    if output.suffix[1:].lower() not in FORMATS:
        raise SpeechError(
            f"`{output}` ends in no format that can be written",
            f"choose a name that ends in {', '.join(f'.{name}' for name in FORMATS)}",
        )
    if output.is_dir():
        raise SpeechError(f"`{output}` is a folder", "give the name of a file")
    require_writable(output.parent)
