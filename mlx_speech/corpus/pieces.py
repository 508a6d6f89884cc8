"""Long recordings become a corpus: cut at silences, written down, kept or dropped.

Who listens is passed in. What has been done is kept beside the pieces, so that a run
that was stopped anywhere goes on where it was and ends in the same files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlx_speech.audio.io import load, resample, save
from mlx_speech.audio.segment import Span, cut_at_silences

TOO_SHORT = "too short"
NO_SPEECH = "no speech"
LOW_CONFIDENCE = "low confidence"
LISTENING_RATE = 16000


@dataclass(frozen=True)
class PieceSettings:
    """What pieces are to be like.

    Attributes:
        shortest: seconds; shorter pieces are dropped.
        longest: seconds that no piece exceeds.
        sample_rate: of the pieces, in hertz.
        least_confidence: 0 to 1; pieces below are dropped.
    """

    shortest: float = 1.0
    longest: float = 10.0
    sample_rate: int = 22050
    least_confidence: float = 0.4


@dataclass(frozen=True)
class Heard:
    """What somebody understood.

    Attributes:
        text: may be empty.
        confidence: mean probability of the text, 0 to 1.
        problem: why it is not to be trusted all the same, in two words; or "".
    """

    text: str
    confidence: float
    problem: str = ""


# Takes float32 [samples] at LISTENING_RATE.
Listener = Callable[[np.ndarray], Heard]


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording.

    Attributes:
        identifier: name of its file in `wavs/`, without the suffix.
        start, end: seconds in the recording.
        text: what is said.
        confidence: of the text, 0 to 1.
        dropped: why it is no part of the corpus; "" when it is.
    """

    identifier: str
    start: float
    end: float
    text: str = ""
    confidence: float = 0.0
    dropped: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass
class Progress:
    """How far a recording is.

    Attributes:
        source: absolute path of the recording.
        size, modified: bytes and time of the file, by which a changed one is noticed.
        seconds: length of the recording.
        finished: whether all of its pieces are here.
        pieces: those that are done, in order.
    """

    source: str
    size: int
    modified: int
    seconds: float = 0.0
    finished: bool = False
    pieces: list[Piece] = field(default_factory=list)

    @classmethod
    def of_file(cls, path: Path) -> Progress:
        """The beginning, nothing done yet."""
        status = path.stat()
        return cls(str(path.absolute()), status.st_size, status.st_mtime_ns)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """The inverse of ``to_dict``."""
        pieces = [Piece(**piece) for piece in values["pieces"]]
        return cls(**{**values, "pieces": pieces})

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def is_of(self, other: Progress) -> bool:
        """Whether both are of one state of one file."""
        return (self.size, self.modified) == (other.size, other.modified)


def cut_recording(
    name: str,
    progress: Progress,
    settings: PieceSettings,
    wavs: Path,
    listener: Listener,
    on_piece: Callable[[Progress], None],
    on_missing: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Cut a recording into pieces, and write the kept ones to ``wavs``.

    Args:
        name: what the pieces are called after.
        progress: what is done; is brought to its end.
        settings: what pieces are to be like.
        wavs: folder of the pieces.
        listener: writes down what is said.
        on_piece: called after every piece and at the end, to keep ``progress``.
        on_missing: told the seconds that a recording lacks which broke off, see
            ``mlx_speech.audio.load``.

    Raises:
        SpeechError: the recording cannot be read, or a piece not be written.
    """
    samples, rate = load(progress.source, settings.sample_rate, on_missing)
    progress.seconds = len(samples) / rate
    spans = cut_at_silences(samples, rate, settings.longest, settings.shortest)
    for number, span in enumerate(spans, start=1):
        if number <= len(progress.pieces):
            continue
        part = samples[round(span.start * rate) : round(span.end * rate)]
        identifier = f"{name}_{number:04d}"
        piece = _listen(identifier, span, part, settings, listener)
        if not piece.dropped:
            save(wavs / f"{identifier}.wav", part, rate)
        progress.pieces.append(piece)
        on_piece(progress)
    progress.finished = True
    on_piece(progress)


def _listen(
    identifier: str,
    span: Span,
    samples: np.ndarray,
    settings: PieceSettings,
    listener: Listener,
) -> Piece:
    if span.seconds < settings.shortest:
        return Piece(identifier, *span, dropped=TOO_SHORT)
    heard = listener(resample(samples, settings.sample_rate, LISTENING_RATE))
    # A metadata.csv has no way to quote these.
    text = re.sub(r"[\s|\x00-\x1f\x7f-\x9f]+", " ", heard.text).strip()
    dropped = heard.problem
    if not any(letter.isalnum() for letter in text):
        dropped = NO_SPEECH
    elif heard.confidence < settings.least_confidence:
        dropped = LOW_CONFIDENCE
    return Piece(identifier, *span, text, heard.confidence, dropped)


def piece_names(names: Sequence[str]) -> list[str]:
    """Names of recordings as their pieces may be called.

    Nothing is there twice, and nothing of what a list in UTF-8 cannot hold: ``|``,
    spaces, control characters, bytes that are no letters.
    """
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        clean = re.sub(r"[|\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+", "_", name)
        candidate, number = clean, 2
        while candidate.casefold() in taken:
            candidate, number = f"{clean}-{number}", number + 1
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


@dataclass(frozen=True)
class PieceReport:
    """What became of all recordings.

    Attributes:
        recordings: that are finished.
        recorded_seconds: of them.
        pieces, seconds: kept.
        dropped_pieces, dropped_seconds: by reason.
        silent_seconds: between the pieces.
    """

    recordings: int
    recorded_seconds: float
    pieces: int
    seconds: float
    dropped_pieces: dict[str, int]
    dropped_seconds: dict[str, float]
    silent_seconds: float

    @classmethod
    def of(cls, all_progress: Sequence[Progress]) -> PieceReport:
        """Count."""
        pieces = [piece for progress in all_progress for piece in progress.pieces]
        kept = [piece.seconds for piece in pieces if not piece.dropped]
        lost: dict[str, int] = defaultdict(int)
        lost_seconds: dict[str, float] = defaultdict(float)
        for piece in pieces:
            if piece.dropped:
                lost[piece.dropped] += 1
                lost_seconds[piece.dropped] += piece.seconds
        recorded = sum(progress.seconds for progress in all_progress)
        return cls(
            recordings=len(all_progress),
            recorded_seconds=recorded,
            pieces=len(kept),
            seconds=sum(kept),
            dropped_pieces=dict(lost),
            dropped_seconds=dict(lost_seconds),
            silent_seconds=recorded - sum(piece.seconds for piece in pieces),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)
