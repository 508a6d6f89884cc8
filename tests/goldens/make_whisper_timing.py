"""Write ``whisper_timing.json.xz`` and ``whisper_timing.npz``: openai-whisper's times.

python tests/goldens/make_whisper_timing.py      # needs openai-whisper 20250625

Models are those of whisper_recipe.py. ``alignments``: words of texts in a window, the
table and the path in the npz. ``windows``: segments with words. ``merged``: marks
joined to words. ``fuzz``: segments with words of alignments that are made up here, so
that every rule for long words is met. ``warped``: paths through tables full of ties.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import lzma
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper.timing as openai
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import whisper_recipe as recipe  # noqa: E402

# Model, window of its mel, language, task, frames with sound, text.
ALIGNMENTS: list[tuple[str, int, str | None, str, int, str]] = [
    ("multilingual", 0, "en", "transcribe", 3000, " Hello, world! It's 3.14 o'clock."),
    (
        "multilingual",
        1,
        "en",
        "transcribe",
        1001,
        " And so, my fellow Americans - ask",
    ),
    ("multilingual", 0, "de", "transcribe", 640, " Fünf schöne Äpfel kosten 12,50 €."),
    (
        "multilingual",
        1,
        "ja",
        "transcribe",
        2000,
        "こんにちは。今日は、いい天気です!",
    ),
    ("multilingual", 0, "zh", "transcribe", 333, "他说:“你好吗?”我说很好。"),
    ("multilingual", 1, "ja", "translate", 2999, " Good morning, everybody."),
    ("multilingual", 0, "th", "transcribe", 1500, "สวัสดีครับ ผมชื่อ สมชาย"),
    (
        "multilingual",
        1,
        "es",
        "transcribe",
        1234,
        ' ¿Qué hora es? "Las tres" (creo)..',
    ),
    ("multilingual", 0, "ru", "transcribe", 3000, " Привет, мир! Как дела? " * 12),
    ("multilingual", 0, "en", "transcribe", 4, " Four frames."),
    ("english", 0, None, "transcribe", 100, " Ask not what your country can do."),
    ("english", 1, None, "transcribe", 57, " No."),
    ("english", 1, None, "transcribe", 6, " Three positions, no filter."),
    ("english", 0, None, "transcribe", 99, " ¿naïve? “œuvre” 😀 [laughs] - and 日本."),
    ("v3", 0, "yue", "transcribe", 80, "你好,世界。"),
    ("v3", 1, "en", "transcribe", 43, " The end."),
]
# A value in so many of a long table is stored.
STRIDE = 29

# Model, window, language, frames, seek, end of the speech before, segments: start, end
# and text. Times lie inside and outside of those of the words.
WINDOWS: list[tuple[str, int, str | None, int, int, float, list[Any]]] = [
    (
        "multilingual",
        0,
        "en",
        3000,
        0,
        0.0,
        [(0.0, 4.0, " Hello, all! Who's there?")],
    ),
    (
        *("multilingual", 1, "en", 2500, 12345, 120.0),
        [
            (123.45, 126.0, ' He said: "No." And then'),
            (126.0, 131.5, " (nobody else) spoke - for"),
            (135.0, 147.0, " a while. Good. Bye!"),
        ],
    ),
    (
        *("multilingual", 0, "zh", 1111, 777, 7.0),
        [(7.77, 10.0, "我说:“很好。”"), (11.0, 18.0, "再见!你好吗?")],
    ),
    (
        "multilingual",
        1,
        "en",
        3000,
        3000,
        29.0,
        [(33.0, 34.0, ""), (34.0, 50.0, " A")],
    ),
    ("multilingual", 1, "en", 3000, 3000, 29.0, [(33.0, 34.0, "")]),
    (
        *("english", 1, None, 100, 50, 0.1),
        [(0.5, 0.9, " Well..."), (0.9, 1.5, " Two, three! (Four)")],
    ),
    ("english", 0, None, 90, 0, 0.0, [(0.7, 0.8, " One two three four five.")]),
]
WORDS = (
    *(" a", " long", " word", " don't", "他", "说", "한", " -", ' "', " (", " ¿", " '"),
    *(".", ",", "!", "?", '"', ")", "。", "\uff1f", "...", ".”", ' "(', " ", "-", "'s"),
)
SEED = 4
# Cases at the limits of the rules: seek, end of the speech before, words, segments.
LIMITS: list[tuple[int, float, list[Any], list[Any]]] = [
    # A first word that ends before a usual word could.
    (
        *(0, 0.0),
        [(" a", [1], 0.0, 0.6, 0.5), (" b", [2], 0.6, 1.6, 0.5)],
        [(0.58, 1.5, [1, 2])],
    ),
    # Segments that differ from their words by just the half second.
    (
        *(0, 0.5),
        [(" a", [1], 1.0, 2.0, 0.5), (" b", [2], 2.0, 3.5, 0.5)],
        [(1.5, 3.0, [1, 2])],
    ),
    (
        *(0, 0.5),
        [(" a", [1], 1.0, 2.0, 0.5), (" b", [2], 2.0, 3.5, 0.5)],
        [(1.51, 2.99, [1, 2])],
    ),
]


def load(name: str) -> Whisper:
    """One of the recipe's models."""
    model = Whisper(ModelDimensions(**recipe.openai_dims(name)))
    arrays = {
        recipe.to_openai_name(key): torch.tensor(value)
        for key, value in recipe.state(name).items()
    }
    model.load_state_dict(arrays, strict=True)
    return model.eval()


