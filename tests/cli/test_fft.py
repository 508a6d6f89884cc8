"""`mlx-speech fft`: find, quantise, judge, export."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlx_speech.butterfly import load_transform

Run = Callable[..., tuple[int, str, str]]
KENNEDY = Path(__file__).resolve().parents[1] / "data" / "kennedy.flac"
LAYERWISE = ("train", "--n-fft", "16", "--method", "layerwise")


@pytest.fixture
def run(command: Run) -> Run:
    """Run the command: exit code, standard output, standard error."""
    return partial(command, "fft")


def facts(answer: tuple[int, str, str]) -> dict:
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("n", "method"), [(32, "adam"), (1024, "layerwise"), (400, "hierarchical")]
)
def test_the_dft_is_found_and_stored(
    run: Run, tmp_path: Path, n: int, method: str
) -> None:
    out = tmp_path / "w.safetensors"
    options = ["--n-fft", n, "--method", method, "--init", "haar", "--seed", 3]
    found = facts(run("train", *map(str, options), "--out", out, "--json"))
    assert found["untrained_error"] > 1
    assert found["error"] < 1e-6
    matrix = load_transform(out).matrix()
    exact = np.fft.fft(np.eye(n))
    assert np.linalg.norm(matrix - exact) < 1e-6 * np.linalg.norm(exact)


def test_from_training_to_other_programs(run: Run, tmp_path: Path) -> None:
    learned, small = tmp_path / "w.safetensors", tmp_path / "q.safetensors"
    code, out, err = run(
        "train", "--n-fft", "60", "--radices", "3,4,5", "--method", "layerwise",
        "--inverse", "-o", learned,
    )  # fmt: skip
    assert code == 0 and "untrained error" in out and "3 4 5" in out, err
    found = facts(run("quantize", learned, "--bits", "6", "--out", small, "--json"))
    assert found["error"] < 3e-7
    assert found["bytes"] < found["bytes_before"] / 100
    judged = facts(run("eval", small, "--json", "--frames", "10"))
    assert judged["quantized"] and judged["fuses"] and judged["inverse"]
    assert run("eval", learned, "--frames", "10")[0] == 0
    assert run("export", small, "--out", tmp_path / "w.npy")[0] == 0
    exact = np.fft.ifft(np.eye(60))
    np.testing.assert_allclose(np.load(tmp_path / "w.npy"), exact, atol=1e-8)
    assert run("export", small, "--out", tmp_path / "w.npz")[0] == 0
    stored = np.load(tmp_path / "w.npz")
    y = np.eye(60)[stored["permutation"]]
    for name in ("stage_0", "stage_1", "stage_2"):
        stage = stored[name]
        m, r = stage.shape[1:3]
        groups = y.reshape(-1, r, m, 60).transpose(0, 2, 1, 3)
        y = (stage @ groups).transpose(0, 2, 1, 3).reshape(60, 60)
    np.testing.assert_allclose(stored["scale"] * y, exact, atol=1e-8)


def test_noise_is_survived_and_a_failed_fit_is_said(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    base = ["train", "--n-fft", "64", "--out", out]
    noisy = facts(run(*base, "--method", "hierarchical", "--noise", "0.01", "--json"))
    assert 1e-4 < noisy["error"] < 5e-3
    code, _, err = run(*base, "--steps", "5", "--parameterization", "phase")
    assert code == 0
    assert "the transform was not found" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--n-fft", "509"], "n = 509 has the factor 509"),
        (["train", "--n-fft", "16", "--radices", "4,5"], "do not multiply"),
        (["train", "--n-fft", "16", "--radices", "4x4"], "no list of radices"),
        (
            ["train", "--n-fft", "16", "--method", "layerwise", "--steps", "9"],
            "`--steps`",
        ),
        (["train", "--n-fft", "16", "--method", "layerwise", "--real"], "complex"),
        (["train", "--n-fft", "16", "--method", "hierarchical", "--tied"], "untied"),
        (["quantize", "none.safetensors"], "no file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = tmp_path / "w.safetensors"
    code, _, err = run(*arguments, "--out", out)
    assert code == 1
    assert err.startswith("error: ") and message in err
    assert not out.exists()


def test_pictures_and_the_change_of_log_mel(run: Run, tmp_path: Path) -> None:
    learned, steps = tmp_path / "w.safetensors", tmp_path / "steps.png"
    base = ["train", "--n-fft", "400", "--out", learned]
    assert run(*base, "--steps", "3", "--plot", steps)[0] == 0
    assert steps.read_bytes()[:4] == b"\x89PNG"
    judge = ["eval", learned, "--frames", "2", "--audio", KENNEDY, "--json"]
    assert facts(run(*judge))["log_mel_change_whisper-80"] > 0.2
    assert run(*base, "--method", "hierarchical")[0] == 0
    circle = tmp_path / "circle.png"
    found = facts(run(*judge, "--plot", circle))
    assert found["log_mel_change_whisper-80"] < 1e-5
    assert circle.read_bytes()[:4] == b"\x89PNG"
    code, _, err = run(*base, "--method", "hierarchical", "--plot", steps)
    assert code == 1 and "takes no steps" in err
    run("train", "--n-fft", "60", "--method", "layerwise", "--out", learned)
    code, _, err = run("eval", learned, "--audio", KENNEDY)
    assert code == 1 and "no mel preset has 60 points" in err


def test_files_of_the_wrong_kind_are_refused(run: Run, tmp_path: Path) -> None:
    learned, small = tmp_path / "w.safetensors", tmp_path / "q.safetensors"
    run("train", "--n-fft", "16", "--method", "layerwise", "--out", learned)
    run("quantize", learned, "--out", small)
    code, _, err = run("quantize", small, "--out", tmp_path / "again.safetensors")
    assert code == 1 and "quantised already" in err
    code, _, err = run("export", learned, "--out", tmp_path / "w.onnx")
    assert code == 1 and "neither .npz nor .npy" in err
