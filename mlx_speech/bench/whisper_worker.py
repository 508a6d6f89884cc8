"""One side of a comparison of Whispers, in a process of its own.

``python whisper_worker.py`` reads one line of JSON, ``{"side", "folder", "options",
"samples", "blas"}``: which implementation, a folder in mlx-community's layout, settings
of a transcription, a ``.npy`` file, and a BLAS to load before MLX. It loads, warms up,
and writes a line; then each line that comes has it transcribe once and write ``{"cpu",
"wall", "tokens", "peak_bytes"}``. The Python that runs it need not have this package:
only its own two sides are imported from it.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Float samples at 16 kHz to the ids of all segments.
Transcribe = Callable[[np.ndarray], list[int]]
WARM_UP_SAMPLES = 160_000


def main() -> None:
    """Serve one side until standard input ends."""
    settings = json.loads(sys.stdin.readline())
    if settings["blas"]:
        ctypes.CDLL(settings["blas"], mode=ctypes.RTLD_GLOBAL)
    transcribe = SIDES[settings["side"]](Path(settings["folder"]), settings["options"])
    samples = np.load(settings["samples"])
    transcribe(samples[:WARM_UP_SAMPLES])
    _say({"ready": True})
    for _ in sys.stdin:
        cpu, wall = _processor_seconds(), time.perf_counter()
        tokens = transcribe(samples)
        _say(
            {
                "cpu": _processor_seconds() - cpu,
                "wall": time.perf_counter() - wall,
                "tokens": tokens,
                "peak_bytes": _peak_bytes(),
            }
        )


def _ours(folder: Path, options: dict[str, Any], exact: bool) -> Transcribe:
    from mlx_speech.whisper.checkpoints import load_whisper
    from mlx_speech.whisper.transcribe import transcribe
    from mlx_speech.whisper.transcription_options import TranscriptionOptions

    model, chosen = load_whisper(folder), TranscriptionOptions(**options)

    def run(samples: np.ndarray) -> list[int]:
        made = transcribe(model, samples, chosen, exact=exact, find_speech=None)
        return [token for segment in made.segments for token in segment.tokens]

    return run


def _mlx_whisper(folder: Path, options: dict[str, Any]) -> Transcribe:
    import mlx_whisper

    half = _read_weights(folder)["decoder.ln.weight"].dtype == np.float16

    def run(samples: np.ndarray) -> list[int]:
        made = mlx_whisper.transcribe(
            samples, path_or_hf_repo=str(folder), fp16=half, verbose=None, **options
        )
        return [token for segment in made["segments"] for token in segment["tokens"]]

    return run


def _openai_whisper(folder: Path, options: dict[str, Any]) -> Transcribe:
    import torch
    import whisper

    torch.set_num_threads(1)
    sizes = json.loads((folder / "config.json").read_text())
    fields = whisper.model.ModelDimensions.__dataclass_fields__
    dims = whisper.model.ModelDimensions(**{name: sizes[name] for name in fields})
    model = whisper.model.Whisper(dims)
    state = model.state_dict()
    for name, array in _read_weights(folder).items():
        theirs = name.replace("mlp1", "mlp.0").replace("mlp2", "mlp.2")
        if theirs in state:
            value = torch.from_numpy(array.astype(np.float32))
            state[theirs] = value.transpose(1, 2) if value.ndim == 3 else value
    model.load_state_dict(state)
    model.eval()

    def run(samples: np.ndarray) -> list[int]:
        made = whisper.transcribe(model, samples, fp16=False, verbose=None, **options)
        return [token for segment in made["segments"] for token in segment["tokens"]]

    return run


SIDES: dict[str, Callable[[Path, dict[str, Any]], Transcribe]] = {
    "exact": lambda folder, options: _ours(folder, options, exact=True),
    "batched": lambda folder, options: _ours(folder, options, exact=False),
    "mlx-whisper": _mlx_whisper,
    "openai-whisper": _openai_whisper,
}


def _read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of weights.safetensors; those that are not floats are left out."""
    data = (folder / "weights.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        kind = {"F32": np.float32, "F16": np.float16}.get(entry.get("dtype"))
        if kind is not None:
            first, end = (8 + size + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[first:end], kind).reshape(entry["shape"])
    return found


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak_bytes() -> int:
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    # A script's folder is searched first, and the whisper.py in it is no peer.
    sys.path.remove(str(Path(__file__).parent))
    main()
