"""``mlx-speech ask``: a question about recordings, answered by Voxtral."""

from __future__ import annotations

import json
import os.path
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.console import print_data, print_note, print_piece
from mlx_speech.cli.outcome import broken_off
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlx_speech.voxtral.transcribe import Answer

EXAMPLES = """
Examples:

    mlx-speech ask meeting.m4a "What was decided?"

    mlx-speech ask before.wav after.wav "Which one is clearer, and why?" --json

The answer comes on standard output while it is made. Exit code: 0 answered, 1 not
possible, 2 wrong usage, 130 stopped by Ctrl-C.
"""


def ask(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO... QUESTION",
            help="Recordings, `-` for standard input, and last the question.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="MLX_SPEECH_ASK_MODEL",
            help="voxtral-mini, voxtral-small, a Hugging Face repository, or a folder.",
        ),
    ] = "voxtral-mini",
    model_dir: Annotated[
        Path | None,
        typer.Option(help="Cache of downloaded models [default: Hugging Face's]."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never use the network.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 takes the likeliest words.")
    ] = 0.2,
    top_p: Annotated[
        float,
        typer.Option(
            help="Draw from the likeliest words that have this probability together."
        ),
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer [default: by the recordings' length]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No talk.")] = False,
) -> None:
    """Answer a question about one or several recordings."""
    sources, question = _split(words)
    from mlx_speech.audio.io import load, source_name
    from mlx_speech.cli.listeners import open_listener
    from mlx_speech.cli.listening_flags import ModelFlags
    from mlx_speech.models import LISTENING_RATE
    from mlx_speech.voxtral.generate import Sampling
    from mlx_speech.voxtral.model import Voxtral
    from mlx_speech.voxtral.prompt import Turn
    from mlx_speech.voxtral.transcribe import CHAT_SAMPLING
    from mlx_speech.voxtral.transcribe import ask as answer_to

    chosen: Sampling = replace(
        CHAT_SAMPLING, temperature=temperature, top_p=top_p, seed=seed
    )
    clips = [
        load(source, LISTENING_RATE, _warner(source_name(source)))[0]
        for source in sources
    ]
    flags = ModelFlags(model=model, model_dir=model_dir, offline=offline)
    loaded = open_listener(flags, quiet)
    if not isinstance(loaded, Voxtral):
        raise SpeechError(
            f"`{model}` writes down what is said, and answers no questions",
            "use voxtral-mini or voxtral-small",
        )
    answer = answer_to(
        loaded,
        [Turn("user", [*clips, question])],
        sampling=chosen,
        max_tokens=max_tokens,
        on_text=None if as_json else print_piece,
    )
    _finish(answer, sources, question, as_json, quiet)


def _warner(title: str) -> Callable[[float], None]:
    return lambda missing: print_note(f"note: {broken_off(title, missing)}")


def _finish(
    answer: Answer, sources: list[str], question: str, as_json: bool, quiet: bool
) -> None:
    if as_json:
        content = {
            "files": sources,
            "question": question,
            "answer": answer.text,
            "tokens": len(answer.tokens),
            "truncated": answer.truncated,
        }
        print_data(json.dumps(content))
    else:
        print_data("")
    if answer.truncated and not quiet:
        print_note(
            f"note: the answer was cut after {len(answer.tokens)} tokens; --max-tokens "
            "allows more"
        )


def _split(words: list[str]) -> tuple[list[str], str]:
    """Recordings and question.

    Raises:
        SpeechError: one of both is missing.
    """
    *sources, question = words
    looks_like_a_file = question == "-" or os.path.isfile(question)
    if not sources or looks_like_a_file:
        raise SpeechError(
            f"`{question}` is a recording, and the question is missing"
            if looks_like_a_file
            else "the question is there, but no recording",
            'give recordings first and the question last: ask talk.wav "What is it?"',
        )
    if sources.count("-") > 1:
        raise SpeechError("standard input can be only one of the recordings")
    return sources, question
