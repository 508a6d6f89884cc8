"""`mlx-speech fft distill` and `bench routing`: reports with their baselines."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.bench import butterfly_routing
from mlx_speech.butterfly.cost import FrameCost
from mlx_speech.butterfly.routing_report import SPEECH, Evaluation, RoutingRow
from mlx_speech.butterfly.student import routing_spec
from mlx_speech.butterfly.student_storage import load_student

Run = Callable[..., tuple[int, str, str]]
KENNEDY = Path(__file__).resolve().parents[1] / "data" / "kennedy.flac"
SMALL = ("--n-fft", "32", "--n-mels", "12", "--steps", "20", "--batch-size", "4")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to train on: two seconds of noise in two files."""
    folder = tmp_path_factory.mktemp("clips")
    draw = np.random.default_rng(0)
    for index in range(2):
        noise = np.convolve(draw.standard_normal(16000), np.hanning(9), "same")
        soundfile.write(folder / f"{index}.flac", 0.05 * noise, 16000)
    return folder


def distill(run: Run, clips: Path, out: Path, *options: object) -> tuple:
    given = ["--train-audio", clips, "--eval-audio", KENNEDY, "--out", out]
    return run("fft", "distill", *SMALL, *map(str, [*given, *options]))


def test_the_report_has_its_baselines(
    command: Run, clips: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "s.safetensors", tmp_path / "report.json"
    picture = tmp_path / "plot.png"
    options = ("--compute-fraction", 0.9, "--report", report, "--plot", picture)
    code, text, err = distill(command, clips, out, *options)
    assert code == 0, err
    for part in ("exact real FFT", "output-pruned FFT", "even bins", "all gates on"):
        assert part in text
    assert "Routing is worth using: never" in text
    assert picture.read_bytes()[:4] == b"\x89PNG"
    rows = {row["what"]: row for row in json.loads(report.read_text())["rows"]}
    student = rows["student"]
    assert student["fraction"] <= 0.9
    # Window, corrector, power and bands are in the sum.
    assert student["operations"] == sum(student["cost"].values())
    assert student["cost"]["corrector"] > 0 and student["cost"]["window"] == 32
    assert student["bound"] == rows["these gates, untrained"]["bound"] > 0.1
    assert load_student(out).compute_fraction == student["fraction"]
    judged = json.loads(command("fft", "eval", out, "--json", "--frames", "5")[1])
    assert judged["n"] == 32 and not judged["fuses"]
    code, _, err = command("fft", "eval", out, "--plot", tmp_path / "t.png")
    assert code == 1 and "no free twiddles" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n-fft", 48), "no power of two"),
        (("--layout", "full", "--compute-fraction", 0.9), "prunes nothing"),
        (("--compute-fraction", 1.5), "compute fraction"),
        (("--preset", "sparse"), "unknown preset `sparse`"),
        (("--losses", "mel=2,colour=1"), "unknown losses: colour"),
        (("--losses", "mel=much"), "`mel=much` is no weight"),
        (("--temperature", "hot"), "no pair of temperatures"),
        (("--mode", "skip", "--prune", "subtree"), "taken for zero"),
        (("--eval-audio", "none.flac"), "none.flac"),
        (("--train-audio", "nowhere"), "no folder of recordings"),
    ],
)
def test_what_cannot_be_distilled_is_one_line(
    command: Run,
    clips: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    message: str,
) -> None:
    out = tmp_path / "s.safetensors"
    code, _, err = distill(command, clips, out, *options)
    assert code == 1
    assert err.startswith("error: ") and message in err
    assert not out.exists()


def test_a_recording_of_the_training_is_no_evaluation(
    command: Run, clips: Path, tmp_path: Path
) -> None:
    options = ("--eval-audio", clips / "1.flac")
    code, _, err = distill(command, clips, tmp_path / "s.safetensors", *options)
    assert code == 1 and "is among the recordings" in err


def test_the_table_compares_at_every_share(
    command: Run, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(
        butterfly_routing.routing_case, fractions=(0.9,), spec=routing_spec(32, 12)
    )
    monkeypatch.setattr(butterfly_routing, "routing_case", small)
    options = ["--eval-audio", KENNEDY, "--train-audio", clips, "--steps", 4]
    code, text, err = command("bench", "routing", *map(str, options), "--json")
    found = json.loads(text)
    errors = {row["what"]: row["errors"][SPEECH]["mel_db"] for row in found["rows"]}
    assert len(errors) == 4 + 7
    learned, greedy = errors["greedy, learned"], errors["greedy"]
    assert (code == 0) == (learned < greedy < errors["random, 3 seeds"]), err
    shares = {row["target"] for row in found["rows"]}
    assert shares == {None, 0.9}


def test_shares_out_of_order_are_named() -> None:
    def row(what: str, share: float, error: float) -> RoutingRow:
        cost = FrameCost(1, 1, 1, 1, 1)
        errors = {SPEECH: Evaluation(error, error, error)}
        return RoutingRow(what, False, share, share, cost, None, errors)

    names = ("greedy, learned", "greedy", "random, 3 seeds")
    orders = {0.96: (1, 2, 3), 0.9: (2, 1, 3), 0.75: (1, 3, 3)}
    rows = [
        row(what, share, error)
        for share, errors in orders.items()
        for what, error in zip(names, errors, strict=True)
    ]
    assert butterfly_routing.unordered_shares(rows) == [0.9, 0.75]