@functools.cache
def model_and_mel(name: str) -> tuple[Whisper, torch.Tensor]:
    return load(name), torch.tensor(recipe.mel(name)).transpose(1, 2)


def tokenizer_of(name: str, language: str | None, task: str) -> Tokenizer:
    model, _ = model_and_mel(name)
    return get_tokenizer(
        model.is_multilingual,
        num_languages=model.num_languages,
        language=language,
        task=task,
    )


class Recorder:
    """Warps as openai-whisper does, and keeps the table and the path."""

    def __init__(self) -> None:
        self.table = np.zeros((0, 0))
        self.path = np.zeros((2, 0))

    def __call__(self, cost: torch.Tensor) -> np.ndarray:
        self.table = -cost.numpy()
        self.path = np.array(openai.dtw_cpu(cost.double().numpy()))
        return self.path


def alignments(recorder: Recorder, arrays: dict[str, np.ndarray]) -> list[Any]:
    found = []
    for index, (name, window, language, task, frames, text) in enumerate(ALIGNMENTS):
        model, mel = model_and_mel(name)
        tokenizer = tokenizer_of(name, language, task)
        tokens = tokenizer.encode(text)
        words = openai.find_alignment(model, tokenizer, tokens, mel[window], frames)
        case = {"model": name, "window": window, "language": language, "task": task}
        case |= {"frames": frames, "tokens": tokens}
        case["words"] = [
            [w.word, w.tokens, float(w.start), float(w.end), digits(w.probability)]
            for w in words
        ]
        found.append(case)
        flat = recorder.table.astype(np.float32).reshape(-1)
        arrays[f"{index}/shape"] = np.array(recorder.table.shape)
        arrays[f"{index}/stride"] = np.array(stride := STRIDE if len(flat) > 2e3 else 1)
        arrays[f"{index}/table"] = flat[::stride]
        arrays[f"{index}/path"] = recorder.path.astype(np.int16)
    return found


def windows() -> list[Any]:
    found = []
    for name, window, language, frames, seek, last_speech, rows in WINDOWS:
        model, mel = model_and_mel(name)
        tokenizer = tokenizer_of(name, language, "transcribe")
        segments = []
        for start, end, text in rows:
            tokens = [tokenizer.timestamp_begin, *tokenizer.encode(text)]
            tokens.append(tokenizer.timestamp_begin + 7)
            segments.append(segment(seek, start, end, tokens))
        given = [[s["start"], s["end"], s["tokens"]] for s in segments]
        openai.add_word_timestamps(
            segments=segments,
            model=model,
            tokenizer=tokenizer,
            mel=mel[window],
            num_frames=frames,
            last_speech_timestamp=last_speech,
        )
        found.append(
            {
                **{"model": name, "window": window, "language": language},
                **{"frames": frames, "seek": seek, "last_speech": last_speech},
                **{"segments": given, "found": results(segments)},
            }
        )
    return found


def segment(seek: int, start: float, end: float, tokens: list[int]) -> dict[str, Any]:
    return {"seek": seek, "start": start, "end": end, "tokens": tokens}


def results(segments: list[dict[str, Any]]) -> list[Any]:
    return [
        [
            *(float(s["start"]), float(s["end"])),
            [
                [
                    w["word"],
                    float(w["start"]),
                    float(w["end"]),
                    digits(w["probability"]),
                ]
                for w in s["words"]
            ],
        ]
        for s in segments
    ]


