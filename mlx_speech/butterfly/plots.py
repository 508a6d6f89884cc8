"""Pictures of learned transforms (the `plot` extra)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlx_speech.audio.plot import blank_figure, save_figure
from mlx_speech.butterfly.routing_report import NOISE, SPEECH, RoutingRow
from mlx_speech.butterfly.transform import ButterflyFFT
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What float32 rounds away in a transform of this kind.
ROUNDING = 2e-7
# Errors below are drawn here: a logarithm has no zero.
LEAST_DB = 0.01
COLUMNS = 4


def save_training_plot(
    path: str | Path, curves: Mapping[str, Sequence[tuple[int, float]]]
) -> None:
    """Draw relative error against steps.

    Args:
        path: picture to write (.png, .svg, .pdf).
        curves: title -> (step, error).

    Raises:
        SpeechError: matplotlib is not installed, nothing to draw, or the file cannot
            be written.
    """
    drawn = {title: curve for title, curve in curves.items() if curve}
    if not drawn:
        raise SpeechError(
            "there are no steps to draw: this fit has none", "draw a fit by `adam`"
        )
    figure = blank_figure(6.4, 3.6)
    axis = figure.subplots()
    for title, curve in drawn.items():
        steps, errors = zip(*curve, strict=True)
        axis.semilogy(steps, errors, marker=".", label=title)
    axis.axhline(ROUNDING, color="grey", linestyle=":", label="rounding of float32")
    _plain_numbers(axis)
    axis.set_xlabel("steps")
    axis.set_ylabel("relative error on the step's vectors")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save_figure(path, figure)


def save_routing_plot(path: str | Path, rows: Sequence[RoutingRow]) -> None:
    """Draw log-mel error against a frame's operations, speech beside white noise.

    Args:
        path: picture to write.
        rows: of the report, baselines among them.

    Raises:
        SpeechError: as of `save_training_plot`.
    """
    if not rows:
        raise SpeechError("there is no report to draw")
    figure = blank_figure(10.0, 4.6)
    axes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(row.what for row in rows))
    for axis, sound in zip(axes, (SPEECH, NOISE), strict=True):
        for index, name in enumerate(names):
            group = [row for row in rows if row.what == name]
            errors = [max(row.errors[sound].mel_db, LEAST_DB) for row in group]
            axis.semilogy(
                [row.cost.total for row in group],
                errors,
                marker="*" if group[0].baseline else "o",
                markersize=13 if group[0].baseline else 5,
                linestyle="none" if group[0].baseline else "-",
                color=f"C{index % 10}",
                markeredgecolor="black" if index > 9 else None,
                label=name,
            )
        axis.set_title(f"{sound}, held out", fontsize=10)
        axis.set_xlabel("real operations of a frame")
        axis.set_xlim(left=0)
        _plain_numbers(axis)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"log-mel error, dB; none is drawn at {LEAST_DB}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    save_figure(path, figure)


def _plain_numbers(axis: Axes) -> None:
    """Write 0.01, not a power of ten, for which matplotlib looks for many fonts."""
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")


def save_twiddle_plot(path: str | Path, transform: ButterflyFFT) -> None:
    """Draw the twiddles of every stage on the unit circle, roots of unity as rings.

    Args:
        path: picture to write.
        transform: ``full`` or ``phase``, close to the Fourier transform.

    Raises:
        SpeechError: as of `save_training_plot`; the transform has no twiddles.
    """
    stages = transform.angles()
    rows = -(-len(stages) // COLUMNS)
    columns = min(COLUMNS, len(stages))
    figure = blank_figure(2.3 * columns, 2.5 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    period = 1
    for place, (axis, angles) in enumerate(zip(axes, stages, strict=False)):
        period *= transform.radices[place]
        roots = 2 * np.pi * np.arange(period) / period
        axis.plot(np.cos(roots), np.sin(roots), "o", mfc="none", mec="silver", ms=7)
        flat = angles.reshape(-1)
        axis.plot(np.cos(flat), np.sin(flat), ".", color="C0", ms=4)
        axis.set_title(f"stage {place + 1}: {flat.size} twiddles", fontsize=9)
        axis.set_aspect("equal")
        axis.set_xlim(-1.2, 1.2)
        axis.set_ylim(-1.2, 1.2)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[len(stages) :]:
        axis.remove()
    save_figure(path, figure)
