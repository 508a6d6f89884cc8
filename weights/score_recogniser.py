"""Word error rate of a recogniser through the command line, on spoken corpora.

    python weights/score_recogniser.py bundled corpus/heard corpus/unheard

Every recording is transcribed as a user would do it, by one call of ``mlx-speech
transcribe``; the transcripts are compared by Whisper's standard normaliser. Beside the
recordings as they are, the same with white noise at ``--noise`` decibels are scored,
and beside the model, one of the same shape with random weights.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlx_speech.audio import load, save
from mlx_speech.corpus import Utterance, read_corpus
from mlx_speech.errors import SpeechError
from mlx_speech.models import find_listener
from mlx_speech.text.word_errors import WordErrors, word_errors

SAMPLE_RATE = 16_000
SEED = 7


def score(
    model: str, utterances: Sequence[Utterance], options: Sequence[str], noise: float
) -> WordErrors:
    """Errors of ``model`` on recordings, with white noise at ``noise`` dB (inf: none).

    Raises:
        SpeechError: the command failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        sounds, texts = Path(temporary) / "sounds", Path(temporary) / "texts"
        sounds.mkdir()
        draw = np.random.default_rng(SEED)
        for place, utterance in enumerate(utterances):
            samples, _ = load(utterance.audio_path, SAMPLE_RATE)
            level = np.sqrt(np.mean(np.square(samples))) * 10 ** (-noise / 20)
            noisy = samples + level * draw.standard_normal(len(samples))
            save(
                sounds / f"{place:05}.wav", 0.5 * noisy.astype(np.float32), SAMPLE_RATE
            )
        command = [sys.executable, "-m", "mlx_speech", "transcribe", str(sounds)]
        command += ["-m", model, "-f", "txt", "-o", str(texts), "-q", *options]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SpeechError(f"transcribing failed: {finished.stderr.strip()}")
        heard = [
            " ".join((texts / f"{place:05}.txt").read_text(encoding="utf-8").split())
            for place in range(len(utterances))
        ]
    return word_errors([utterance.text for utterance in utterances], heard)


def untrained(model: str, folder: Path) -> None:
    """Write a model of the same shape with random weights into ``folder``."""
    import mlx.core as mx

    from mlx_speech.whisper.checkpoints import load_whisper
    from mlx_speech.whisper.decoding import tokenizer_of
    from mlx_speech.whisper.model import Whisper
    from mlx_speech.whisper.train import export_whisper

    trained = load_whisper(find_listener(model))
    mx.random.seed(SEED)
    export_whisper(folder, Whisper(trained.config), tokenizer_of(trained))


def main() -> int:
    """Read the command line and print a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="as `mlx-speech transcribe -m` takes it")
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("--noise", type=float, default=10.0, help="dB [10]")
    parser.add_argument("--limit", type=int, help="recordings of each corpus [all]")
    parser.add_argument("--exact", action="store_true", help="OpenAI's algorithm")
    chosen = parser.parse_args()
    options = ["--exact"] if chosen.exact else []
    try:
        with tempfile.TemporaryDirectory() as temporary:
            untrained(chosen.model, Path(temporary) / "random")
            models = {chosen.model: chosen.model}
            models["random weights"] = str(Path(temporary) / "random")
            print("| model | corpus | words | noise | WER |\n|---|---|---|---|---|")
            for name, model in models.items():
                for corpus in chosen.corpora:
                    part = read_corpus(corpus)[: chosen.limit]
                    levels = (float("inf"), chosen.noise)
                    for noise in levels if model == chosen.model else levels[:1]:
                        errors = score(model, part, options, noise)
                        level = "none" if noise == float("inf") else f"{noise:g} dB"
                        print(
                            f"| {name} | {corpus.name} | {errors.words} | {level} | "
                            f"{100 * errors.rate:.1f} % |",
                            flush=True,
                        )
    except SpeechError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
