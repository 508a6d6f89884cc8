"""``mlx-speech fft eval``: how exact a transform is, how fast, and what it changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlx_speech.cli.fft_output import show_facts
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from mlx_speech.butterfly.transform import ButterflyTransform

EXAMPLE = (
    "Example: `mlx-speech fft eval w.safetensors --audio speech.flac --plot circle.png`"
)
# Up to this relative error, MLX's own transform can stand for it.
FUSES = 1e-6


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="What `fft train`, `quantize` or `distill` wrote.")
    ],
    frames: Annotated[int, typer.Option(min=1, help="Signals that are timed.")] = 1000,
    audio: Annotated[
        Path | None,
        typer.Option(help="A recording: how its log-mel changes, of every preset."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the twiddles on the unit circle.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How exact a transform is, and how fast beside MLX's own.

    Milliseconds of processor time, the best of five runs. Where MLX's own transform is
    as good, it is what should run: `fuse()` of the library puts it in place.
    """
    from mlx_speech.bench.butterfly_speed import transform_times
    from mlx_speech.butterfly import QuantizedButterflyFFT, load_transform

    transform = load_transform(source)
    error = transform.error()
    changes = {} if audio is None else _mel_changes(source, transform.n, audio)
    if plot is not None:
        _plot_twiddles(plot, source, transform)
    own, native = transform_times(transform, frames)
    show_facts(
        {
            "n": transform.n,
            "radices": list(transform.radices),
            "real": transform.real,
            "inverse": transform.inverse,
            "quantized": isinstance(transform, QuantizedButterflyFFT),
            "bytes": transform.stored_bytes,
            "error": error.relative,
            "largest_error": error.largest,
            "fuses": error.relative <= FUSES,
            **changes,
            "milliseconds": round(1e3 * own, 3),
            "mx_fft_milliseconds": round(1e3 * native, 3),
        },
        as_json,
    )


def _mel_changes(source: Path, n: int, audio: Path) -> dict[str, float]:
    """Mean change of log-mel by preset, each in its own units."""
    import mlx.core as mx

    from mlx_speech.audio import MEL_PRESETS, load
    from mlx_speech.butterfly.learned_mel import LearnedMel
    from mlx_speech.butterfly.student_storage import (
        is_student,
        load_rfft,
        load_student,
    )

    rfft = load_rfft(source, n)
    mels = {
        name: LearnedMel(rfft, spec)
        for name, spec in MEL_PRESETS.items()
        if spec.n_fft == n
    }
    if is_student(source):
        mels["its_own_bands"] = load_student(source).log_mel()
    if not mels:
        sizes = sorted({spec.n_fft for spec in MEL_PRESETS.values()})
        raise SpeechError(
            f"no mel preset has {n} points, so `{source}` changes none",
            f"those with presets have {', '.join(map(str, sizes))}",
        )
    changes = {}
    for name, mel in mels.items():
        samples, _ = load(audio, mel.spec.sample_rate)
        changes[f"log_mel_change_{name}"] = mel.change(mx.array(samples)).mean
    return changes


def _plot_twiddles(path: Path, source: Path, transform: ButterflyTransform) -> None:
    from mlx_speech.butterfly import ButterflyFFT
    from mlx_speech.butterfly.plots import save_twiddle_plot

    if not isinstance(transform, ButterflyFFT):
        raise SpeechError(
            f"`{source}` has no free twiddles to draw",
            "draw the transform that it was made of",
        )
    save_twiddle_plot(path, transform)
