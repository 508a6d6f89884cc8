"""Make ``demo_corpus/``: the one voice and 90 sentences that ship with the package.

    python weights/make_demo_corpus.py

Needs the espeak-ng program (made with 1.51). Another version of it may speak a
little differently.
"""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile

from mlx_speech.files import replacing_folder
from mlx_speech.weights.espeak import (
    HERE,
    PEAK,
    SAMPLE_RATE,
    find_espeak,
    read_sentences,
    read_voices,
    report,
    speak,
)

README = """# Demo corpus

{clips} sentences ({minutes:.1f} minutes) of one synthetic voice, 16 kHz mono, Ogg
Vorbis. The clips are in `wavs/`, `metadata.csv` holds `id|text`.

- Voice: the espeak-ng program, arguments `{arguments}` (`../demo_voices.json`).
- Sentences: our own, `../sentences/demo.txt`.
- Processing: resampled from 22.05 kHz with soxr, silence at both ends cut to 50 ms,
  peak {peak}.
- Made by `python weights/make_demo_corpus.py`.

espeak-ng is free software under the GPL-3; this is its output for our own text, and
is published under the licence of this repository.
"""
# libsndfile's scale from 0 (best) to 1 (smallest).
VORBIS_COMPRESSION = 0.2


def make_demo_corpus(folder: Path) -> float:
    """Write the corpus to ``folder``, replacing it; return its seconds of audio."""
    program = find_espeak()
    ((_, arguments),) = read_voices("demo").items()
    seconds = 0.0
    rows = []
    with replacing_folder(folder) as temporary:
        (temporary / "wavs").mkdir()
        for number, sentence in enumerate(read_sentences("demo"), start=1):
            identifier = f"demo-{number:03d}"
            samples = speak(program, arguments, sentence)
            soundfile.write(
                temporary / "wavs" / f"{identifier}.ogg",
                samples,
                SAMPLE_RATE,
                format="OGG",
                subtype="VORBIS",
                compression_level=VORBIS_COMPRESSION,
            )
            rows.append(f"{identifier}|{sentence}\n")
            seconds += len(samples) / SAMPLE_RATE
        (temporary / "metadata.csv").write_text("".join(rows), encoding="utf-8")
        readme = README.format(
            clips=len(rows),
            minutes=seconds / 60,
            arguments=" ".join(arguments),
            peak=PEAK,
        )
        (temporary / "README.md").write_text(readme, encoding="utf-8")
    return seconds


def main() -> int:
    """Make the corpus beside this script."""
    return report(lambda: make_demo_corpus(HERE / "demo_corpus"))


if __name__ == "__main__":
    sys.exit(main())
