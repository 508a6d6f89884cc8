"""What the corpus scripts share: speak a sentence with the espeak-ng program.

espeak-ng (GPL-3) is run as a program on the machine of whoever makes the corpus; no
part of it ships or is needed to train or to speak.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mlx_speech.errors import SpeechError

HERE = Path(__file__).parent
SAMPLE_RATE = 16_000
PEAK = 0.7
# Below this share of the peak a sample counts as silence when the ends are cut.
SILENCE = 0.004
MARGIN_SECONDS = 0.05


def read_sentences(name: str) -> list[str]:
    """The lines of ``sentences/<name>.txt``."""
    path = HERE / "sentences" / f"{name}.txt"
    return path.read_text(encoding="utf-8").splitlines()


def read_voices(group: str) -> dict[str, list[str]]:
    """espeak-ng arguments of each voice of ``group``: "base" or "demo"."""
    voices = json.loads((HERE / "demo_voices.json").read_text(encoding="utf-8"))
    return dict(voices[group])


def report(make: Callable[[], float]) -> int:
    """Run a script's ``make`` and print the minutes of audio it made; the exit code."""
    try:
        seconds = make()
    except SpeechError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{seconds / 60:.1f} minutes")
    return 0


def find_espeak() -> str:
    """Path of the espeak-ng program.

    Raises:
        SpeechError: it is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SpeechError(
            "the program espeak-ng is not installed",
            "install it with `apt install espeak-ng` or `brew install espeak-ng`",
        )
    return program


def speak(program: str, arguments: Sequence[str], sentence: str) -> np.ndarray:
    """Speak ``sentence``: float32 [samples] at 16 kHz, peak 0.7.

    Leading and trailing silence is cut to 50 ms, so that a sentence starts and ends
    alike in every voice and alignment has no long pauses to explain.
    """
    import soundfile
    import soxr

    finished = subprocess.run(
        [program, *arguments, "--stdout", "--", sentence],
        check=True,
        capture_output=True,
    )
    samples, rate = soundfile.read(io.BytesIO(finished.stdout), dtype="float32")
    samples = soxr.resample(samples, rate, SAMPLE_RATE, quality="VHQ")
    samples = samples * (PEAK / np.abs(samples).max())
    return _with_even_margins(samples)


def _with_even_margins(samples: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > SILENCE * PEAK)
    margin = np.zeros(round(MARGIN_SECONDS * SAMPLE_RATE), dtype=np.float32)
    return np.concatenate([margin, samples[loud[0] : loud[-1] + 1], margin])
