"""``mlx-speech check-data``: whether a folder of recordings can be trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.console import counting, print_error, print_note, print_rows
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlx_speech.corpus import CorpusReport, Limits
    from mlx_speech.text import Vocabulary

EXAMPLES = (
    "Examples: `mlx-speech check-data LJSpeech-1.1`, "
    "`mlx-speech check-data my-voice --sample-rate 16000 --json`. "
    "Exit code: 0 when training can start, 1 when not."
)


def check_data(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with metadata.csv (LJSpeech, Piper), or recordings with "
            "NAME.txt or NAME.lab beside NAME.wav."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    sample_rate: Annotated[
        int, typer.Option(help="The rate that training will resample to, in Hz.", min=1)
    ] = 22050,
    vocabulary: Annotated[
        str,
        typer.Option(
            help="Look for symbols unknown to it: english-phonemes (English text), "
            "characters (the 178 letters and IPA signs of VITS), or none."
        ),
    ] = "english-phonemes",
    layout: Annotated[
        str,
        typer.Option(
            help="auto, single-speaker (id|text|normalised text) or "
            "multi-speaker (id|speaker|text; a folder per speaker)."
        ),
    ] = "auto",
    max_seconds: Annotated[
        float, typer.Option(help="Longer recordings cannot be trained on.", min=0)
    ] = 60.0,
) -> None:
    """Report hours, rates, clipping, silence, outliers and broken files of a folder."""
    from mlx_speech.corpus import Limits, check_corpus, find_leftovers, read_corpus

    symbols = _vocabulary(vocabulary)
    limits = Limits(sample_rate=sample_rate, longest_seconds=max_seconds)
    utterances = read_corpus(data, layout)
    leftovers = find_leftovers(data, utterances)
    with counting("reading recordings") as on_progress:
        report = check_corpus(utterances, symbols, limits, on_progress)
    if as_json:
        unused = {
            "unused_recordings": leftovers.recordings,
            "unused_transcripts": leftovers.transcripts,
        }
        print(json.dumps({**report.to_dict(), **unused}, indent=2))
    else:
        _print_report(report, limits)
        for names, what in (
            (leftovers.recordings, "recording(s) have no transcript"),
            (leftovers.transcripts, "transcript(s) have no recording"),
        ):
            _print_unused(names, what)
    if not report.can_train:
        raise typer.Exit(1)


def _vocabulary(kind: str) -> Vocabulary | None:
    from mlx_speech.text import EnglishPhonemeVocabulary, vits_vocabulary

    makers: dict[str, Callable[[], Vocabulary | None]] = {
        "english-phonemes": EnglishPhonemeVocabulary,
        "characters": vits_vocabulary,
        "none": lambda: None,
    }
    if kind not in makers:
        raise SpeechError(
            f"the vocabulary `{kind}` is not known",
            f"choose one of {', '.join(makers)}",
        )
    return makers[kind]()


def _print_report(report: CorpusReport, limits: Limits) -> None:
    rows = [
        ["recordings", str(report.utterances)],
        ["length", _duration(report.hours)],
    ]
    if set(report.speaker_hours) - {""}:
        speakers = report.speaker_hours.items()
        rows.append(
            [
                f"{len(speakers)} speaker(s)",
                ", ".join(f"{name or '(none)'} {_duration(h)}" for name, h in speakers),
            ]
        )
    rows += [
        ["sample rates", _counts(report.sample_rates, "Hz")],
        ["channels", _counts(report.channels, "")],
        ["seconds each", _spread(report.seconds, 2)],
        ["seconds per character", _spread(report.seconds_per_character, 3)],
        [
            "silence",
            "{leading:.1%} before, {trailing:.1%} after, {overall:.1%} in all".format(
                **report.silence
            )
            + f" (under -{limits.silence_db:g} dB of each one's loudest)",
        ],
        ["clipped", str(len(report.clipped))],
        ["unreadable", str(len(report.unreadable))],
        ["empty transcripts", str(len(report.empty_transcripts))],
        ["unknown symbols", str(len(report.unknown_symbols))],
        ["can train", "yes" if report.can_train else "no"],
    ]
    print_rows(["what", "found"], rows)
    for note in report.notes:
        print_note(f"note: {note}")
    for problem in report.problems:
        print_error(problem)


def _print_unused(names: list[str], what: str) -> None:
    from mlx_speech.corpus import listed

    if names:
        print_note(f"note: {len(names)} {what} and are left out: {listed(names)}")


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.2f} h"
    return f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.1f} s"


def _counts(counts: dict[int, int], unit: str) -> str:
    return ", ".join(
        f"{value} {unit}".strip() + f" ({count})" for value, count in counts.items()
    )


def _spread(values: dict[str, float], digits: int) -> str:
    if not values:
        return "nothing to measure"
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in values.items())
