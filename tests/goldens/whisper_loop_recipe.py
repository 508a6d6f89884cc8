"""Recordings that are made up: what a model would decode, and where its words lie.

No model is needed to see how windows follow each other. Both programs are told the same
results of windows, call by call, drawn from a generator that is seeded by the case and
the number of the call: times in pairs or alone, open and closed segments, nothing at
all, and numbers on both sides of every threshold, and exactly on it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Any

CASES = range(400)
FRAMES, POSITIONS, CONTEXT = 3000, 1500, 448
VOCABULARY, FIRST_TIME = 51865, 50364
# A decoder sees no more of a prompt than its last tokens.
MOST_PROMPT = CONTEXT // 2 - 1
# A program that asks for more windows than this never ends.
MOST_CALLS = 600
# OpenAI's options that every window is decoded with.
DECODING = (
    *("task", "language", "length_penalty", "sample_len", "prefix"),
    *("suppress_tokens", "suppress_blank", "without_timestamps"),
    "max_initial_timestamp",
)
WORDS = (" one", " two", "'s", " (", "three", ".", "?", " -", " “", "")


def seconds(case: int) -> float:
    """Length of a recording; some are short, some of several minutes."""
    draw = random.Random(f"{case} length")
    return draw.choice([0.5, 7.013, 29.99, 30.0, 61.5, 151.237, 304.0])


def options(case: int) -> dict[str, Any]:
    """openai-whisper's options of a transcription, under its names."""
    draw = random.Random(f"{case} options")
    length = seconds(case)
    clips = draw.choice(["0", "", [0.0], "part", "parts"])
    if clips == "part":
        clips = [round(length / 3, 2)]
    elif clips == "parts":
        clips = ",".join(
            str(round(length * share, 3)) for share in (0.1, 0.4, 0.4, 0.9)
        )
    prompt = draw.choice([None, None, "Names: Ada, Grace.", "So it was. " * 50])
    found = {
        "temperature": draw.choice([0.0, 0.7, (0.0, 0.2, 0.6, 1.0), (0.0, 0.5)]),
        "compression_ratio_threshold": draw.choice([2.4, 2.4, None]),
        "logprob_threshold": draw.choice([-1.0, -1.0, None]),
        "no_speech_threshold": draw.choice([0.6, 0.6, None]),
        "condition_on_previous_text": draw.random() < 0.7,
        "initial_prompt": prompt,
        "carry_initial_prompt": draw.random() < 0.5,
        "clip_timestamps": clips,
        "word_timestamps": draw.random() < 0.6,
        "hallucination_silence_threshold": draw.choice([None, 0.3, 1.0, 2.0, 4.0]),
        "prepend_punctuations": draw.choice(["(", "-“"]),
        "append_punctuations": draw.choice([".?", "!"]),
        "language": draw.choice(["en", "de"]),
        "task": draw.choice(["transcribe", "translate"]),
        "beam_size": draw.choice([None, 3]),
        "best_of": draw.choice([None, 4]),
        "length_penalty": draw.choice([None, 0.5]),
        "sample_len": draw.choice([None, 100]),
        "prefix": draw.choice([None, "Well"]),
        "suppress_tokens": draw.choice(["-1", "", "5,6"]),
        "suppress_blank": draw.random() < 0.7,
        "without_timestamps": draw.random() < 0.2,
        "max_initial_timestamp": draw.choice([1.0, None, 0.5]),
    }
    patience = draw.choice([None, 2.0])
    return found | {"patience": patience if found["beam_size"] else None}


def heard(case: int, call: int) -> dict[str, Any]:
    """Tokens and numbers that a window is decoded to."""
    if call >= MOST_CALLS:
        raise RuntimeError(f"case {case} does not end")
    draw = random.Random(f"{case} {call} window")
    return {
        "tokens": _tokens(draw),
        "avg_logprob": draw.choice([-0.3, -0.9, -1.0, -1.1, -2.0]),
        "no_speech_prob": draw.choice([0.01, 0.3, 0.6, 0.7, 0.95]),
        "compression_ratio": draw.choice([1.2, 1.9, 2.4, 2.5]),
    }


def _tokens(draw: random.Random) -> list[int]:
    kind = draw.choice(["closed", "closed", "open", "silent", "untimed", "one", "none"])
    if kind == "none":
        return []
    if kind == "untimed":
        return _text(draw)
    if kind == "one":
        moment = FIRST_TIME + draw.choice([0, 1, 400, 1500])
        return draw.choice(
            [[moment], [FIRST_TIME, *_text(draw)], [*_text(draw), moment]]
        )
    count = 2 * draw.randrange(1, 5)
    limit = draw.choice([60, 700, POSITIONS])
    times = sorted(draw.randrange(limit + 1) for _ in range(count))
    # OpenAI's program stays for ever where the last closed segment ends at zero.
    times[-1] = max(times[-1], 1)
    tokens = []
    for start, end in zip(times[::2], times[1::2], strict=True):
        tokens += [FIRST_TIME + start, *_text(draw), FIRST_TIME + end]
    if kind == "silent":
        return tokens
    tokens.append(tokens[-1])
    return tokens + (_text(draw) if kind == "open" else [])


def _text(draw: random.Random) -> list[int]:
    # A space alone is no text; the others are words and marks.
    if draw.random() < 0.15:
        return [220]
    count = draw.choice([1, 2, 3, 5, 9, 40])
    return [draw.randrange(1, 20000) for _ in range(count)]


def timed(
    case: int, call: int, segments: Sequence[tuple[float, float, Sequence[int]]]
) -> list[tuple[float, float, list[tuple[str, float, float, float]]]]:
    """Start, end and words of segments, given as start, end and tokens."""
    draw = random.Random(f"{case} {call} words")
    sure = draw.random() < 0.6
    found = []
    for start, end, tokens in segments:
        words: list[tuple[str, float, float, float]] = []
        # No more than the first words count, so others may be strange.
        late = draw.random() < 0.2
        moment = max(0.0, round(start + draw.choice([0.0, 0.1, -0.2, 1.0, 2.5]), 2))
        spoken = [token for token in tokens if token < FIRST_TIME]
        for index, _ in enumerate(spoken):
            length = draw.choice([0.0, 0.02, 0.13, 0.2, 0.3, 0.45, 0.6, 2.6])
            chance = draw.choice([0.1, 0.15, 0.4, 0.9]) if sure else 0.05
            word = draw.choice(WORDS)
            if late:
                length = 0.3 if index < 8 else 0.0
                chance = 0.9 if 0 < index < 8 else 0.1
                word = "ten"
            after = round(moment + length, 2)
            words.append((word, moment, after, chance))
            moment = after
        if words and draw.random() < 0.5:
            start, end = words[0][1], words[-1][2]
        found.append((start, end, words))
    return found


def digest(values: Any) -> int:
    """A number that tells lists of numbers, or texts, apart."""
    return zlib.crc32(repr(values).encode())
