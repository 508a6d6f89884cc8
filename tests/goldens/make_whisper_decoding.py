"""Write ``whisper_decoding.json``: what openai-whisper decodes with random weights.

python tests/goldens/make_whisper_decoding.py      # needs openai-whisper 20250625
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import whisper.decoding
from whisper.decoding import DecodingOptions
from whisper.model import ModelDimensions, Whisper

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import whisper_decoding_recipe as recipe  # noqa: E402

DIGITS = 7


class Recorder(torch.distributions.Categorical):
    """Draws, and remembers what it drew."""

    drawn: list[list[int]] = []  # noqa: RUF012

    def sample(self, *args: Any) -> torch.Tensor:
        ids = super().sample(*args)
        Recorder.drawn.append(ids.tolist())
        return ids


def load(name: str) -> Whisper:
    """One of the recipe's models."""
    model = Whisper(ModelDimensions(**recipe.dims(name)))
    weights = {key: torch.tensor(value) for key, value in recipe.state(name).items()}
    model.load_state_dict(weights, strict=True)
    return model.eval()


def run(model: Whisper, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Decode the windows of a model, one by one.

    This release cannot decode groups (beams, several samples) of several windows.
    """
    settings = dict(options)
    # OpenAI's takes every window for 30 s, however many positions it has.
    initial = settings.pop("initial", 50)
    seconds = None if initial is None else initial * 30 / recipe.POSITIONS
    chosen = DecodingOptions(fp16=False, max_initial_timestamp=seconds, **settings)
    found, drawn = [], []
    for index, mel in enumerate(recipe.mel(name)):
        torch.manual_seed(index)
        Recorder.drawn = []
        found.append(model.decode(torch.tensor(mel).T, chosen))
        drawn.append(Recorder.drawn)
    case: dict[str, Any] = {
        "tokens": [result.tokens for result in found],
        "text": [result.text for result in found],
        "language": [result.language for result in found],
        "avg_logprob": [round(result.avg_logprob, DIGITS) for result in found],
        "no_speech_prob": [float(f"{r.no_speech_prob:.7g}") for r in found],
        "compression_ratio": [result.compression_ratio for result in found],
    }
    if any(drawn):
        case["drawn"] = drawn
    return case


def main() -> None:
    """Store every case, and the languages of every multilingual model."""
    torch.set_num_threads(1)
    whisper.decoding.Categorical = Recorder
    golden: dict[str, Any] = {"cases": {}, "languages": {}}
    for name in recipe.MODELS:
        model = load(name)
        for case, options in recipe.OPTIONS.items():
            if (name, case) in recipe.cases():
                golden["cases"][f"{name}/{case}"] = run(model, name, options)
        if model.is_multilingual:
            mel = torch.tensor(recipe.mel(name)).transpose(1, 2)
            _, rows = model.detect_language(mel)
            golden["languages"][name] = [
                {code: float(f"{row[code]:.7g}") for code in sorted(row)}
                for row in rows
            ]
    target = HERE / "whisper_decoding.json"
    target.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
