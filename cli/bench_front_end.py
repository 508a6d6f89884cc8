"""``mlx-speech bench front-end``: word errors of Whisper behind a learned transform."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mlx_speech.cli.console import counting, print_rows
from mlx_speech.errors import SpeechError

EXAMPLE = (
    "Example: `mlx-speech bench front-end tests/data/spoken` in the checkout, whose "
    "sentences no training has seen."
)


def bench_front_end(
    data: Annotated[
        Path, typer.Argument(help="Folder of recordings with their texts.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A Whisper with 400-point frames.")
    ] = "bundled",
    fft: Annotated[
        Path | None, typer.Option(help="A transform for one row more.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Recordings [default: all].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How many words Whisper gets wrong behind a learned transform.

    Beside MLX's own FFT stand one that was learned from data, to rounding error, and a
    control that was not. Exit code 1 when the learned one changes the word error rate
    by more than 0.1 points, or the control by less than one.
    """
    from mlx_speech.audio import load
    from mlx_speech.bench.front_end import (
        SpokenText,
        front_end_rows,
        missed_limits,
    )
    from mlx_speech.butterfly.student_storage import load_rfft
    from mlx_speech.corpus import read_corpus
    from mlx_speech.models import LISTENING_RATE, find_listener, load_listener

    listener = load_listener(find_listener(model))
    spoken = [
        SpokenText(load(each.audio_path, LISTENING_RATE)[0], each.text)
        for each in read_corpus(data)[:limit]
    ]
    more = None if fft is None else (fft.name, load_rfft(fft, 400))
    rows = []
    with counting("listening") as advance:
        for row in front_end_rows(listener, spoken, more, advance):
            rows.append(row)
    if as_json:
        print(json.dumps([asdict(row) | {"wer": row.points} for row in rows], indent=2))
    else:
        print_rows(
            ["transform", "its error", "log-mel change", "words", "wrong", "WER %"],
            [
                [
                    row.what,
                    "" if row.transform_error is None else f"{row.transform_error:.2g}",
                    f"{row.mel_change:.2g}",
                    str(row.errors.words),
                    str(row.errors.errors),
                    f"{row.points:.2f}",
                ]
                for row in rows
            ],
        )
    missed = missed_limits(rows)
    if missed:
        raise SpeechError("; ".join(missed))
