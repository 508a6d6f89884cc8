"""Shorten the window of a trained recogniser, and write it in half precision.

    python weights/finish_recogniser.py runs/recogniser/model weights/recogniser 240

The last parts of the training heard windows of 4.8 s only. The table of positions is
computed, so that the positions beyond are left out without loss; so are the rows of the
times beyond, which were not trained for long.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.checkpoints import load_whisper
from mlx_speech.whisper.decoding import tokenizer_of
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.train import export_whisper


def shorten(whisper: Whisper, positions: int) -> tuple[Whisper, Tokenizer]:
    """The model with a window of so many positions, and its tokenizer.

    Raises:
        SpeechError: the window is not longer than that, or the vocabulary is OpenAI's.
    """
    tokenizer = tokenizer_of(whisper)
    if positions >= whisper.config.n_audio_ctx or whisper.config.has_openai_vocabulary:
        raise SpeechError(
            f"a window of {whisper.config.n_audio_ctx} positions and a vocabulary of "
            f"{whisper.config.n_vocab} tokens cannot be shortened to {positions}",
            "give a longer window, and a vocabulary of the model's own",
        )
    vocabulary = tokenizer.vocabulary
    special = replace(vocabulary.special, timestamps=positions + 1)
    vocabulary = replace(vocabulary, special=special)
    sizes = replace(whisper.config, n_audio_ctx=positions, n_vocab=vocabulary.size)
    short = Whisper(sizes)
    kept = {
        "encoder.embed_positions": positions,
        "decoder.embed_tokens.weight": vocabulary.size,
    }
    parameters = dict(tree_flatten(whisper.parameters()))
    short.load_weights(
        [(name, array[: kept.get(name)]) for name, array in parameters.items()]
    )
    return short, Tokenizer(vocabulary)


def main() -> int:
    """Read the command line, shorten and write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("target", type=Path, help="folder to write")
    parser.add_argument("positions", type=int, help="of the window, 20 ms each")
    chosen = parser.parse_args()
    try:
        short, tokenizer = shorten(load_whisper(chosen.model), chosen.positions)
        short.set_dtype(mx.float16)
        export_whisper(chosen.target, short, tokenizer)
    except SpeechError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
