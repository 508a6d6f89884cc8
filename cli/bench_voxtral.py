"""``mlx-speech bench voxtral``: what Voxtral costs, from a few of its layers."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer

from mlx_speech.cli.console import counting, print_note, print_rows

EXAMPLE = (
    "Example: `mlx-speech bench voxtral --size mini --bits 4`. Some minutes on a CPU, "
    "and 3 GB of memory."
)


class Size(str, Enum):
    """Published models."""

    mini = "mini"
    small = "small"
    realtime = "realtime"


def bench_voxtral(
    size: Annotated[Size, typer.Option(help="Of the published models.")] = Size.mini,
    bits: Annotated[
        int, typer.Option(help="Of the decoder's weights: 4, 8 or 16.")
    ] = 4,
    layers: Annotated[
        tuple[int, int], typer.Option(help="Depths of the two measured models.")
    ] = (1, 2),
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each measurement.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What Voxtral costs: true shapes, random weights, extrapolated from two depths.

    Models of a few layers are measured; a whole model's figures are computed from them
    and called extrapolated.
    """
    from mlx_speech.bench.voxtral import VoxtralCase, measure

    case = VoxtralCase(size.value, bits, layers)
    with counting("measuring") as advance:
        timing = measure(case, repeats, advance)
    if as_json:
        print(json.dumps(timing.to_dict(), indent=2))
        return
    shallow, deep = timing.depths
    rows = [
        [
            stage.name,
            f"{1000 * stage.shallow_s:.1f}",
            f"{1000 * stage.deep_s:.1f}",
            f"{1000 * stage.whole_s:.1f}",
            str(stage.layers),
        ]
        for stage in timing.stages
    ]
    print_rows(
        [
            f"ms of {timing.clock} time",
            f"{shallow} layers",
            f"{deep} layers",
            "whole model, extrapolated",
            "its layers",
        ],
        rows,
    )
    parts = ", ".join(
        f"{count} x {stage.name}"
        for stage, count in zip(timing.stages, timing.counts, strict=True)
    )
    result = timing.to_dict()
    print_note(
        f"extrapolated for {timing.audio_s:g} s of speech ({parts}): "
        f"{timing.whole_s:.2f} s, {result['extrapolated_x_real_time']:.2f}x real time"
    )
