"""Write ``whisper_loop.json.xz``: how openai-whisper goes through made-up recordings.

    python tests/goldens/make_whisper_loop.py     # needs openai-whisper 20250625

Its own ``transcribe`` runs. What a model would say of each window, and where the words
lie, comes from whisper_loop_recipe.py.
"""

from __future__ import annotations

import importlib
import json
import lzma
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from whisper.decoding import DecodingOptions, DecodingResult

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import whisper_loop_recipe as recipe  # noqa: E402

# The package hides this module behind its function of the same name.
openai: Any = importlib.import_module("whisper.transcribe")


class Told:
    """Stands in for a model that decodes what the recipe says."""

    device = torch.device("cpu")
    is_multilingual = True
    num_languages = 99
    dims = SimpleNamespace(
        n_mels=80, n_text_ctx=recipe.CONTEXT, n_audio_ctx=recipe.POSITIONS
    )

    def __init__(self, case: int) -> None:
        self.case = case
        self.calls: list[Any] = []
        self.first: dict[str, Any] = {}
        self.words: list[Any] = []

    def decode(self, mel: torch.Tensor, options: DecodingOptions) -> DecodingResult:
        prompt = list(options.prompt)[-recipe.MOST_PROMPT :]
        given = (options.beam_size, options.best_of, options.patience)
        self.first = self.first or {
            name: getattr(options, name) for name in recipe.DECODING
        }
        found = recipe.heard(self.case, len(self.calls))
        self.calls.append(
            [options.temperature, *given, len(prompt), recipe.digest(prompt)]
        )
        return DecodingResult(
            audio_features=mel,
            language=options.language,
            temperature=options.temperature,
            **found,
        )

    def add_words(self, *, segments: list[dict[str, Any]], **given: Any) -> None:
        rows = [(s["start"], s["end"], s["tokens"]) for s in segments]
        timed = recipe.timed(self.case, len(self.calls) - 1, rows)
        tokenizer = given["tokenizer"]
        self.words.append(
            [
                *(given["num_frames"], given["last_speech_timestamp"]),
                *(tokenizer.language, tokenizer.task),
                *(given["prepend_punctuations"], given["append_punctuations"]),
            ]
        )
        for segment, (start, end, words) in zip(segments, timed, strict=True):
            segment["start"], segment["end"] = start, end
            segment["words"] = [
                dict(zip(("word", "start", "end", "probability"), word, strict=True))
                for word in words
            ]


def run(case: int) -> dict[str, Any]:
    """What openai-whisper asks of its model, and what it returns."""
    model = Told(case)
    frames = int(recipe.seconds(case) * 16000) // 160
    openai.log_mel_spectrogram = lambda *_, **__: torch.zeros(
        80, frames + recipe.FRAMES
    )
    openai.add_word_timestamps = model.add_words
    found = openai.transcribe(model, None, fp16=False, **recipe.options(case))
    return {
        "calls": model.calls,
        "first": model.first,
        "words": model.words,
        "text": recipe.digest(found["text"]),
        "segments": [
            [
                *(s["seek"], s["start"], s["end"], s["temperature"], s["avg_logprob"]),
                recipe.digest((s["text"], s["tokens"])),
                [w["end"] for w in s["words"]] if "words" in s else None,
            ]
            for s in found["segments"]
        ],
    }


def main() -> None:
    """Store every case."""
    warnings.simplefilter("ignore")
    cases = [run(case) for case in recipe.CASES]
    packed = lzma.compress(json.dumps(cases).encode(), preset=9)
    (HERE / "whisper_loop.json.xz").write_bytes(packed)
    print(len(packed), sum(len(case["segments"]) for case in cases))


if __name__ == "__main__":
    main()
