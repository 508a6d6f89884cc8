"""Flags for times of words and lines of subtitles; the names are openai-whisper's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlx_speech.cli.grouped_options import at_least, number_or_none, whole_or_none

if TYPE_CHECKING:
    from mlx_speech.writers import WriterOptions

_SUBTITLES = "Words and subtitles"
# Flags that cut or mark lines, and the formats in which that is seen.
_SEEN_IN = {
    "highlight_words": ("srt", "vtt", "lrc"),
    "max_line_width": ("srt", "vtt"),
    "max_line_count": ("srt", "vtt"),
    "max_words_per_line": ("srt", "vtt"),
}


def _count(help: str) -> Any:
    return typer.Option(
        parser=at_least(1, whole_or_none),
        metavar="NUMBER",
        help=help,
        rich_help_panel=_SUBTITLES,
    )


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
        int | None, _count("Characters in a line of subtitles.")
    ] = None
    max_line_count: Annotated[int | None, _count("Lines shown at once.")] = None
    max_words_per_line: Annotated[int | None, _count("Words shown at once.")] = None
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
            parser=at_least(0, number_or_none),
            metavar="SECONDS",
            help="Leave out what looks made up amid longer silences [default: never].",
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

    def notes(self, formats: Collection[str]) -> list[str]:
        """Flags that have no effect, in words.

        Args:
            formats: that are written; words' times are seen in json.
        """
        found = []
        if self.max_line_count is not None and self.max_line_width is None:
            found.append("--max-line-count has no effect without --max-line-width")
        if self.max_words_per_line is not None and self.max_line_width is not None:
            found.append("--max-words-per-line has no effect with --max-line-width")
        for name, seen_in in _SEEN_IN.items():
            if getattr(self, name) and not {*seen_in, "json"} & set(formats):
                flag = name.replace("_", "-")
                found.append(f"--{flag} has no effect without -f {', '.join(seen_in)}")
        return found
