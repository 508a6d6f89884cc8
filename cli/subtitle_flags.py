"""Flags for times of words and lines of subtitles; the names are openai-whisper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mlx_speech.writers import WriterOptions

_SUBTITLES = "Words and subtitles"


@dataclass(frozen=True)
class SubtitleFlags:
    """Times of words, and how lines of subtitles are cut by them."""

    word_timestamps: Annotated[
        bool,
        typer.Option(
            "--word-timestamps",
            help="Find the time of every word; the limits below ask for it by "
            "themselves.",
            rich_help_panel=_SUBTITLES,
        ),
    ] = False
    highlight_words: Annotated[
        bool,
        typer.Option(
            "--highlight-words",
            help="Underline each word as it is spoken (srt, vtt).",
            rich_help_panel=_SUBTITLES,
        ),
    ] = False
    max_line_width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Characters in a line of subtitles.",
            rich_help_panel=_SUBTITLES,
        ),
    ] = None
    max_line_count: Annotated[
        int | None,
        typer.Option(min=1, help="Lines shown at once.", rich_help_panel=_SUBTITLES),
    ] = None
    max_words_per_line: Annotated[
        int | None,
        typer.Option(min=1, help="Words shown at once.", rich_help_panel=_SUBTITLES),
    ] = None
    prepend_punctuations: Annotated[
        str | None,
        typer.Option(
            help="Marks that join the next word [default: openai-whisper's].",
            rich_help_panel=_SUBTITLES,
        ),
    ] = None
    append_punctuations: Annotated[
        str | None,
        typer.Option(
            help="Marks that join the word before [default: openai-whisper's].",
            rich_help_panel=_SUBTITLES,
        ),
    ] = None
    hallucination_silence_threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Leave out what looks made up amid longer silences, in seconds "
            "[default: never].",
            rich_help_panel=_SUBTITLES,
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """The options of ``mlx_speech.transcribe``."""
        found: dict[str, Any] = {
            "word_timestamps": self.word_timestamps
            or self.lines().needs_words
            or self.hallucination_silence_threshold is not None,
            "hallucination_silence_threshold": self.hallucination_silence_threshold,
        }
        for name in ("prepend_punctuations", "append_punctuations"):
            if (marks := getattr(self, name)) is not None:
                found[name] = marks
        return found

    def lines(self) -> WriterOptions:
        """How lines of subtitles are cut."""
        from mlx_speech.writers import WriterOptions

        return WriterOptions(
            highlight_words=self.highlight_words,
            max_line_width=self.max_line_width,
            max_line_count=self.max_line_count,
            max_words_per_line=self.max_words_per_line,
        )

    def notes(self) -> Sequence[str]:
        """Flags that have no effect, in words."""
        found = []
        if self.max_line_count is not None and self.max_line_width is None:
            found.append("--max-line-count has no effect without --max-line-width")
        if self.max_words_per_line is not None and self.max_line_width is not None:
            found.append("--max-words-per-line has no effect with --max-line-width")
        return found
