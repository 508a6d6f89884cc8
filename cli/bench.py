"""``mlx-speech bench NAME``: measurements of ``mlx_speech.bench``, printed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli import bench_front_end, bench_routing, bench_voxtral
from mlx_speech.cli.console import counting, print_note, print_rows
from mlx_speech.cli.options import VOICE
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.bench.whisper import WhisperTiming

EXAMPLES = """
Examples:

    mlx-speech bench conv

    mlx-speech bench train --shapes demo --json

    mlx-speech bench voice --voice runs/demo --data held-out/

    mlx-speech bench fft

    mlx-speech bench whisper --size base --tokens 100
"""

app = typer.Typer(no_args_is_help=True)
app.command("routing", epilog=bench_routing.EXAMPLE)(bench_routing.bench_routing)
app.command("front-end", epilog=bench_front_end.EXAMPLE)(
    bench_front_end.bench_front_end
)
app.command("voxtral", epilog=bench_voxtral.EXAMPLE)(bench_voxtral.bench_voxtral)


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


@app.command(
    "whisper",
    epilog="Example: `mlx-speech bench whisper --size base`. Minutes on a CPU, as long "
    "again for each peer.",
)
def bench_whisper(
    size: Annotated[
        str, typer.Option(help="tiny, base, small, medium, large-v3, turbo ...")
    ] = "tiny",
    minutes: Annotated[float, typer.Option(help="Minutes of sound.")] = 5.0,
    tokens: Annotated[int, typer.Option(help="Tokens that each window decodes.")] = 128,
    half: Annotated[bool, typer.Option("--half", help="Weights of float16.")] = False,
    repeats: Repeats = 3,
    stages: Annotated[
        bool, typer.Option(help="Measure stages too, not only whole recordings.")
    ] = True,
    peers: Annotated[
        bool,
        typer.Option(help="Transcribe by mlx-whisper and openai-whisper in turns too."),
    ] = True,
    python: Annotated[
        str,
        typer.Option(help="A Python that has the peers.", show_default="this one"),
    ] = sys.executable,
    as_json: AsJson = False,
) -> None:
    """How long Whisper takes, beside mlx-whisper and openai-whisper if installed.

    Random weights of a true size and a recording of noise: every window decodes
    equally many tokens, on all sides, or the measurement is refused.
    """
    from mlx_speech.bench.whisper import WhisperCase, measure
    from mlx_speech.bench.whisper_sides import PEERS, compare, peers_of

    case = WhisperCase(size, minutes, tokens, half)
    found = peers_of(python) if peers else []
    absent = [peer for peer in PEERS if peers and peer not in found]
    timing, sides = None, []
    if stages:
        with counting("measuring stages") as advance, TemporaryDirectory() as folder:
            timing = measure(case, Path(folder) / "model", repeats, advance)
    if peers:
        with counting("taking turns") as advance:
            sides = compare(case, found, repeats, python, advance)
    if as_json:
        result = {
            "case": asdict(case),
            "stages": None if timing is None else timing.to_dict(),
            "sides": [side.to_dict() for side in sides],
            "absent": absent,
        }
        print(json.dumps(result, indent=2))
        return
    if timing is not None:
        print_rows(["what", "measured"], _stage_rows(timing))
    if sides:
        print_rows(
            [
                "side",
                "seconds",
                "x real time",
                "exact/it",
                "batched/it",
                "tokens",
                "MB",
            ],
            [
                [
                    side.side,
                    f"{side.seconds:.2f}",
                    f"{side.x_real_time:.1f}",
                    f"{side.ratios['exact']:.2f}",
                    f"{side.ratios['batched']:.2f}",
                    f"{side.tokens}",
                    f"{side.peak_bytes / 1e6:.0f}",
                ]
                for side in sides
            ],
        )
        print_note(f"seconds are of the {sides[0].clock} clock, medians of {repeats}")
    if absent:
        print_note(f"not compared, since `{python}` lacks them: {', '.join(absent)}")


def _stage_rows(timing: WhisperTiming) -> list[list[str]]:
    exact, batched = timing.exact_s, timing.batched_s
    return [
        ["model", f"{timing.size}, {timing.parameters / 1e6:.1f} M parameters"],
        ["weights", timing.dtype],
        ["clock", timing.clock],
        ["load", f"{timing.load_s:.3f} s"],
        ["spectrogram of a window", f"{timing.mel_s:.3f} s"],
        ["encoder, a window", f"{timing.encoder_s:.3f} s"],
        ["decoder, one window", f"{timing.tokens_per_s:.1f} tokens/s"],
        ["decoder, many windows", f"{timing.batch_tokens_per_s:.1f} tokens/s"],
        ["recording", f"{timing.audio_s:g} s, {timing.tokens} tokens"],
        ["exact", f"{exact:.2f} s, {timing.audio_s / exact:.1f} x real time"],
        ["batched", f"{batched:.2f} s, {timing.audio_s / batched:.1f} x real time"],
        ["memory of MLX", f"{timing.peak_bytes / 1e6:.0f} MB at most"],
    ]
