"""Make the corpora around the demo: the base's training set, and held-out speech.

    python weights/make_base_corpus.py FOLDER
    python weights/make_base_corpus.py FOLDER --held-out

The first form speaks a seeded choice of 300 base sentences with each base voice into
one multi-speaker corpus (``metadata.csv``: ``id|speaker|text``). The second speaks
every held-out sentence with every base voice and with the demo's into
``FOLDER/<voice>/`` (``metadata.csv``: ``id|text``). Needs the espeak-ng program.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import soundfile

from mlx_speech.files import replacing_folder
from mlx_speech.weights.espeak import (
    SAMPLE_RATE,
    find_espeak,
    read_sentences,
    read_voices,
    report,
    speak,
)

SENTENCES_PER_VOICE = 300


def choose_sentences(voice: str, seed: int) -> list[int]:
    """Indices of the base sentences that ``voice`` speaks, in ascending order."""
    generator = random.Random(f"{seed} {voice}")
    return sorted(
        generator.sample(range(len(read_sentences("base"))), SENTENCES_PER_VOICE)
    )


def make_base_corpus(folder: Path, seed: int) -> float:
    """Write the multi-speaker corpus to ``folder``; return its seconds of audio."""
    sentences = read_sentences("base")
    program = find_espeak()
    seconds = 0.0
    rows = []
    with replacing_folder(folder) as temporary:
        (temporary / "wavs").mkdir()
        for voice, arguments in read_voices("base").items():
            for index in choose_sentences(voice, seed):
                identifier = f"{voice}-{index + 1:03d}"
                path = temporary / "wavs" / f"{identifier}.flac"
                seconds += _write(program, arguments, sentences[index], path)
                rows.append(f"{identifier}|{voice}|{sentences[index]}\n")
        (temporary / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    return seconds


def make_held_out(folder: Path) -> float:
    """Write one corpus a voice under ``folder``; return the seconds of audio."""
    program = find_espeak()
    seconds = 0.0
    with replacing_folder(folder) as temporary:
        for voice, arguments in {**read_voices("base"), **read_voices("demo")}.items():
            wavs = temporary / voice / "wavs"
            wavs.mkdir(parents=True)
            rows = []
            for number, sentence in enumerate(read_sentences("held_out"), start=1):
                identifier = f"held-{number:03d}"
                path = wavs / f"{identifier}.flac"
                seconds += _write(program, arguments, sentence, path)
                rows.append(f"{identifier}|{sentence}\n")
            metadata = temporary / voice / "metadata.csv"
            metadata.write_text("".join(rows), encoding="utf-8")
    return seconds


def _write(program: str, arguments: Sequence[str], sentence: str, path: Path) -> float:
    samples = speak(program, arguments, sentence)
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
    return len(samples) / SAMPLE_RATE


def main() -> int:
    """Make the corpus that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="output folder, replaced if present")
    parser.add_argument("--held-out", action="store_true", help="the held-out speech")
    parser.add_argument("--seed", type=int, default=0, help="which sentences a voice")
    chosen = parser.parse_args()
    if chosen.held_out:
        return report(lambda: make_held_out(chosen.folder))
    return report(lambda: make_base_corpus(chosen.folder, chosen.seed))


if __name__ == "__main__":
    sys.exit(main())
