"""Files that openai-whisper's own command writes, for a model of random weights.

Run it where torch and openai-whisper are installed, with ffmpeg on the path:

    OMP_NUM_THREADS=1 python tests/goldens/make_whisper_command.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).parent
OUTPUT = HERE / "whisper_command.json"
RATE = 16000
ONCE = [
    *("--temperature_increment_on_fallback", "None", "--no_speech_threshold", "None"),
    *("--fp16", "False", "--language", "en"),
]
# Windows of 1 s and few tokens: quick.
MODEL = "english"
# Flags of both commands.
CASES = {
    "words": [
        *("--beam_size", "None", "--word_timestamps", "True"),
        *("--max_line_width", "24", "--max_line_count", "2"),
        *("--initial_prompt", "Numbers and names."),
    ],
    "beams": [
        *("--beam_size", "3", "--patience", "2.0", "--length_penalty", "0.5"),
        *("--condition_on_previous_text", "False", "--clip_timestamps", "0.5,1.5,4"),
        *("--suppress_tokens", ""),
    ],
}


def sound() -> np.ndarray:
    """float32 [samples]: tones between silences."""
    draw = np.random.default_rng(4)
    parts = []
    for number in range(4):
        time = np.arange(RATE) / RATE
        tone = 0.4 * np.sin(2 * np.pi * (220 + 70 * number) * time) * np.hanning(RATE)
        parts += [np.zeros(RATE // 4), tone]
    samples = np.concatenate(parts)
    return (samples + 1e-3 * draw.standard_normal(len(samples))).astype(np.float32)


def main() -> None:
    """Write the goldens."""
    import torch
    import whisper_recipe as recipe
    from make_whisper_transcription import set_window
    from whisper.model import ModelDimensions, Whisper
    from whisper.transcribe import cli

    dims = ModelDimensions(**recipe.openai_dims(MODEL))
    set_window(dims.n_audio_ctx)
    model = Whisper(dims)
    state = {
        recipe.to_openai_name(name): torch.tensor(value)
        for name, value in recipe.state(MODEL).items()
    }
    model.load_state_dict(model.state_dict() | state)
    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        content = {"dims": vars(dims), "model_state_dict": model.state_dict()}
        torch.save(content, folder / "model.pt")
        soundfile.write(folder / "talk.wav", sound(), RATE)
        for name, flags in CASES.items():
            sys.argv = ["whisper", str(folder / "talk.wav"), *ONCE, *flags]
            sys.argv += ["--model", str(folder / "model.pt"), "--device", "cpu"]
            sys.argv += ["--output_dir", str(folder / name), "--verbose", "False"]
            cli()
            found[name] = {
                path.suffix[1:]: path.read_text(encoding="utf-8")
                for path in sorted((folder / name).iterdir())
            }
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
