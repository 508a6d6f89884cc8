"""Word error rate and time of the two pipelines, on long recordings with silences.

    python weights/score_pipelines.py bundled corpus/heard --sentences 20

Sentences of a corpus, as `make_recogniser_corpus.py` writes it, are put together to
recordings of ``--sentences`` each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlx_speech.audio import load
from mlx_speech.bench.pipelines import (
    PAUSES,
    SAMPLE_RATE,
    compare_pipelines,
    join_sentences,
)
from mlx_speech.corpus import read_corpus
from mlx_speech.errors import SpeechError
from mlx_speech.models import find_listener, load_listener
from mlx_speech.whisper.transcription_options import TranscriptionOptions


def main() -> int:
    """Read the command line and print a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="as `mlx-speech transcribe -m` takes it")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--sentences", type=int, default=20, help="of one recording")
    parser.add_argument("--recordings", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the silences")
    parser.add_argument(
        "--longest-pause", type=float, default=PAUSES[1], help="seconds of silence"
    )
    arguments = parser.parse_args()
    try:
        utterances = read_corpus(arguments.corpus)
        size = arguments.sentences
        recordings = []
        for at in range(0, size * arguments.recordings, size):
            chosen = utterances[at : at + size]
            spoken = [(load(u.audio_path, SAMPLE_RATE)[0], u.text) for u in chosen]
            pauses = (PAUSES[0], arguments.longest_pause)
            recordings.append(join_sentences(spoken, arguments.seed + at, pauses))
        found = compare_pipelines(
            load_listener(find_listener(arguments.model)),
            recordings,
            TranscriptionOptions(language="en"),
            arguments.batch_size,
        )
    except SpeechError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{found.audio_seconds / 60:.1f} minutes of audio")
    for name, run in (("batched", found.batched), ("exact", found.exact)):
        rate = 100 * run.errors.rate
        print(f"{name:8} WER {rate:5.1f} %  processor time {run.seconds:6.1f} s")
    print(
        f"difference {found.difference:+.1f} points, time ratio {found.time_ratio:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
