"""Write ``whisper_batched.json``: what openai-whisper hears in windows by themselves.

Each window is a clip, and no text prompts the next: that is what the batched pipeline
promises for every window, its retried temperatures and what is heard again included.

python tests/goldens/make_whisper_batched.py   # needs openai-whisper 20250625
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import whisper.decoding
from whisper.model import Whisper

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import make_whisper_decoding as decoding  # noqa: E402
import whisper_decoding_recipe as recipe  # noqa: E402
from make_whisper_transcription import FIELDS, set_window  # noqa: E402

CASES: dict[str, dict[str, Any]] = {
    "plain": {"language": "en", "temperature": 0.0},
    "detected": {"temperature": 0.0},
    "untimed": {"language": "en", "temperature": 0.0, "without_timestamps": True},
    "beams": {"language": "de", "temperature": 0.0, "beam_size": 3},
    "unlikely windows again": {
        **{"language": "en", "temperature": (0.0, 0.4, 0.8), "best_of": 2},
        "logprob_threshold": -4.03,
    },
    "repetitive windows again": {
        **{"language": "en", "temperature": (0.0, 0.3), "beam_size": 2},
        **{"compression_ratio_threshold": 1.13, "logprob_threshold": None},
    },
    "silent windows": {
        **{"language": "en", "temperature": 0.0, "no_speech_threshold": 8e-6},
        "logprob_threshold": -3.9,
    },
    "prompted": {
        **{"language": "en", "temperature": 0.0, "initial_prompt": recipe.PROMPT},
        "carry_initial_prompt": True,
    },
    "words": {"language": "en", "temperature": 0.0, "word_timestamps": True},
    "clips": {
        **{"language": "en", "temperature": 0.0},
        "clip_timestamps": "0.5,2.04,3,4.5",
    },
    "languages": {"temperature": 0.0},
}
# "languages": detected in each window, which openai-whisper's command does not offer.
EACH_WINDOW = "languages"
# Nobody knows when the last word before a window was said: long ago.
LONG_AGO = -1e6


def run(model: Whisper, name: str, case: str) -> dict[str, Any]:
    """Transcribe a model's recording, window by window."""
    module: Any = importlib.import_module("whisper.transcribe")
    sound = recipe.recording(name)
    window = 2 * recipe.dims(name)["n_audio_ctx"]
    frames = len(sound) // 160
    edges = [*range(0, frames, window), frames]
    clips = ",".join(f"{a / 100},{b / 100}" for a, b in pairwise(edges))
    options = {"clip_timestamps": clips, "condition_on_previous_text": False}
    options |= CASES[case]
    starts = [round(100 * float(t)) for t in options["clip_timestamps"].split(",")[::2]]
    drawn: list[dict[str, Any]] = []
    languages: list[str] = []
    decode, time_words = whisper.decoding.DecodingTask.run, module.add_word_timestamps

    def noted(self: Any, mel: torch.Tensor) -> Any:
        decoding.Recorder.drawn = []
        found = decode(self, mel)
        languages.append(found[0].language)
        if self.options.temperature > 0:
            drawn.append(
                {
                    "mel": round(float(mel.sum()), 2),
                    "temperature": self.options.temperature,
                    "steps": decoding.Recorder.drawn,
                }
            )
        return found

    def from_nothing(*, segments: list[dict[str, Any]], **keywords: Any) -> None:
        if segments and segments[0]["seek"] in starts:
            keywords["last_speech_timestamp"] = LONG_AGO
        time_words(segments=segments, **keywords)

    whisper.decoding.DecodingTask.run = noted
    module.add_word_timestamps = from_nothing
    if case == EACH_WINDOW:
        one = model.decode
        # An instance's own attribute hides the method.
        object.__setattr__(
            model, "decode", lambda mel, o: one(mel, replace(o, language=None))
        )
    torch.manual_seed(0)
    found = model.transcribe(sound, fp16=False, **options)
    whisper.decoding.DecodingTask.run = decode
    module.add_word_timestamps = time_words
    model.__dict__.pop("decode", None)
    result: dict[str, Any] = {
        "language": found["language"],
        "segments": [[segment[key] for key in FIELDS] for segment in found["segments"]],
        # Where the clip of each segment ends.
        "clip_ends": [
            min(e for e in _ends(options["clip_timestamps"]) if e > s["seek"])
            for s in found["segments"]
        ],
    }
    for segment in result["segments"]:
        segment[6], segment[8] = round(segment[6], 7), float(f"{segment[8]:.7g}")
    if case == EACH_WINDOW:
        result["languages"] = sorted(set(languages))
    if case == "words":
        result["words"] = [
            [
                [w["word"], w["start"], w["end"], round(w["probability"], 7)]
                for w in segment["words"]
            ]
            for segment in found["segments"]
        ]
    return result | ({"drawn": drawn} if drawn else {})


def _ends(clips: str) -> list[int]:
    return [round(100 * float(end)) for end in clips.split(",")[1::2]]


def main() -> None:
    """Store every case, and the options that made it."""
    torch.set_num_threads(1)
    whisper.decoding.Categorical = decoding.Recorder
    golden: dict[str, Any] = {"fields": FIELDS, "options": CASES, "cases": {}}
    for name in recipe.TRANSCRIBERS:
        set_window(recipe.dims(name)["n_audio_ctx"])
        model = decoding.load(name)
        for index, case in enumerate(CASES):
            chosen = name == "short" or case in ("plain", "words") or index % 3 == 0
            wanted = case in ("plain", "detected") if name == "whole" else chosen
            if wanted and (model.is_multilingual or "language" in CASES[case]):
                golden["cases"][f"{name}/{case}"] = run(model, name, case)
    target = HERE / "whisper_batched.json"
    target.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
