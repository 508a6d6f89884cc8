"""A transcription and the files made of it: txt, srt, vtt, tsv, json, lrc.

The first five equal those of openai-whisper byte for byte (Radford et al. 2022, the
``--output_format`` of its command), the rules by which words become subtitle lines
included. lrc is the lyrics format of music players, with its per-word extension.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file

# What "no limit" means where a limit is needed: openai-whisper's own figure.
UNLIMITED = 1000
# A pause of more than this many seconds begins a new cue.
LONG_PAUSE = 3.0
_FIRST_LINE_OF_WORD = re.compile(r"^(\s*)(.*)$")


@dataclass(frozen=True)
class Word:
    """A word with the whitespace and punctuation around it.

    Attributes:
        word: its text, usually with a leading space.
        start: seconds from the beginning of the recording.
        end: seconds.
        probability: mean probability of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech; the fields are those of openai-whisper's result.

    Attributes:
        id: position in the transcription, from 0.
        seek: frame of 10 ms at which its window began.
        start: seconds from the beginning of the recording.
        end: seconds.
        text: as decoded, usually with a leading space.
        tokens: the ids it was decoded from, timestamps included.
        temperature: of the sampling that gave it.
        avg_logprob: mean log-probability of the window's tokens.
        compression_ratio: of the window's text under zlib.
        no_speech_prob: probability of the window's no-speech token.
        words: words with their times, or None where they were not asked for.
        language: code, where it was detected for every window; openai-whisper's result
            has no such field.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: Sequence[int] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: Sequence[Word] | None = None
    language: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The segment as openai-whisper's dictionary, keys in its order."""
        fields = asdict(self)
        fields["tokens"] = list(fields["tokens"])
        if self.words is None:
            del fields["words"]
        else:
            fields["words"] = list(fields["words"])
        if self.language is None:
            del fields["language"]
        return fields


@dataclass(frozen=True)
class Transcription:
    """All that was heard in one recording.

    Attributes:
        text: the whole text.
        segments: in order of time.
        language: two- or three-letter code.
        duration: seconds of the recording.
    """

    text: str
    segments: Sequence[Segment]
    language: str
    duration: float

    @property
    def has_words(self) -> bool:
        """Whether every segment knows its words' times."""
        return all(segment.words is not None for segment in self.segments)

    def to_dict(self) -> dict[str, Any]:
        """openai-whisper's result, which has no duration."""
        segments = [segment.to_dict() for segment in self.segments]
        return {"text": self.text, "segments": segments, "language": self.language}


@dataclass(frozen=True)
class WriterOptions:
    """How subtitles are cut; every option needs the words' times.

    Attributes:
        highlight_words: one cue a word, underlined in its line (srt, vtt); a time
            before every word (lrc).
        max_line_width: characters in a line.
        max_line_count: lines in a cue. Together with ``max_line_width``, cues may
            cross segments, and a pause of over 3 s begins a new one.
        max_words_per_line: words in a cue; counted anew in every segment.

    Raises:
        SpeechError: a limit below 1.
    """

    highlight_words: bool = False
    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise SpeechError(
                    f"{name} is {limit}", "give 1 or more, or leave it out"
                )

    @property
    def needs_words(self) -> bool:
        """Whether subtitles cut like this need the words' times."""
        return self != WriterOptions()


def render(
    transcription: Transcription,
    format: str,
    options: WriterOptions | None = None,
) -> str:
    """The whole content of a file.

    Args:
        transcription: what was heard.
        format: one of ``FORMATS``.
        options: how srt, vtt and lrc are cut; the others take no notice.

    Raises:
        SpeechError: an unknown format, or options that need words' times which the
            transcription lacks.
    """
    if format not in FORMATS:
        raise SpeechError(
            f"unknown output format {format!r}",
            f"known are {', '.join(FORMATS)}, and `all`",
        )
    options = options or WriterOptions()
    if format in CUT_BY_OPTIONS and options.needs_words and not transcription.has_words:
        raise SpeechError(
            "the asked-for subtitle lines need the times of the words",
            "transcribe with word timestamps, or leave the line options out",
        )
    return FORMATS[format](transcription, options)


def expand_formats(formats: Iterable[str]) -> list[str]:
    """Formats in the order given, each once, with ``all`` as every one of them."""
    named = [f for name in formats for f in (FORMATS if name == "all" else [name])]
    return list(dict.fromkeys(named))


def write_transcription(
    folder: str | Path,
    stem: str,
    formats: Iterable[str],
    transcription: Transcription,
    options: WriterOptions | None = None,
) -> list[Path]:
    """Write ``folder/stem.FORMAT`` for every format, each atomically, in UTF-8.

    Nothing is written when one of them cannot be rendered.

    Args:
        folder: where to; made when missing.
        stem: file name without its suffix; may name subfolders of ``folder``.
        formats: of ``FORMATS``, or ``all``.
        transcription: what was heard.
        options: see :class:`WriterOptions`.

    Returns:
        The paths in the order of ``formats``.

    Raises:
        SpeechError: as :func:`render`; ``stem`` leads out of ``folder``; a file cannot
            be written.
    """
    parts = Path(stem).parts
    if not parts or ".." in parts or Path(stem).is_absolute():
        raise SpeechError(
            f"{stem!r} is no name for a file inside `{folder}`",
            "give a name without `..`, and the folder as the output folder",
        )
    contents = {
        Path(folder) / f"{stem}.{format}": render(transcription, format, options)
        for format in expand_formats(formats)
    }
    for path, content in contents.items():
        with replacing_file(path) as temporary:
            temporary.write_bytes(content.encode("utf-8"))
    return list(contents)


