"""``mlx-speech bench NAME``: measurements of ``mlx_speech.bench``, printed."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mlx_speech.cli.console import counting, print_note, print_rows
from mlx_speech.cli.options import VOICE
from mlx_speech.errors import SpeechError

EXAMPLES = """
Examples:

    mlx-speech bench conv

    mlx-speech bench train --shapes demo --json

    mlx-speech bench voice --voice runs/demo --data held-out/

    mlx-speech bench fft
"""

app = typer.Typer(no_args_is_help=True)


class Shapes(str, Enum):
    """Cases of ``mlx_speech.bench.train``."""

    demo = "demo"
    paper = "paper"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Repeats = Annotated[int, typer.Option(min=1, help="Runs of each measurement.")]


@app.command(
    "conv",
    epilog="Example: `mlx-speech bench conv --json`. About a minute on a CPU.",
)
def bench_conv(repeats: Repeats = 5, as_json: AsJson = False) -> None:
    """How much faster VITS's convolutions are than MLX's own operations.

    Milliseconds of processor time, the best of several runs, of the forward pass and
    of a training pass (forward and gradients).
    """
    from mlx_speech.bench.conv import VITS_CASES, as_table, measure

    timings = []
    with counting("measuring") as advance:
        for done, case in enumerate(VITS_CASES):
            timings += measure([case], repeats)
            advance(done + 1, len(VITS_CASES))
    if as_json:
        gains = [
            {"forward_gain": timing.forward_gain, "training_gain": timing.training_gain}
            for timing in timings
        ]
        rows = [asdict(row) | gain for row, gain in zip(timings, gains, strict=True)]
        print(json.dumps(rows, indent=2))
        return
    print(as_table(timings))


@app.command(
    "train",
    epilog="Example: `mlx-speech bench train --shapes paper --repeats 1`. On a CPU, "
    "`demo` takes seconds and `paper` minutes.",
)
def bench_train(
    shapes: Annotated[
        Shapes,
        typer.Option(help="demo: as `train-vits --demo`. paper: full size, batch 4."),
    ] = Shapes.demo,
    repeats: Repeats = 5,
    as_json: AsJson = False,
) -> None:
    """Seconds of a VITS training step and of its parts, on random data.

    Medians of several runs, after one that is not counted.
    """
    from mlx_speech.bench.train import CASES, measure

    with counting("measuring") as advance:
        timing = measure(CASES[shapes.value](), repeats, advance)
    if as_json:
        row = asdict(timing) | {"generator_s": timing.generator_s}
        print(json.dumps(row, indent=2))
        return
    counts = (timing.generator_parameters, timing.discriminator_parameters)
    print_rows(
        ["what", "measured"],
        [
            ["batch", f"{timing.batch} utterances of {timing.frames} frames"],
            ["generator", f"{counts[0] / 1e6:.2f} M parameters"],
            [
                "discriminators",
                f"{counts[1] / 1e6:.2f} M parameters" if counts[1] else "not trained",
            ],
            ["forward pass", f"{timing.forward_s:.3f} s"],
            ["discriminators' step", f"{timing.discriminator_s:.3f} s"],
            ["generator's step", f"{timing.generator_s:.3f} s, forward pass included"],
            ["whole step", f"{timing.step_s:.3f} s"],
        ],
    )


@app.command(
    "voice",
    epilog="Example: `mlx-speech bench voice --voice runs/demo --data held-out/`",
)
def bench_voice(
    voice: Annotated[Path, VOICE],
    data: Annotated[
        Path,
        typer.Option(
            help="Recordings with transcripts that the voice never saw, of one speaker."
        ),
    ],
    speaker: Annotated[
        str | None,
        typer.Option(
            help="One of the voice's speakers [default: first]; of the data, his or "
            "her recordings if there are any."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How near a voice comes to recordings that it never saw.

    Every sentence is spoken without noise and compared with its recording. The
    yardstick is the distance to other sentences of the recordings; the ceiling is the
    model's own resynthesis of the recording.
    """
    from mlx_speech.bench.voice import score_voice
    from mlx_speech.corpus import read_corpus
    from mlx_speech.models import load_voice

    utterances = read_corpus(data)
    speakers = sorted({each.speaker for each in utterances if each.speaker is not None})
    if speaker in speakers:
        utterances = [each for each in utterances if each.speaker == speaker]
    elif len(speakers) > 1:
        raise SpeechError(
            f"`{data}` holds {len(speakers)} speakers, and the score is of one",
            f"choose one with `--speaker`: {', '.join(speakers)}",
        )
    loaded = load_voice(voice, with_discriminators=False)
    with counting("scoring") as advance:
        score = score_voice(loaded, utterances, speaker, advance)
    result = score.to_dict()
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print_rows(
        ["against the recording", "MCD (dB)", "share of yardstick", "mel L1"],
        [
            [
                "spoken",
                f"{score.mcd:.2f}",
                f"{result['relative_mcd']:.2f}",
                f"{score.mel_l1:.3f}",
            ],
            [
                "resynthesised (ceiling)",
                f"{score.ceiling_mcd:.2f}",
                f"{result['relative_ceiling_mcd']:.2f}",
                f"{score.ceiling_mel_l1:.3f}",
            ],
            [
                "other sentences (yardstick)",
                f"{score.yardstick_mcd:.2f}",
                "1.00",
                f"{score.yardstick_mel_l1:.3f}",
            ],
        ],
    )
    print_note(
        f"{score.nearest} of {score.sentences} sentences are nearest to their own "
        "recording"
    )


@app.command(
    "fft",
    epilog="Example: `mlx-speech bench fft --full`. Half a minute on a CPU; `--full` "
    "takes some minutes.",
)
def bench_fft(
    full: Annotated[
        bool, typer.Option("--full", help="Joint training beyond 64 points too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """How exactly the learned FFT is found, quantised and computed.

    Every error stands between what it is without training and what it may be at most;
    seconds are processor time. Exit code 1 when a limit is missed.
    """
    from mlx_speech.bench.butterfly import figures, measure

    jobs = figures(full)
    found = []
    with counting("measuring") as advance:
        for done, figure in enumerate(measure(jobs)):
            found.append(figure)
            advance(done + 1, len(jobs))
    if as_json:
        rows = [asdict(each) | {"met": each.met} for each in found]
        print(json.dumps(rows, indent=2))
    else:
        print_rows(
            ["what", "case", "before", "error", "limit", "steps", "vectors", "CPU s"],
            [
                [
                    each.what,
                    each.case,
                    "" if each.untrained is None else f"{each.untrained:.2g}",
                    f"{each.error:.2g}",
                    "" if each.limit is None else f"{each.limit:.2g}",
                    str(each.steps or ""),
                    str(each.vectors or ""),
                    f"{each.seconds:.2f}" if each.seconds else "",
                ]
                for each in found
            ],
        )
    missed = [each for each in found if not each.met]
    if missed:
        raise SpeechError(
            f"{len(missed)} of {len(found)} figures are beyond their limit, first: "
            f"{missed[0].what}, {missed[0].case}"
        )
