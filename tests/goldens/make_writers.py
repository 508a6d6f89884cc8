"""Make ``writers.json.xz``: what openai-whisper's writers write.

    python tests/goldens/make_writers.py        # needs openai-whisper

Every case is a result (as ``transcribe`` returns it), options, and the text of every
file that openai-whisper's ``ResultWriter`` classes make of them.
"""

from __future__ import annotations

import io
import json
import lzma
import random
from pathlib import Path

from whisper.utils import WriteJSON, WriteSRT, WriteTSV, WriteTXT, WriteVTT

WRITERS = (WriteTXT, WriteVTT, WriteSRT, WriteTSV, WriteJSON)
SENTENCE = (
    "the a of hmm speech--> --> naïve Zürich 東京 слово 🎧 don't (aside) well, "
    'extraordinarily counter-revolutionaries 3.14 <b> & "quoted" end.'
)
OPTIONS: list[dict[str, object]] = [
    {},
    {"highlight_words": True},
    {"max_line_width": 12},
    {"max_line_width": 1},
    {"max_line_count": 2},
    {"max_line_width": 20, "max_line_count": 1},
    {"max_line_width": 20, "max_line_count": 2},
    {"max_line_width": 42, "max_line_count": 3, "highlight_words": True},
    {"max_words_per_line": 1},
    {"max_words_per_line": 3},
    {"max_words_per_line": 3, "highlight_words": True},
    {"max_words_per_line": 4, "max_line_width": 15},
    {"max_words_per_line": 2, "max_line_width": 15, "max_line_count": 2},
]


def result(seed: int, count: int, words: bool, begin: float = 0.0) -> dict:
    """A made-up result of ``count`` segments from ``begin`` seconds on."""
    draw = random.Random(seed)
    time = begin
    segments = []
    for index in range(count):
        timed = []
        start = time
        # Now and then a segment without words, as a skipped hallucination leaves it.
        for position in range(draw.choice((0, 1, 2, 5, 9)) if words else 4):
            time += draw.choice((0.0, 0.0002, 0.04, 0.31, 2.6, 3.02, 6.5))
            spoken = draw.choice(SENTENCE.split())
            if position or draw.random() < 0.8:
                spoken = " " + spoken
            if draw.random() < 0.05:
                spoken += "\nnext\tline"
            end = time + draw.choice((0.0, 0.1, 0.2345, 0.9996, 1.0))
            timed.append(
                {
                    "word": spoken,
                    "start": round(time, 4),
                    "end": round(end, 4),
                    "probability": draw.random(),
                }
            )
            time = end
        text = "".join(word["word"] for word in timed)
        segment = {
            "id": index,
            "seek": 3000 * index,
            "start": start,
            "end": time,
            "text": text,
            "tokens": [draw.randrange(51865) for _ in range(4)],
            "temperature": draw.choice((0.0, 0.2, 1.0)),
            "avg_logprob": -draw.random(),
            "compression_ratio": 2 * draw.random(),
            "no_speech_prob": draw.random() ** 4,
        }
        if words:
            segment["words"] = timed
        segments.append(segment)
    text = "".join(segment["text"] for segment in segments)
    return {"text": text, "segments": segments, "language": "en"}


def written(content: dict, options: dict[str, object]) -> dict[str, str]:
    """The text of every file."""
    files = {}
    for writer in WRITERS:
        file = io.StringIO()
        writer("").write_result(content, file=file, options=dict(options))
        files[writer.extension] = file.getvalue()
    return files


def main() -> None:
    """Write every combination of result and options."""
    results = [
        result(0, 0, words=False),
        result(1, 7, words=False),
        result(2, 5, words=False, begin=3598.7),
        result(3, 1, words=True),
        result(4, 12, words=True),
        result(5, 12, words=True, begin=3590.0),
        result(6, 40, words=True, begin=36000.0),
        *(result(seed, 6, words=True) for seed in range(7, 20)),
    ]
    cases = []
    for content in results:
        timed = any("words" in segment for segment in content["segments"])
        files = [
            (options, written(content, options))
            for options in (OPTIONS if timed else OPTIONS[:1])
        ]
        # Only subtitles depend on the options; the rest is stored once.
        kept = [
            [options, {k: v for k, v in made.items() if not i or k in ("srt", "vtt")}]
            for i, (options, made) in enumerate(files)
        ]
        cases.append({"result": content, "files": kept})
    packed = lzma.compress(json.dumps(cases).encode(), preset=9)
    Path(__file__).with_name("writers.json.xz").write_bytes(packed)


if __name__ == "__main__":
    main()