def clock(seconds: float, marker: str = ".", hours: bool = False) -> str:
    """``hh:mm:ss.mmm``; without ``hours`` the hours only when there are any."""
    whole, milliseconds = divmod(round(seconds * 1000.0), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    front = f"{hour:02d}:" if hours or hour else ""
    return f"{front}{minute:02d}:{second:02d}{marker}{milliseconds:03d}"


def _txt(transcription: Transcription, options: WriterOptions) -> str:
    return "".join(f"{segment.text.strip()}\n" for segment in transcription.segments)


def _tsv(transcription: Transcription, options: WriterOptions) -> str:
    rows = ["start\tend\ttext\n"]
    for segment in transcription.segments:
        start, end = (round(1000 * time) for time in (segment.start, segment.end))
        text = segment.text.strip().replace("\t", " ")
        rows.append(f"{start}\t{end}\t{text}\n")
    return "".join(rows)


def _json(transcription: Transcription, options: WriterOptions) -> str:
    return json.dumps(transcription.to_dict())


def _vtt(transcription: Transcription, options: WriterOptions) -> str:
    cues = [
        f"{clock(start)} --> {clock(end)}\n{text}\n\n"
        for start, end, text in _shown(transcription, options)
    ]
    return "".join(["WEBVTT\n\n", *cues])


def _srt(transcription: Transcription, options: WriterOptions) -> str:
    def time(seconds: float) -> str:
        return clock(seconds, ",", hours=True)

    shown = enumerate(_shown(transcription, options), start=1)
    return "".join(
        f"{number}\n{time(start)} --> {time(end)}\n{text}\n\n"
        for number, (start, end, text) in shown
    )


def _lrc(transcription: Transcription, options: WriterOptions) -> str:
    lines = []
    for segment in transcription.segments:
        if options.highlight_words and segment.words:
            timed = [f"<{_tag(word.start)}>{word.word}" for word in segment.words]
            text = "".join(timed)
        else:
            text = segment.text
        lines.append(f"[{_tag(segment.start)}]{' '.join(text.split())}\n")
    return "".join(lines)


def _tag(seconds: float) -> str:
    """The time of a line of lyrics: minutes (of any number), seconds, hundredths."""
    whole, hundredths = divmod(round(seconds * 100), 100)
    return f"{whole // 60:02d}:{whole % 60:02d}.{hundredths:02d}"


FORMATS: dict[str, Callable[[Transcription, WriterOptions], str]] = {
    "txt": _txt,
    "vtt": _vtt,
    "srt": _srt,
    "tsv": _tsv,
    "json": _json,
    "lrc": _lrc,
}
CUT_BY_OPTIONS = ("vtt", "srt", "lrc")


def _shown(
    transcription: Transcription, options: WriterOptions
) -> Iterator[tuple[float, float, str]]:
    """What a subtitle file shows: start, end (seconds) and text of every cue."""
    if not transcription.has_words:
        for segment in transcription.segments:
            text = segment.text.strip().replace("-->", "->")
            yield segment.start, segment.end, text
        return
    for cue in _cues(transcription.segments, options):
        if options.highlight_words:
            yield from _highlighted(cue)
        else:
            yield cue[0][1].start, cue[-1][1].end, "".join(text for text, _ in cue)


# A cue: the shown text of its words, line breaks included, beside the words.
Cue = list[tuple[str, Word]]


def _highlighted(cue: Cue) -> Iterator[tuple[float, float, str]]:
    texts = [text for text, _ in cue]
    shown_until = cue[0][1].start
    for index, (text, word) in enumerate(cue):
        # Times are compared as they are written, in milliseconds.
        if clock(shown_until) != clock(word.start):
            yield shown_until, word.start, "".join(texts)
        marked = _FIRST_LINE_OF_WORD.sub(r"\1<u>\2</u>", text)
        yield (
            word.start,
            word.end,
            "".join([*texts[:index], marked, *texts[index + 1 :]]),
        )
        shown_until = word.end


def _cues(segments: Sequence[Segment], options: WriterOptions) -> Iterator[Cue]:
    """Distribute the words over lines, and the lines over cues."""
    width = options.max_line_width or UNLIMITED
    # As in openai-whisper: with both limits the next segment fills up a cue, else every
    # segment or group of words begins a cue of its own.
    across_segments = None not in (options.max_line_width, options.max_line_count)
    cue: Cue = []
    line_width, lines = 0, 1
    words = [w for segment in segments for w in segment.words or ()]
    previous_start = words[0].start if words else 0.0
    for word, opens in _with_openings(segments, options.max_words_per_line):
        paused = across_segments and word.start - previous_start > LONG_PAUSE
        apart = opens and bool(cue) and not across_segments
        fits = line_width + len(word.word) <= width
        previous_start = word.start
        if line_width > 0 and fits and not paused and not apart:
            # The line goes on.
            line_width += len(word.word)
            cue.append((word.word, word))
            continue
        # A new line, perhaps the first one of a new cue.
        text = word.word.strip()
        full = options.max_line_count is not None and (
            paused or lines >= options.max_line_count
        )
        if apart or (cue and full):
            yield cue
            cue, lines = [], 1
        elif line_width > 0:
            lines += 1
            text = "\n" + text
        line_width = len(text.strip())
        cue.append((text, word))
    if cue:
        yield cue


def _with_openings(
    segments: Sequence[Segment], words_per_line: int | None
) -> Iterator[tuple[Word, bool]]:
    """Words, each with whether it opens a group that may have a cue of its own."""
    group = words_per_line or UNLIMITED
    for segment in segments:
        for index, word in enumerate(segment.words or ()):
            yield word, index % group == 0
