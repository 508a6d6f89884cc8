"""``mlx-speech bench routing``: the table of ternary routing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlx_speech.cli.console import counting
from mlx_speech.cli.fft_output import (
    held_out_sounds,
    print_routing,
    recordings,
    routing_facts,
)
from mlx_speech.errors import SpeechError

EXAMPLE = (
    "Example: `mlx-speech bench routing --eval-audio tests/data/kennedy.flac` in the "
    "checkout. Two minutes of processor time."
)


def bench_routing(
    eval_audio: Annotated[
        Path, typer.Option(help="A recording to evaluate on; not of the training.")
    ],
    train_audio: Annotated[
        Path | None,
        typer.Option(help="Folder of recordings [default: the demo corpus]."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of every fit.")] = 600,
    plot: Annotated[
        Path | None, typer.Option(help="Draw error against operations.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What an FFT pruned by ternary gates loses, beside what needs no pruning.

    128 points, 40 mel bands. Exit code 1 unless, at every share, the learned student
    beats greedy pruning without learning, and that beats random pruning.
    """
    from mlx_speech.bench.butterfly_routing import routing_case, unordered_shares
    from mlx_speech.butterfly.distill import DistillSettings
    from mlx_speech.butterfly.student import routing_spec

    rate = routing_spec().sample_rate
    case = routing_case(
        recordings(train_audio, rate),
        held_out_sounds(eval_audio, rate),
        DistillSettings(steps=steps, gate_steps=max(steps // 2, 1)),
    )
    rows = []
    with counting("measuring") as advance:
        for row in case.rows:
            rows.append(row)
            advance(len(rows), case.count)
    if plot is not None:
        from mlx_speech.butterfly.plots import save_routing_plot

        save_routing_plot(plot, rows)
    if as_json:
        print(json.dumps(routing_facts(rows), indent=2))
    else:
        print_routing(rows)
    unordered = unordered_shares(rows)
    if unordered:
        raise SpeechError(
            "learning did not pay, or greedy pruning did not, at the shares "
            + ", ".join(f"{share:.2f}" for share in unordered)
        )
