"""The report on a corpus before hours are spent on training with it.

Every recording is opened and read once, in blocks. What makes training impossible is a
problem and names its recordings; what a trainer copes with is a note.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from mlx_speech.corpus.measure import Measurement, UnreadableError, measure
from mlx_speech.corpus.readers import Utterance, listed
from mlx_speech.errors import SpeechError


class TextChecker(Protocol):
    """The part of a vocabulary that the report asks."""

    def unknown_symbols(self, text: str) -> list[str]:
        """The symbols of a text that the vocabulary lacks."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text; SpeechError when it cannot be spoken."""


@dataclass(frozen=True)
class Limits:
    """Where a recording becomes unusual (a note) or unusable (a problem).

    Attributes:
        sample_rate: what training resamples to, in Hz.
        longest_seconds: longer is unusable: the memory of a step grows with it.
        shortest_seconds: in less nothing can be said; a trainer leaves these out.
        least_seconds_per_character: as above; an alignment needs a frame for every
            symbol.
        short_seconds, long_seconds: beyond these, unusual.
        pace_factor: seconds per character this many times above or below the
            corpus's median are unusual, in texts of ``pace_characters`` or more.
        silence_db: 10 ms this far below the recording's loudest are silence.
        edge_silence_seconds: longer silence at either end is unusual.
        clipped_share: a larger share of clipped samples is unusual.
        fewest_utterances: fewer usable ones cannot be divided into training and
            validation.
    """

    sample_rate: int = 22050
    shortest_seconds: float = 0.1
    longest_seconds: float = 60.0
    short_seconds: float = 0.5
    long_seconds: float = 20.0
    least_seconds_per_character: float = 0.02
    pace_factor: float = 3.0
    pace_characters: int = 5
    silence_db: float = 40.0
    edge_silence_seconds: float = 0.5
    clipped_share: float = 1e-4
    fewest_utterances: int = 2


