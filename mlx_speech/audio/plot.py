"""Pictures of spectrograms, one panel below another (the `plot` extra)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from mlx_speech.audio.mel import MelSpec, mel_filterbank
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKED_HERTZ = (250, 500, 1000, 2000, 4000, 8000, 16000)
_PANEL_INCHES = (9.0, 2.2)


def save_spectrograms(
    path: str | Path,
    log_mels: Mapping[str, np.ndarray | mx.array],
    spec: MelSpec,
) -> None:
    """Draw log-mels below each other, on one colour scale and one time axis.

    Args:
        path: picture to write; the suffix (.png, .svg, .pdf) chooses the format.
        log_mels: title -> [frames, n_mels].
        spec: what they were made with; gives the axes their units.

    Raises:
        SpeechError: matplotlib is not installed, there is nothing to draw, a shape
            does not fit, or the file cannot be written.
    """
    panels = {title: _panel(title, values, spec) for title, values in log_mels.items()}
    if not panels:
        raise SpeechError(f"there is no spectrogram to draw into `{path}`")
    lowest = min(float(panel.min()) for panel in panels.values())
    highest = max(float(panel.max()) for panel in panels.values())
    hop_seconds = spec.hop_length / spec.sample_rate
    bands, labels = _frequency_marks(spec)

    width, height = _PANEL_INCHES
    figure = blank_figure(width, height * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(
            panel.T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(0.0, len(panel) * hop_seconds, -0.5, spec.n_mels - 0.5),
            vmin=lowest,
            vmax=max(highest, lowest + 1e-6),
            cmap="magma",
        )
        axis.set_title(title, fontsize=10)
        axis.set_yticks(bands, labels)
        axis.set_ylabel("Hz")
    axes[-1].set_xlim(0.0, max(map(len, panels.values())) * hop_seconds)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=list(axes), label=f"log mel ({spec.log})", pad=0.01)
    save_figure(path, figure)


def blank_figure(width: float, height: float) -> Figure:
    """A figure of matplotlib, sized in inches, that no display is needed for.

    Raises:
        SpeechError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SpeechError(
            "drawing pictures needs matplotlib", "pip install '.[plot]' in the checkout"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    # Without pyplot there is no global state and no display is looked for.
    FigureCanvasAgg(figure)
    return figure


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure whole or not at all.

    Raises:
        SpeechError: a suffix other than .png, .svg and .pdf; the file cannot be
            written.
    """
    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in ("png", "svg", "pdf"):
        raise SpeechError(
            f"`{path}` ends in no picture format", "choose .png, .svg or .pdf"
        )
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix, dpi=110)
    with replacing_file(path) as temporary:
        temporary.write_bytes(picture.getvalue())


def _panel(title: str, values: np.ndarray | mx.array, spec: MelSpec) -> np.ndarray:
    panel = np.asarray(values, dtype=np.float32)
    if panel.ndim != 2 or panel.shape[1] != spec.n_mels or not len(panel):
        raise SpeechError(
            f"the spectrogram `{title}` has the shape {panel.shape}, not "
            f"[frames, {spec.n_mels}]"
        )
    return panel


def _frequency_marks(spec: MelSpec) -> tuple[list[int], list[str]]:
    peaks = np.asarray(mel_filterbank(spec)).argmax(axis=0)
    centres = peaks * spec.sample_rate / spec.n_fft
    shown = [hertz for hertz in _MARKED_HERTZ if spec.fmin < hertz <= spec.top]
    bands = [int(np.abs(centres - hertz).argmin()) for hertz in shown]
    return bands, [str(hertz) for hertz in shown]
