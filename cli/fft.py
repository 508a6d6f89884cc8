"""``mlx-speech fft ...``: find, distil, quantise, judge and export a transform."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli import fft_distill, fft_eval
from mlx_speech.cli.console import Bar, print_note
from mlx_speech.cli.fft_output import show_facts
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.butterfly import ButterflyFFT
    from mlx_speech.butterfly.teacher import FitResult

EXAMPLES = """
Examples:

    mlx-speech fft train --n-fft 1024 --out learned.safetensors

    mlx-speech fft quantize learned.safetensors --bits 10 --out small.safetensors

    mlx-speech fft eval small.safetensors
"""
# Above this, a fit has not found the transform that it was shown.
FOUND = 1e-6

app = typer.Typer(no_args_is_help=True)
app.command("distill", epilog=fft_distill.EXAMPLE)(fft_distill.distill)
app.command("eval", epilog=fft_eval.EXAMPLE)(fft_eval.evaluate)


class Init(str, Enum):
    """Where a fit starts."""

    haar = "haar"
    dft = "dft"


class Method(str, Enum):
    """How a transform is found."""

    adam = "adam"
    layerwise = "layerwise"
    hierarchical = "hierarchical"


class Parameterization(str, Enum):
    """What is trained of a stage."""

    full = "full"
    unitary = "unitary"
    phase = "phase"


class Scheme(str, Enum):
    """How a complex weight becomes an integer."""

    phase = "phase"
    rect = "rect"
    polar = "polar"


class Target(str, Enum):
    """What is quantised."""

    twiddles = "twiddles"
    blocks = "blocks"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Source = Annotated[
    Path, typer.Argument(help="A transform that `fft train` has written.")
]
Out = Annotated[Path, typer.Option("-o", "--out", help="File to write (.safetensors).")]


@app.command(
    "train",
    epilog="Example: `mlx-speech fft train --n-fft 400 --method layerwise --out "
    "w.safetensors`. Joint Adam takes seconds up to 400 points and about half a minute "
    "at 2048; the other methods take less than five seconds.",
)
def train(
    n_fft: Annotated[
        int, typer.Option("--n-fft", help="Points; no prime factors but 2, 3 and 5.")
    ],
    out: Out,
    method: Annotated[
        Method,
        typer.Option(
            help="adam: all stages jointly. layerwise: stage by stage, from probes. "
            "hierarchical: rank-1 splits of the matrix."
        ),
    ] = Method.adam,
    init: Annotated[
        Init, typer.Option(help="haar: random unitary blocks. dft: exact twiddles.")
    ] = Init.haar,
    seed: Annotated[int, typer.Option(min=0, help="Of blocks and questions.")] = 0,
    radices: Annotated[
        str,
        typer.Option(
            help="Factors of the points, first stage first, as 4,4,5,5.", metavar="R,R"
        ),
    ] = "",
    parameterization: Annotated[
        Parameterization,
        typer.Option(
            help="full: whole blocks. unitary: their angles. phase: twiddles, tie them."
        ),
    ] = Parameterization.full,
    tied: Annotated[
        bool, typer.Option("--tied/--untied", help="One set of blocks per stage.")
    ] = False,
    real: Annotated[
        bool, typer.Option("--real", help="A real signal, as rfft (adam only).")
    ] = False,
    inverse: Annotated[
        bool, typer.Option("--inverse", help="From spectrum to signal.")
    ] = False,
    noise: Annotated[
        float, typer.Option(min=0, help="Noise on the teacher's answers, of their RMS.")
    ] = 0.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Adam's steps [default: by size].")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", "--lr", help="Adam's [default: 0.03 full, 0.1 else]."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Adam's questions per step.")
    ] = 32,
    plot: Annotated[
        Path | None, typer.Option(help="Draw error against steps (.png, .svg, .pdf).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the Fourier transform from questions and answers alone.

    The teacher is a black box that answers random vectors with their spectra. The error
    is that of the whole matrix against numpy in double precision; beside it stands the
    error before training.
    """
    from mlx_speech.butterfly import ButterflyFFT, save_transform
    from mlx_speech.butterfly.transform import count_parameters

    transform = ButterflyFFT(
        n_fft,
        _radices(radices),
        parameterization=parameterization.value,
        tied=tied,
        init=init.value,
        seed=seed,
        real=real,
        inverse=inverse,
    )
    if plot is not None and method is Method.hierarchical:
        raise SpeechError(
            "`hierarchical` takes no steps, so there is no curve to draw",
            "leave out `--plot`, or train by `adam`",
        )
    untrained = transform.error().relative
    result = _fit(transform, method, noise, seed, steps, learning_rate, batch_size)
    error = transform.error()
    save_transform(out, transform, {"method": method.value, "seed": str(seed)})
    if plot is not None:
        from mlx_speech.butterfly.plots import save_training_plot

        curve = [(0, untrained), *result.losses]
        save_training_plot(plot, {f"{n_fft} points, seed {seed}": curve})
    show_facts(
        {
            "method": method.value,
            "n": n_fft,
            "radices": list(transform.radices),
            "parameters": count_parameters(transform),
            "steps": result.steps,
            "vectors": result.vectors,
            "cpu_seconds": round(result.seconds, 2),
            "untrained_error": untrained,
            "error": error.relative,
            "largest_error": error.largest,
            "file": str(out),
        },
        as_json,
    )
    if error.relative > FOUND and not noise:
        print_note(
            f"the transform was not found: its error is {error.relative:.2g}; "
            "train longer, or untied with `full`"
        )