@dataclass(frozen=True)
class CorpusReport:
    """What a corpus holds. Lists of recordings hold identifiers.

    Attributes:
        utterances: how many were given; the figures are over the readable ones.
        hours: of audio.
        speaker_hours: hours by speaker; the key "" stands for none named.
        sample_rates, channels: numbers of recordings by rate in Hz and by channels.
        seconds, seconds_per_character: ``{"min", "median", "max"}``, empty when
            there is nothing to measure.
        silence: shares of the audio: ``{"leading", "trailing", "overall"}``.
        unreadable: the reason by recording: absent, corrupt, empty, not finite.
        unspeakable: the vocabulary's reason by recording, where every symbol is known.
        empty_transcripts, too_long: unusable recordings.
        too_short, too_fast: recordings that a trainer leaves out.
        unknown_symbols: symbols that the vocabulary lacks, with the number of
            utterances that hold them.
        clipped, edge_silence, unusual_length, unusual_pace: unusual recordings.
        problems: one line for each reason why training cannot start.
        notes: one line for each thing worth knowing that does not prevent it.
    """

    utterances: int
    hours: float
    speaker_hours: dict[str, float]
    sample_rates: dict[int, int]
    channels: dict[int, int]
    seconds: dict[str, float]
    seconds_per_character: dict[str, float]
    silence: dict[str, float]
    unreadable: dict[str, str]
    unspeakable: dict[str, str]
    empty_transcripts: list[str]
    too_short: list[str]
    too_long: list[str]
    too_fast: list[str]
    unknown_symbols: dict[str, int]
    clipped: list[str]
    edge_silence: list[str]
    unusual_length: list[str]
    unusual_pace: list[str]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def can_train(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def to_dict(self) -> dict[str, object]:
        """Everything, in types that JSON can hold (its keys become strings)."""
        return {"can_train": self.can_train, **asdict(self)}


def check_corpus(
    utterances: Sequence[Utterance],
    vocabulary: TextChecker | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    is_heard: Callable[[Utterance], bool] = lambda utterance: False,
) -> CorpusReport:
    """Read every recording and judge the corpus.

    Args:
        utterances: what ``read_corpus`` returned.
        vocabulary: looks for unknown symbols; None does not.
        limits: the judgement's thresholds.
        on_progress: called as ``on_progress(done, total)`` after each recording.
        is_heard: tells recordings that were found good before: their audio is not
            opened again, so no figure counts them.

    Returns:
        The report; nothing in a recording raises.
    """
    limits = limits or Limits()
    measured: list[tuple[Utterance, Measurement]] = []
    unreadable: dict[str, str] = {}
    unspeakable: dict[str, str] = {}
    unknown: Counter[str] = Counter()
    for done, utterance in enumerate(utterances, start=1):
        try:
            if not is_heard(utterance):
                facts = measure(utterance.audio_path, limits.silence_db)
                measured.append((utterance, facts))
        except UnreadableError as error:
            unreadable[utterance.identifier] = str(error)
        if vocabulary is not None and utterance.text:
            lacking = set(vocabulary.unknown_symbols(utterance.text))
            unknown.update(lacking)
            reason = None if lacking else _refusal(vocabulary, utterance.text)
            if reason is not None:
                unspeakable[utterance.identifier] = reason
        if on_progress is not None:
            on_progress(done, len(utterances))
    report = _figures(
        utterances, measured, unreadable, unspeakable, dict(unknown), limits
    )
    report.problems.extend(_problems(report, limits))
    report.notes.extend(_notes(report, limits))
    return report


def _figures(
    utterances: Sequence[Utterance],
    measured: list[tuple[Utterance, Measurement]],
    unreadable: dict[str, str],
    unspeakable: dict[str, str],
    unknown: dict[str, int],
    limits: Limits,
) -> CorpusReport:
    def those(
        test: Callable[[Utterance, Measurement], bool],
    ) -> list[str]:
        return [each.identifier for each, facts in measured if test(each, facts)]

    speaker_seconds: dict[str, float] = defaultdict(float)
    for each, facts in measured:
        speaker_seconds[each.speaker or ""] += facts.seconds
    total = sum(facts.seconds for _, facts in measured)
    paces = [
        facts.seconds / len(each.text)
        for each, facts in measured
        if len(each.text) >= limits.pace_characters
    ]
    middle = statistics.median(paces) if paces else 0.0

    def unusual_pace(each: Utterance, facts: Measurement) -> bool:
        if len(each.text) < limits.pace_characters:
            return False
        ratio = facts.seconds / len(each.text) / middle
        return not 1 / limits.pace_factor <= ratio <= limits.pace_factor

    return CorpusReport(
        utterances=len(utterances),
        hours=total / 3600,
        speaker_hours={
            name: seconds / 3600 for name, seconds in sorted(speaker_seconds.items())
        },
        sample_rates=_counted([facts.sample_rate for _, facts in measured]),
        channels=_counted([facts.channels for _, facts in measured]),
        seconds=_spread([facts.seconds for _, facts in measured]),
        seconds_per_character=_spread(paces),
        silence={
            "leading": sum(facts.leading for _, facts in measured) / (total or 1),
            "trailing": sum(facts.trailing for _, facts in measured) / (total or 1),
            "overall": sum(facts.silence for _, facts in measured) / (total or 1),
        },
        unreadable=unreadable,
        unspeakable=unspeakable,
        empty_transcripts=[each.identifier for each in utterances if not each.text],
        too_short=those(lambda _, facts: facts.seconds < limits.shortest_seconds),
        too_long=those(lambda _, facts: facts.seconds > limits.longest_seconds),
        too_fast=those(
            lambda each, facts: (
                facts.seconds < limits.least_seconds_per_character * len(each.text)
            )
        ),
        unknown_symbols=dict(
            sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
        ),
        clipped=those(
            lambda _, facts: (
                facts.clipped > limits.clipped_share * facts.seconds * facts.sample_rate
            )
        ),
        edge_silence=those(
            lambda _, facts: (
                max(facts.leading, facts.trailing) > limits.edge_silence_seconds
            )
        ),
        unusual_length=those(
            lambda _, facts: (
                not limits.short_seconds <= facts.seconds <= limits.long_seconds
            )
        ),
        unusual_pace=those(unusual_pace),
    )


def _problems(report: CorpusReport, limits: Limits) -> list[str]:
    problems = []
    unusable = {*report.unreadable, *report.unspeakable, *report.empty_transcripts}
    unusable.update(report.too_short, report.too_fast, report.too_long)
    usable = report.utterances - len(unusable)
    if usable < limits.fewest_utterances:
        problems.append(
            f"{usable} usable recording(s) of {report.utterances}, at least "
            f"{limits.fewest_utterances} are needed"
        )
    if report.unreadable:
        reasons = (f"{name} ({why})" for name, why in report.unreadable.items())
        problems.append(
            f"{len(report.unreadable)} unreadable recording(s): {listed(reasons)}"
        )
    if report.unspeakable:
        reasons = (f"{name} ({why})" for name, why in report.unspeakable.items())
        problems.append(
            f"{len(report.unspeakable)} transcript(s) that cannot be spoken: "
            f"{listed(reasons)}"
        )
    for names, what in (
        (report.empty_transcripts, "empty transcript(s)"),
        (report.too_long, f"recording(s) over {limits.longest_seconds:g} s"),
    ):
        if names:
            problems.append(f"{len(names)} {what}: {listed(names)}")
    if report.unknown_symbols:
        symbols = listed(
            f"{symbol!r} in {count}" for symbol, count in report.unknown_symbols.items()
        )
        problems.append(
            f"{len(report.unknown_symbols)} symbol(s) that the vocabulary lacks, with "
            f"the number of transcripts: {symbols}"
        )
    return problems


def _notes(report: CorpusReport, limits: Limits) -> list[str]:
    notes = []
    for rate, count in report.sample_rates.items():
        if rate != limits.sample_rate:
            loss = f", nothing above {rate / 2000:g} kHz is in them"
            notes.append(
                f"{count} recording(s) at {rate} Hz are resampled to "
                f"{limits.sample_rate} Hz{loss if rate < limits.sample_rate else ''}"
            )
    for channels, count in report.channels.items():
        if channels > 1:
            notes.append(
                f"{count} recording(s) with {channels} channels are mixed to one"
            )
    for names, what in (
        (
            report.too_short,
            f"recording(s) under {limits.shortest_seconds:g} s, to be left out",
        ),
        (
            report.too_fast,
            "recording(s) too short for the transcript, under "
            f"{limits.least_seconds_per_character:g} s per character, to be left out",
        ),
        (report.clipped, "clipped recording(s)"),
        (
            report.edge_silence,
            "recording(s) with more than "
            f"{limits.edge_silence_seconds:g} s of silence at an end",
        ),
        (
            report.unusual_length,
            f"recording(s) outside {limits.short_seconds:g} to "
            f"{limits.long_seconds:g} s",
        ),
        (
            report.unusual_pace,
            f"recording(s) spoken {limits.pace_factor:g} times faster or slower than "
            "the middle one, perhaps with another transcript",
        ),
    ):
        if names:
            notes.append(f"{len(names)} {what}: {listed(names)}")
    return notes


def _refusal(vocabulary: TextChecker, text: str) -> str | None:
    try:
        vocabulary.encode(text)
    except SpeechError as error:
        return error.message
    return None


def _counted(values: list[int]) -> dict[int, int]:
    return dict(sorted(Counter(values).items()))


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "min": min(values),
        "median": statistics.median(values),
        "max": max(values),
    }
