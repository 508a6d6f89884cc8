"""``mlx-speech fft distill``: a pruned transform that learns, and its report."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.console import Bar, print_note
from mlx_speech.cli.fft_output import (
    held_out_sounds,
    print_routing,
    recordings,
    routing_facts,
)
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.butterfly.losses import LossWeights

EXAMPLE = (
    "Example: `mlx-speech fft distill --eval-audio speech.flac --compute-fraction 0.9 "
    "--out student.safetensors`. About ten seconds on a CPU."
)


class Mode(str, Enum):
    """What a gate that is off does."""

    drop = "drop"
    skip = "skip"


class Prune(str, Enum):
    """How gates are chosen."""

    saliency = "saliency"
    logit = "logit"
    subtree = "subtree"
    random = "random"


class Gate(str, Enum):
    """How logits become gates while they are trained."""

    soft = "soft"
    straight_through = "straight-through"
    gumbel = "gumbel"


class Layout(str, Enum):
    """Which transforms are pruned."""

    single = "single"
    dual = "dual"
    full = "full"


class CorrectorKind(str, Enum):
    """What repairs the spectrum."""

    none = "none"
    gain = "gain"
    affine = "affine"
    band_narrow = "band-narrow"
    band_wide = "band-wide"
    dense = "dense"


def distill(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="File to write (.safetensors).")
    ],
    eval_audio: Annotated[
        Path,
        typer.Option(help="A recording to evaluate on; it must not be trained on."),
    ],
    train_audio: Annotated[
        Path | None,
        typer.Option(help="Folder of recordings [default: the demo corpus]."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Layout, corrector and share at once: fusion-only, "
            "single-sparse-{gain,affine,band,dense} or dual-path-mel-sparse."
        ),
    ] = "",
    compute_fraction: Annotated[
        float | None,
        typer.Option(
            "--compute-fraction",
            "--target-compute",
            help="Share of the complex FFT's butterflies to keep [default: 0.96].",
        ),
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(help="A gate that is off: drop gives (a, a), skip gives (a, b)."),
    ] = Mode.drop,
    prune: Annotated[
        Prune, typer.Option(help="How gates are chosen; logit learns them.")
    ] = Prune.saliency,
    layout: Annotated[
        Layout | None,
        typer.Option(
            help="dual: an unpruned transform for the spectrum; full: no pruning "
            "[default: single]."
        ),
    ] = None,
    corrector: Annotated[
        CorrectorKind | None,
        typer.Option(help="What repairs the spectrum [default: gain]."),
    ] = None,
    n_fft: Annotated[int, typer.Option(help="Points, a power of two.")] = 128,
    n_mels: Annotated[int, typer.Option(min=1, help="Bands.")] = 40,
    sample_rate: Annotated[int, typer.Option(min=1, help="Hertz.")] = 16000,
    gate: Annotated[
        Gate, typer.Option(help="Of `--prune logit`: the relaxation.")
    ] = Gate.gumbel,
    temperature: Annotated[
        str, typer.Option(help="Of the relaxation: at its first and last step.")
    ] = "1:0.3",
    noise: Annotated[float, typer.Option(help="Scale of the Gumbel noise.")] = 0.3,
    losses: Annotated[
        str, typer.Option(help="Weights of the terms.")
    ] = "mel=2,spectrum=0.3,welch=0.1",
    steps: Annotated[int, typer.Option(min=0, help="Of the fit.")] = 600,
    gate_steps: Annotated[
        int, typer.Option(min=0, help="Of the gates, for `--prune logit`.")
    ] = 300,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--lr", help="Adam's.")
    ] = 0.01,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Segments of 16 frames a step.")
    ] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of batches and noise.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Write the report as JSON too.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw error against operations (.png, .svg, .pdf)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prune an FFT by ternary gates and learn what is left, for mel bands.

    The report sets the student beside the exact real FFT, the output-pruned one, every
    second bin, the untrained network and the provable bound, on the recording given and
    on white noise, neither of them trained on.
    """
    from mlx_speech.butterfly.distill import DistillSettings, cut_segments
    from mlx_speech.butterfly.distill import distill as train
    from mlx_speech.butterfly.routing_report import (
        baseline_jobs,
        check_held_out,
        pruned_row,
        student_row,
    )
    from mlx_speech.butterfly.student import RoutedMel, preset_named, routing_spec
    from mlx_speech.butterfly.student_storage import save_student

    chosen = preset_named(preset or "single-sparse-gain")
    layout_name = chosen.layout if layout is None else layout.value
    if compute_fraction is None:
        unpruned = layout_name == "full"
        compute_fraction = 1.0 if unpruned else chosen.compute_fraction
    first, last = _temperatures(temperature)
    settings = DistillSettings(
        compute_fraction=compute_fraction,
        method=prune.value,
        steps=steps,
        gate_steps=gate_steps,
        gate=gate.value,
        reverse=chosen.reverse,
        temperature=(first, last),
        noise=noise,
        learning_rate=learning_rate,
        batch_size=batch_size,
        losses=_losses(losses),
        seed=seed,
    )
    spec = routing_spec(n_fft, n_mels, sample_rate)
    student = RoutedMel(
        spec,
        mode.value,
        layout_name,
        chosen.corrector if corrector is None else corrector.value,
    )
    training = recordings(train_audio, sample_rate)
    held_out = held_out_sounds(eval_audio, sample_rate)
    check_held_out(training, held_out)
    data = cut_segments(training, spec)
    with Bar("distilling") as bar:

        def observe(what: str, step: int, total: int, value: float) -> None:
            bar.update(step, total, f"{what} {value:.3f}")

        result = train(student, data, settings, observe)
        rows = [job() for job in baseline_jobs(spec, data, settings, held_out)]
    rows.append(pruned_row("these gates, untrained", student, held_out))
    rows.append(student_row("student", student, held_out))
    notes = {"method": prune.value, "seed": str(seed), "steps": str(steps)}
    save_student(out, student, notes)
    facts = routing_facts(rows) | {
        "losses": result.losses,
        "cpu_seconds": round(result.seconds, 2),
        "file": str(out),
    }
    if report is not None:
        from mlx_speech.files import replacing_file

        with replacing_file(report) as temporary:
            temporary.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    if plot is not None:
        from mlx_speech.butterfly.plots import save_routing_plot

        save_routing_plot(plot, rows)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print_routing(rows)
    print_note(f"wrote {out} after {result.seconds:.0f} s of processor time")


def _temperatures(text: str) -> tuple[float, float]:
    first, colon, last = text.partition(":")
    try:
        return float(first), float(last if colon else first)
    except ValueError as error:
        raise SpeechError(
            f"`{text}` is no pair of temperatures", "write them as 1:0.3"
        ) from error


def _losses(text: str) -> LossWeights:
    from mlx_speech.butterfly.losses import LossWeights

    weights = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError as error:
            raise SpeechError(
                f"`{part}` is no weight of a loss", "write mel=2,spectrum=0.3,welch=0.1"
            ) from error
    unknown = sorted(set(weights) - {"mel", "spectrum", "welch"})
    if unknown:
        raise SpeechError(
            f"unknown losses: {', '.join(unknown)}", "known: mel, spectrum, welch"
        )
    terms = {"mel": 0.0, "spectrum": 0.0, "welch": 0.0}
    return LossWeights(**(terms | weights))
