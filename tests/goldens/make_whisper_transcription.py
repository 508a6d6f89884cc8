"""Write ``whisper_transcription.json``: what openai-whisper makes of recordings.

``whisper_long.json.xz`` has longer recordings, and windows of several segments.

python tests/goldens/make_whisper_transcription.py   # needs openai-whisper 20250625
"""

from __future__ import annotations

import importlib
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import torch
import whisper.decoding
from whisper.model import Whisper

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import make_whisper_decoding as decoding  # noqa: E402
import whisper_decoding_recipe as recipe  # noqa: E402

FIELDS = (
    *("seek", "start", "end", "text", "tokens", "temperature", "avg_logprob"),
    *("compression_ratio", "no_speech_prob"),
)


def set_window(positions: int) -> None:
    """Make openai-whisper work on windows of so many positions of 20 ms."""
    whisper.decoding.CHUNK_LENGTH = positions / 50
    # The package hides this module behind its function of the same name.
    module: Any = importlib.import_module("whisper.transcribe")
    module.N_FRAMES = 2 * positions
    module.N_SAMPLES = 320 * positions


def run(model: Whisper, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Transcribe a model's recording, noting the draws of every decoded window."""
    drawn: list[list[list[int]]] = []
    sums: list[float] = []  # they tell where every window was, those dropped too
    decode = whisper.decoding.DecodingTask.run

    def noted(self: Any, mel: torch.Tensor) -> Any:
        decoding.Recorder.drawn = []
        found = decode(self, mel)
        sums.append(round(float(mel.sum()), 2))
        if self.options.temperature > 0:
            drawn.append(decoding.Recorder.drawn)
        return found

    whisper.decoding.DecodingTask.run = noted
    torch.manual_seed(0)
    found = model.transcribe(recipe.recording(name), fp16=False, **options)
    whisper.decoding.DecodingTask.run = decode
    case = {
        "text": found["text"],
        "language": found["language"],
        "segments": [[segment[key] for key in FIELDS] for segment in found["segments"]],
        "emptied": [i for i, s in enumerate(found["segments"]) if not s["tokens"]],
    }
    if options.get("word_timestamps"):
        case["words"] = [
            [
                [w["word"], w["start"], w["end"], round(w["probability"], 7)]
                for w in segment["words"]
            ]
            for segment in found["segments"]
        ]
        case["mel_sums"] = sums
    for segment in case["segments"]:
        segment[6] = round(segment[6], 7)
        segment[8] = float(f"{segment[8]:.7g}")
    return case | ({"drawn": drawn} if drawn else {})


def main() -> None:
    """Store every case."""
    torch.set_num_threads(1)
    whisper.decoding.Categorical = decoding.Recorder
    golden: dict[str, Any] = {"fields": FIELDS, "cases": {}}
    for name in recipe.TRANSCRIBERS:
        set_window(recipe.dims(name)["n_audio_ctx"])
        model = decoding.load(name)
        for case, options in recipe.TRANSCRIPTIONS.items():
            if (name, case) in recipe.transcriptions():
                golden["cases"][f"{name}/{case}"] = run(model, name, options)
    target = HERE / "whisper_transcription.json"
    target.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    make_long()


def make_long() -> None:
    """Store the cases of longer recordings."""
    cases = {}
    for name in recipe.LONG:
        set_window(recipe.dims(name)["n_audio_ctx"])
        model = decoding.load(name)
        for case, (options, models) in recipe.LONG_TRANSCRIPTIONS.items():
            if name in models:
                cases[f"{name}/{case}"] = run(model, name, options)
    packed = lzma.compress(json.dumps({"fields": FIELDS, "cases": cases}).encode())
    (HERE / "whisper_long.json.xz").write_bytes(packed)


if __name__ == "__main__":
    main()
