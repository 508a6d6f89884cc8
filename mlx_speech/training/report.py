"""What a run writes for people and scripts: metrics.jsonl and the loss curves.

Each line of ``metrics.jsonl`` is one JSON object with ``kind`` ("step" or
"validation") and ``step``; every number in it was computed in that step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file


class MetricsLog:
    """Appends lines to ``path``.

    Lines are appended, not replaced as a whole, so a kill may cut the last one; the
    reader below skips it and a resumed run removes it.

    Args:
        path: the file.
        resume_step: keep the lines up to this step and drop the others (a resumed
            run computes them again); None for a new file.
    """

    def __init__(self, path: Path, resume_step: int | None) -> None:
        self.path = path
        kept = []
        if resume_step is not None and path.exists():
            kept = [line for line in read_metrics(path) if line["step"] <= resume_step]
        with replacing_file(path) as temporary:
            temporary.write_text("".join(map(_line, kept)), encoding="utf-8")

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line.

        Raises:
            SpeechError: the disk is full or the file cannot be written.
        """
        line = _line({"kind": kind, "step": step, **values})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise SpeechError(
                f"`{self.path}` cannot be written: {error.strerror}",
                "free some space or repair the folder, then resume",
            ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a ``metrics.jsonl``, in order.

    Raises:
        SpeechError: a line other than the last is not JSON.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise SpeechError(
                    f"line {number} of `{path}` is not JSON", "delete that line"
                ) from error
    return found


def plot_losses(metrics: Path, picture: Path) -> bool:
    """Draw every metric of ``metrics`` and the learning rates over the steps, a PNG.

    Returns:
        False when matplotlib is not installed; nothing is written then.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False

    lines = read_metrics(metrics)
    curves = _curves(lines)
    if not curves:
        return True
    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (title, series) in zip(axes, curves.items(), strict=False):
        for name, (steps, values) in series.items():
            marker = "o" if name == "validation" or len(steps) == 1 else ""
            axis.plot(
                steps, values, marker=marker, markersize=3, linewidth=1, label=name
            )
        if len(series) > 1:
            axis.legend(fontsize=7)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    with replacing_file(picture) as temporary:
        figure.savefig(temporary, dpi=100)
    return True


def _curves(
    lines: Iterable[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Title of a panel -> name of a line in it -> its steps and values."""
    curves: dict[str, dict[str, tuple[list[int], list[float]]]] = {}

    def add(title: str, name: str, step: int, value: float) -> None:
        steps, values = curves.setdefault(title, {}).setdefault(name, ([], []))
        steps.append(step)
        values.append(value)

    for line in lines:
        kind = line["kind"]
        for name, value in line["metrics"].items():
            title = name if kind == "step" else f"{name} (validation)"
            add(title, kind, line["step"], value)
        for name, value in line.get("learning_rates", {}).items():
            add("learning rate", name, line["step"], value)
    return curves


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values) + "\n"
