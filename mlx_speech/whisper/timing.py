"""Times of words, from the attention of the decoder to the recording.

As OpenAI's program has them (Radford et al. 2022; its rules of thumb for words that
come out too long are kept, so that the times are the same). The window is not encoded
again: keys and values that served the decoding serve here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from mlx_speech.whisper.alignment import attention_table, warp
from mlx_speech.whisper.languages import language_code
from mlx_speech.whisper.model import CrossKeyValues, Whisper
from mlx_speech.whisper.segments import FRAMES_PER_SECOND, FRAMES_PER_TIME
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.writers import Segment, Word

POSITIONS_PER_SECOND = FRAMES_PER_SECOND // FRAMES_PER_TIME
# Marks that belong to the next word, and to the one before, full-width ones too.
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,\uff0c!\uff01?\uff1f:\uff1a”)]}、"
SENTENCE_ENDS = ".。!\uff01?\uff1f"
# The usual length of a word is taken to be no longer than this many seconds.
LONGEST_USUAL = 0.7
# A segment's own time is believed when a word crosses it by more than this.
MARGIN = 0.5


@dataclass(frozen=True)
class WordTiming:
    """A word within one window.

    Attributes:
        word: its text, usually with a leading space.
        tokens: the ids it was decoded from.
        start, end: seconds from the beginning of the window.
        probability: mean probability of its tokens among all text tokens.
    """

    word: str
    tokens: tuple[int, ...]
    start: float
    end: float
    probability: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


def find_alignment(
    model: Whisper,
    tokenizer: Tokenizer,
    text_tokens: Sequence[int],
    cross: CrossKeyValues,
    num_frames: int,
    language: str | None = None,
    task: str = "transcribe",
) -> list[WordTiming]:
    """Find when each word of a text was said.

    Args:
        model: whose configuration names the heads that align.
        tokenizer: the model's.
        text_tokens: what was said, without special tokens and times.
        cross: keys and values of the one window, of :meth:`Whisper.cross_key_values`.
        num_frames: frames of 10 ms of the window that are sound, not padding.
        language: code or English name; English when None.
        task: what the text was decoded for.

    Returns:
        The words in order; none for no tokens. Each begins where the one before ends.
        In a window of a single position all of them lie one position before it, as
        OpenAI's program has them.

    Raises:
        SpeechError: more tokens than the model can hold, several windows, an unknown
            language or task, or weights that give no numbers.
    """
    if not text_tokens:
        return []
    text = list(text_tokens)
    start = tokenizer.sot_sequence(language, task)
    tokens = [*start, tokenizer.special.no_timestamps, *text, tokenizer.eot]
    asked = range(len(start), len(start) + len(text))
    logits, scores = model.decode_with_alignment(mx.array([tokens]), cross, keep=asked)
    # Probabilities are those among text tokens: no other token could stand here.
    logits = logits[0, :, : tokenizer.eot]
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    chosen = mx.take_along_axis(logprobs, mx.array(text)[:, None], axis=-1)[:, 0]
    # Sound shorter than a position still lies at the first.
    count = max(1, num_frames // FRAMES_PER_TIME)
    table = attention_table(np.array(scores[0, :, :, :count]))
    # The row of a token is that of its successor: it looks at what is said next.
    rows, positions = warp(-table[len(start) : -1])
    first_of_row = np.flatnonzero(np.diff(rows, prepend=-1))
    times = positions[first_of_row] / POSITIONS_PER_SECOND
    if count == 1:
        # The weights of OpenAI's program are 0 / 0 here, and its path ends one position
        # too early.
        times = times - 1 / POSITIONS_PER_SECOND

    split_language = None
    if tokenizer.multilingual and language is not None:
        split_language = language_code(language)
    words, groups = tokenizer.split_to_word_tokens(
        [*text, tokenizer.eot], split_language
    )
    probabilities = np.exp(np.array(chosen)).astype(np.float64)
    timings = []
    begin = 0
    for word, group in zip(words[:-1], groups[:-1], strict=True):
        end = begin + len(group)
        timings.append(
            WordTiming(
                word=word,
                tokens=tuple(group),
                start=float(times[begin]),
                end=float(times[end]),
                probability=float(probabilities[begin:end].mean()),
            )
        )
        begin = end
    return timings


def merge_punctuations(
    timings: Sequence[WordTiming],
    prepended: str = PREPENDED,
    appended: str = APPENDED,
) -> list[WordTiming]:
    """Join marks to their words, whose times stay as they are.

    Args:
        timings: words and marks.
        prepended: marks that join the next word when they follow a space.
        appended: marks that join the word before.

    Returns:
        The words that are left, with all tokens.
    """
    joined: list[WordTiming] = []
    for timing in reversed(timings):
        is_mark = timing.word.startswith(" ") and timing.word.strip() in prepended
        if joined and is_mark:
            joined[-1] = _join(timing, joined[-1], times_of=joined[-1])
        else:
            joined.append(timing)
    merged: list[WordTiming] = []
    for timing in reversed(joined):
        if merged and timing.word in appended and not merged[-1].word.endswith(" "):
            merged[-1] = _join(merged[-1], timing, times_of=merged[-1])
        else:
            merged.append(timing)
    return merged


def _join(first: WordTiming, second: WordTiming, times_of: WordTiming) -> WordTiming:
    return replace(
        times_of,
        word=first.word + second.word,
        tokens=first.tokens + second.tokens,
    )


def add_word_timestamps(
    segments: Sequence[Segment],
    model: Whisper,
    tokenizer: Tokenizer,
    cross: CrossKeyValues,
    num_frames: int,
    *,
    last_speech_timestamp: float,
    language: str | None = None,
    task: str = "transcribe",
    prepend_punctuations: str = PREPENDED,
    append_punctuations: str = APPENDED,
) -> list[Segment]:
    """Give the segments of one window their words, and times that fit these.

    Args:
        segments: of one window, in order.
        model, tokenizer, cross, num_frames, language, task: as for
            :func:`find_alignment`.
        last_speech_timestamp: seconds of the recording where the last word before this
            window ended; see :func:`shorten_after_pause`.
        prepend_punctuations, append_punctuations: marks that join the next word, and
            the one before.

    Returns:
        The segments with ``words`` (none where they have no text), their start and end
        moved to those of the words.

    Raises:
        SpeechError: as :func:`find_alignment`.
    """
    if not segments:
        return []
    texts = [[t for t in each.tokens if t < tokenizer.eot] for each in segments]
    all_tokens = [token for text in texts for token in text]
    timings = find_alignment(
        model, tokenizer, all_tokens, cross, num_frames, language, task
    )
    usual = usual_duration(timings)
    timings = shorten_at_sentence_ends(timings, 2 * usual)
    timings = merge_punctuations(timings, prepend_punctuations, append_punctuations)

    offset = segments[0].seek / FRAMES_PER_SECOND
    timed: list[Segment] = []
    index = 0
    for segment, text in zip(segments, texts, strict=True):
        words: list[Word] = []
        taken = 0
        while index < len(timings) and taken < len(text):
            timing = timings[index]
            words.append(
                Word(
                    word=timing.word,
                    start=round(max(0.0, offset + timing.start), 2),
                    end=round(max(0.0, offset + timing.end), 2),
                    probability=timing.probability,
                )
            )
            taken += len(timing.tokens)
            index += 1
        if words:
            words = shorten_after_pause(words, usual, last_speech_timestamp)
            segment, words = fit_segment(segment, words, usual)
            last_speech_timestamp = segment.end
        timed.append(replace(segment, words=words))
    return timed


def usual_duration(timings: Sequence[WordTiming]) -> float:
    """Median duration in seconds of the words that have any, at most 0.7."""
    durations = [timing.duration for timing in timings if timing.duration != 0]
    return min(LONGEST_USUAL, float(np.median(durations))) if durations else 0.0


def shorten_at_sentence_ends(
    timings: Sequence[WordTiming], longest: float
) -> list[WordTiming]:
    """Cut pauses between sentences off the words around them.

    Args:
        timings: words and marks, not yet joined.
        longest: seconds that a mark at the end of a sentence, or the word after it, may
            last.
    """
    shortened = list(timings)
    for index in range(1, len(shortened)):
        timing = shortened[index]
        if timing.duration <= longest:
            continue
        if timing.word in SENTENCE_ENDS:
            shortened[index] = replace(timing, end=timing.start + longest)
        elif shortened[index - 1].word in SENTENCE_ENDS:
            shortened[index] = replace(timing, start=timing.end - longest)
    return shortened


def shorten_after_pause(
    words: Sequence[Word], usual: float, last_speech: float
) -> list[Word]:
    """Cut the pause before a segment off its first two words.

    Args:
        words: of the segment, at least one.
        usual: seconds that a word usually lasts.
        last_speech: seconds of the recording where the words before ended; minus
            infinity: not known, but long before.
    """
    longest = 2 * usual
    first, *others = words
    too_long = first.end - first.start > longest or (
        bool(others) and others[0].end - first.start > 2 * longest
    )
    if not too_long or first.end - last_speech <= 4 * usual:
        return list(words)
    if others and others[0].end - others[0].start > longest:
        boundary = others[0].end - longest
        first = replace(first, end=boundary)
        others[0] = replace(others[0], start=boundary)
    return [replace(first, start=max(0.0, first.end - longest)), *others]


def fit_segment(
    segment: Segment, words: Sequence[Word], usual: float
) -> tuple[Segment, list[Word]]:
    """Move a segment's start and end to its words, or words that are too long to these.

    Args:
        segment: as it was decoded.
        words: its words, at least one.
        usual: seconds that a word usually lasts.

    Returns:
        The segment with its new times, and its words.
    """
    fitted = list(words)
    first = fitted[0]
    if segment.start < first.end and segment.start - MARGIN > first.start:
        start = max(0.0, min(first.end - usual, segment.start))
        fitted[0] = replace(first, start=start)
    else:
        segment = replace(segment, start=first.start)
    last = fitted[-1]
    if segment.end > last.start and segment.end + MARGIN < last.end:
        fitted[-1] = replace(last, end=max(last.start + usual, segment.end))
    else:
        segment = replace(segment, end=last.end)
    return segment, fitted
