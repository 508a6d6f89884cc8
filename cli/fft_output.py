"""What ``mlx-speech fft`` and ``bench routing`` print, and the sounds they read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_speech.cli.console import print_rows
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    import numpy as np

    from mlx_speech.butterfly.routing_report import RoutingRow

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff")
NOISE_SECONDS = 10
LEGEND = (
    "share: of the complex FFT's butterflies. ops: real operations of a frame:",
    "window, transform, corrector, power and bands. dB: mean absolute error of the",
    "log-mel (1 % exceed), on sounds that no training saw. spec.: relative error of",
    "the bins that are computed. bound: of the spectrum of white noise, for any",
    "routing of that share.",
)


def show_facts(facts: dict[str, Any], as_json: bool) -> None:
    """One fact a line, or JSON."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print_rows(
        ["what", "value"],
        [[name.replace("_", " "), _text(value)] for name, value in facts.items()],
    )


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def recordings(folder: Path | None, sample_rate: int) -> list[np.ndarray]:
    """All recordings of a folder, at this rate; None: the bundled demo corpus.

    Raises:
        SpeechError: no such folder, or none in it; a file that cannot be read.
    """
    from mlx_speech.audio import load

    if folder is None:
        folder = Path(str(files("mlx_speech.weights"))) / "demo_corpus"
    if not folder.is_dir():
        raise SpeechError(
            f"`{folder}` is no folder of recordings",
            "give a folder, or leave the option out for the demo corpus",
        )
    paths = sorted(each for each in folder.rglob("*") if each.suffix in SUFFIXES)
    if not paths:
        raise SpeechError(
            f"`{folder}` holds no recordings", f"one of: {', '.join(SUFFIXES)}"
        )
    return [load(path, sample_rate)[0] for path in paths]


def held_out_sounds(speech: Path, sample_rate: int) -> dict[str, np.ndarray]:
    """The recording to evaluate on, and white noise."""
    from mlx_speech.audio import load
    from mlx_speech.butterfly.routing_report import NOISE, SPEECH, white_noise

    return {
        SPEECH: load(speech, sample_rate)[0],
        NOISE: white_noise(NOISE_SECONDS, sample_rate),
    }


def routing_facts(rows: Sequence[RoutingRow]) -> dict[str, Any]:
    """The report as JSON holds it."""
    from mlx_speech.butterfly.routing_report import verdict

    lines = [
        asdict(row) | {"operations": row.cost.total}  # a frame, all of it
        for row in rows
    ]
    return {"rows": lines, "verdict": verdict(rows)}


def print_routing(rows: Sequence[RoutingRow]) -> None:
    """The report as a table, with its sentence."""
    from mlx_speech.butterfly.routing_report import NOISE, SPEECH, verdict

    header = ["mel bands by", "share", "ops", "speech dB", "spec."]
    header += ["noise dB", "spec.", "bound"]
    compared = any(row.elsewhere_db is not None for row in rows)
    if compared:
        header.append("prototype dB")
    table = []
    for row in rows:
        cells = [
            row.what,
            "" if row.fraction is None else f"{row.fraction:.3f}",
            str(row.cost.total),
        ]
        for name in (SPEECH, NOISE):
            errors = row.errors[name]
            rare = f" ({errors.mel_db_99:.1f})" if name == SPEECH else ""
            cells.append(f"{errors.mel_db:.2f}{rare}")
            cells.append(f"{errors.spectrum:.3f}")
        cells.append("" if row.bound is None else f"{row.bound:.3f}")
        if compared:
            known = row.elsewhere_db
            cells.append("" if known is None else f"{known:.2f}")
        table.append(cells)
    print_rows(header, table)
    print()
    for line in LEGEND:
        print(line)
    if compared:
        print("prototype dB: the same recipe, trained and judged on other recordings.")
    print(f"\n{verdict(rows)}")