def made_up(draw: random.Random) -> list[openai.WordTiming]:
    """Words with many marks, and pauses that were taken for parts of words."""
    position, found = draw.choice([0, 0, 3, 150]), []
    for index in range(draw.randrange(1, 12)):
        length = draw.choice([0, 1, 5, 10, 15, 20, 25, 60, 150, 400])
        start, position = position, position + length
        tokens = list(range(index * 10, index * 10 + draw.choice([1, 1, 1, 2, 3])))
        word = draw.choice(WORDS)
        timing = (start / 50, position / 50, draw.randrange(100) / 100)
        found.append(openai.WordTiming(word, tokens, *timing))
    return found


def fuzz() -> list[Any]:
    """Segments that were given words by alignments that are made up."""
    draw = random.Random(SEED)
    found = [fitted(*case) for case in LIMITS]
    for _ in range(400):
        timings = made_up(draw)
        tokens = [token for t in timings for token in t.tokens]
        cuts = sorted(draw.randrange(len(tokens) + 1) for _ in range(draw.randrange(3)))
        seek = draw.choice([0, 0, 1234, 98765])
        moments = [draw.randrange(0, 3000) / 100 + seek / 100 for _ in range(6)]
        moments = sorted(moments) if draw.random() < 0.5 else sorted(moments[:2]) * 3
        bounds = [0, *cuts, len(tokens)]
        rows = [
            (moments[2 * i], moments[2 * i + 1], tokens[first:last])
            for i, (first, last) in enumerate(itertools.pairwise(bounds))
        ]
        last_speech = max(0, seek / 100 - draw.choice([0, 0, 0.5, 3]))
        words = [(t.word, t.tokens, t.start, t.end, t.probability) for t in timings]
        found.append(fitted(seek, last_speech, words, rows))
    return found


def fitted(
    seek: int, last_speech: float, words: list[Any], rows: list[Any]
) -> dict[str, Any]:
    """What openai-whisper makes of given words and segments."""
    segments = [segment(seek, *row) for row in rows]
    timings = [openai.WordTiming(*word) for word in words]
    openai.find_alignment = lambda *_, **__: timings
    openai.add_word_timestamps(
        segments=segments,
        model=None,
        tokenizer=get_tokenizer(True, language="en", task="transcribe"),
        mel=None,
        num_frames=3000,
        last_speech_timestamp=last_speech,
    )
    return {
        **{"seek": seek, "last_speech": last_speech, "alignment": words},
        **{"segments": rows, "found": results(segments)},
    }


def merged() -> list[Any]:
    """Words before, and those with text after joining."""
    draw = random.Random(SEED + 1)
    marks = inspect.signature(openai.add_word_timestamps).parameters
    found = []
    for _ in range(300):
        timings = made_up(draw)
        rows = [[t.word, t.tokens, t.start, t.end, t.probability] for t in timings]
        openai.merge_punctuations(
            timings,
            marks["prepend_punctuations"].default,
            marks["append_punctuations"].default,
        )
        kept = [[t.word, t.tokens, t.start, t.end] for t in timings if t.word]
        found.append([rows, kept])
    return found


def warped() -> list[Any]:
    """Tables of few different numbers and their paths; one of many."""
    draw = np.random.default_rng(SEED)
    shapes = [(1, 1), (1, 6), (6, 1), (2, 2), (3, 9), (9, 3), (8, 8), (5, 17)]
    tables = [draw.integers(-2, 3, shape).astype(float) for shape in shapes * 4]
    # Sums of these would be rounded in single precision.
    tables += [draw.choice([2.0**24, 1.0, -1.0, 3.0], (6, 9)) for _ in range(6)]
    tables += [np.zeros((4, 6)), draw.normal(size=(12, 40)).round(3)]
    return [[t.tolist(), np.array(openai.dtw_cpu(t)).tolist()] for t in tables]


def digits(value: float) -> float:
    return float(f"{value:.7g}")


def main() -> None:
    torch.set_num_threads(1)
    recorder = Recorder()
    openai.dtw = recorder
    arrays: dict[str, np.ndarray] = {}
    marks = inspect.signature(openai.add_word_timestamps).parameters
    golden = {
        "prepended": marks["prepend_punctuations"].default,
        "appended": marks["append_punctuations"].default,
        "alignments": alignments(recorder, arrays),
        "windows": windows(),
        "merged": merged(),
        "warped": warped(),
        "fuzz": fuzz(),
    }
    packed = lzma.compress(json.dumps(golden, ensure_ascii=False).encode(), preset=9)
    (HERE / "whisper_timing.json.xz").write_bytes(packed)
    np.savez_compressed(HERE / "whisper_timing.npz", **arrays)
    print(f"{len(packed)} bytes")


if __name__ == "__main__":
    main()