@app.command(
    "quantize",
    epilog="Example: `mlx-speech fft quantize w.safetensors --bits 8 --out "
    "q.safetensors`",
)
def quantize(
    source: Source,
    out: Out,
    scheme: Annotated[
        Scheme,
        typer.Option(
            help="phase: all bits are phase. rect: real and imaginary part. polar: "
            "modulus and phase."
        ),
    ] = Scheme.phase,
    bits: Annotated[int, typer.Option(help="Of a weight, in all: 2 to 16.")] = 8,
    target: Annotated[
        Target,
        typer.Option(
            help="twiddles: of a transform like the DFT. blocks: every number of any."
        ),
    ] = Target.twiddles,
    phase_bits: Annotated[
        int | None, typer.Option(help="Of `polar`: bits of the phase [default: best].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store the weights of a transform in few bits.

    Eight bits of phase are exact for powers of two up to 512, ten for 2048.
    """
    from mlx_speech.butterfly import ButterflyFFT, load_transform, save_transform
    from mlx_speech.butterfly import quantize as quantized_copy

    transform = load_transform(source)
    if not isinstance(transform, ButterflyFFT):
        raise SpeechError(
            f"`{source}` is quantised already", "give the transform that it was made of"
        )
    small = quantized_copy(transform, scheme.value, bits, target.value, phase_bits)
    save_transform(out, small, {"source": source.name})
    show_facts(
        {
            "scheme": scheme.value,
            "bits": bits,
            "bytes_before": transform.stored_bytes,
            "bytes": small.stored_bytes,
            "error_before": transform.error().relative,
            "error": small.error().relative,
            "largest_error": small.error().largest,
            "file": str(out),
        },
        as_json,
    )


@app.command(
    "export",
    epilog="Example: `mlx-speech fft export w.safetensors --out w.npz`",
)
def export(
    source: Source,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help=".npz: stages and permutation. .npy: the whole matrix."
        ),
    ],
) -> None:
    """Write a transform as NumPy arrays, for other programs.

    In an .npz, `stage_0`, `stage_1`, ... are complex64 [blocks, m, r, r], innermost
    first; `permutation` is the order in which stage 0 reads; `scale` multiplies the
    result; `untangle` [2, bins] is there for real signals.
    """
    from mlx_speech.butterfly import load_transform
    from mlx_speech.butterfly.export import export_transform

    export_transform(out, load_transform(source))
    print_note(f"wrote {out}")


def _radices(text: str) -> list[int] | None:
    if not text:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise SpeechError(
            f"`{text}` is no list of radices", "write them as 4,4,5,5"
        ) from error


def _fit(
    transform: ButterflyFFT,
    method: Method,
    noise: float,
    seed: int,
    steps: int | None,
    learning_rate: float | None,
    batch_size: int,
) -> FitResult:
    from mlx_speech.butterfly.fit_adam import AdamSettings, fit_adam
    from mlx_speech.butterfly.fit_hierarchical import fit_hierarchical
    from mlx_speech.butterfly.fit_layerwise import fit_layerwise
    from mlx_speech.butterfly.teacher import dft_teacher, noisy

    teacher = dft_teacher(transform)
    if noise:
        teacher = noisy(teacher, noise, seed + 2000)
    with Bar("fitting") as bar:

        def observe(done: int, total: int, error: float) -> None:
            bar.update(done, total, f"error {error:.1e}")

        if method is Method.adam:
            settings = AdamSettings(
                steps=steps,
                learning_rate=learning_rate,
                batch_size=batch_size,
                seed=seed + 1000,
            )
            return fit_adam(transform, teacher, settings, observe)
        if steps or learning_rate:
            raise SpeechError(
                f"`--steps` and `--learning-rate` mean nothing to `{method.value}`",
                "leave them out, or train by `adam`",
            )
        if method is Method.layerwise:
            return fit_layerwise(transform, teacher, seed=seed, observe=observe)
        return fit_hierarchical(transform, teacher, seed=seed)
