"""Speak a corpus for the bundled recogniser with the espeak-ng program.

    python weights/make_recogniser_corpus.py training --count 18000 corpus/training
    python weights/make_recogniser_corpus.py validation corpus/validation
    python weights/make_recogniser_corpus.py held_out corpus/heard
    python weights/make_recogniser_corpus.py held_out --unheard corpus/unheard

Sentence i of the list is spoken by a voice that is drawn from (seed, i): accent,
variant, rate and pitch are those of ``recogniser_voices.json``. The folder gets
``wavs/`` and a ``metadata.csv`` as ``train-whisper`` takes it; the name of a recording
says which voice spoke. What exists already is kept, so that a stopped run goes on; but
only where ``metadata.csv`` says that it is the same sentence.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_speech.audio import save
from mlx_speech.files import replacing_file
from mlx_speech.weights.espeak import (
    HERE,
    SAMPLE_RATE,
    find_espeak,
    read_sentences,
    report,
    speak,
)

# Another seed for each list, so that no voice follows the training's order.
SEEDS = {"training": 1, "validation": 2, "held_out": 3}


@dataclass(frozen=True)
class Take:
    """One recording to make."""

    identifier: str
    arguments: tuple[str, ...]
    sentence: str


def takes(part: str, count: int | None = None, unheard: bool = False) -> list[Take]:
    """What is to be spoken, in order; a function of its arguments and the lists.

    Args:
        part: "training", "validation" or "held_out".
        count: recordings; None: each sentence once.
        unheard: by the variants that the training never hears.
    """
    voices: dict[str, Any] = json.loads(
        (HERE / "recogniser_voices.json").read_text(encoding="utf-8")
    )
    sentences = read_sentences(f"recogniser_{part}")
    made = []
    for index in range(len(sentences) if count is None else count):
        draw = random.Random(f"{SEEDS[part]} {index}")
        accent = draw.choice(voices["accents"])
        variant = draw.choice(voices["unheard" if unheard else "heard"])
        rate, pitch = draw.choice(voices["rates"]), draw.choice(voices["pitches"])
        made.append(
            Take(
                f"{index:05d}-{accent}-{variant}-{rate}-{pitch}",
                ("-v", f"{accent}+{variant}", "-s", str(rate), "-p", str(pitch)),
                sentences[index % len(sentences)],
            )
        )
    return made


def make(folder: Path, wanted: list[Take]) -> float:
    """Speak ``wanted`` into ``folder``; the seconds of audio in all."""
    program = find_espeak()
    wavs, metadata = folder / "wavs", folder / "metadata.csv"
    wavs.mkdir(parents=True, exist_ok=True)
    # Names count sentences, so a changed list says something else under an old name.
    said = _read_metadata(metadata)
    for take in wanted:
        if said.get(take.identifier) != take.sentence:
            (wavs / f"{take.identifier}.wav").unlink(missing_ok=True)
    rows = [f"{take.identifier}|{take.sentence}\n" for take in wanted]
    # Before the first sound, so that a run that is stopped knows what it has spoken.
    with replacing_file(metadata) as path:
        path.write_text("".join(rows), encoding="utf-8")

    def record(take: Take) -> float:
        path = wavs / f"{take.identifier}.wav"
        if not path.exists():
            samples = speak(program, take.arguments, take.sentence)
            save(path, samples, SAMPLE_RATE)
        return (path.stat().st_size - 44) / 2 / SAMPLE_RATE

    with ThreadPoolExecutor(2) as workers:
        return sum(workers.map(record, wanted))


def _read_metadata(path: Path) -> dict[str, str]:
    """What each recording of a folder says; nothing where no run began."""
    if not path.exists():
        return {}
    rows = path.read_text(encoding="utf-8").splitlines()
    return {name: text for name, _, text in (row.partition("|") for row in rows)}


def main() -> int:
    """Read the command line and make the corpus; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=list(SEEDS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, help="recordings [each sentence once]")
    parser.add_argument("--unheard", action="store_true", help="by unheard variants")
    chosen = parser.parse_args()
    wanted = takes(chosen.part, chosen.count, chosen.unheard)
    return report(lambda: make(chosen.folder, wanted))


if __name__ == "__main__":
    sys.exit(main())
