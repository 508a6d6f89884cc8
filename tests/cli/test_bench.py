"""`mlx-speech bench NAME`: what is printed, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_speech.bench import conv, train
from mlx_speech.nn.conv import ConvShape
from mlx_speech.training import load_config
from mlx_speech.vits.training_config import VitsTrainConfig

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def small_cases(monkeypatch: pytest.MonkeyPatch, tiny_settings: Path) -> None:
    """Measurements of a moment."""
    layers = [
        conv.ConvCase(name, 1, ConvShape("plain", 8, 2, 2, 3)) for name in ("a", "b")
    ]
    monkeypatch.setattr(conv, "VITS_CASES", tuple(layers))
    config = load_config(VitsTrainConfig, tiny_settings)
    monkeypatch.setitem(
        train.CASES, "demo", lambda: train.TrainCase("demo", config, 32, 8)
    )


@pytest.mark.usefixtures("small_cases")
def test_conv(command: Run) -> None:
    code, out, err = command("bench", "conv", "--repeats", "1")
    assert (code, err) == (0, "")
    assert [line.split(" | ")[0] for line in out.splitlines()[2:]] == ["| a", "| b"]
    code, out, err = command("bench", "conv", "--repeats", "1", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [row["case"]["name"] for row in rows] == ["a", "b"]
    for row in rows:
        gain = row["native_forward_ms"] / row["chosen_forward_ms"]
        assert row["forward_gain"] == pytest.approx(gain)


@pytest.mark.usefixtures("small_cases")
def test_train(command: Run) -> None:
    code, out, err = command("bench", "train", "--repeats", "1")
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in out.splitlines()[1:])
    assert rows["batch"].strip() == "2 utterances of 32 frames"
    assert rows["whole step"].strip().endswith(" s")
    code, out, err = command("bench", "train", "--repeats", "1", "--json")
    assert (code, err) == (0, "")
    row = json.loads(out)
    assert row["generator_s"] == row["step_s"] - row["discriminator_s"]


def test_a_voice_is_scored(command: Run, trained: Path, recordings: Path) -> None:
    code, out, err = command("bench", "voice", "--voice", trained, "--data", recordings)
    assert code == 0
    assert "spoken" in out
    assert "of 6 sentences are nearest to their own recording" in err
    code, out, err = command(
        "bench", "voice", "-m", trained, "--data", recordings, "--json"
    )
    assert (code, err) == (0, "")
    score = json.loads(out)
    assert score["sentences"] == 6
    assert score["relative_mcd"] == score["mcd"] / score["yardstick_mcd"]


def test_data_of_several_speakers_wants_one(
    command: Run, trained: Path, record_tones: Callable[..., Path], tmp_path: Path
) -> None:
    data = record_tones(tmp_path / "data")
    (data / "metadata.csv").write_text(
        "".join(f"r{i}|{'ann' if i % 2 else 'bob'}|some words\n" for i in range(6)),
        encoding="utf-8",
    )
    wavs = data / "wavs"
    wavs.mkdir()
    for path in data.glob("*.wav"):
        path.rename(wavs / path.name)
    code, _, err = command("bench", "voice", "--voice", trained, "--data", data)
    assert code == 1
    assert "holds 2 speakers" in err
    assert "hint: choose one with `--speaker`: ann, bob" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--voice", "nowhere", "--data", "{data}"], "no file or folder `nowhere`"),
        (["--voice", "{voice}", "--data", "nowhere"], "there is no folder `nowhere`"),
    ],
)
def test_what_is_missing_is_said(
    command: Run, trained: Path, recordings: Path, arguments: list[str], said: str
) -> None:
    given = [each.format(voice=trained, data=recordings) for each in arguments]
    code, out, err = command("bench", "voice", *given)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert said in err


def test_shapes_are_those_that_there_are(command: Run) -> None:
    from mlx_speech.cli.bench import Shapes

    assert {shape.value for shape in Shapes} == set(train.CASES)
    code, _, err = command("bench", "train", "--shapes", "huge")
    assert code == 2
    assert "paper" in err


def test_whisper(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_speech.bench import whisper

    monkeypatch.setitem(whisper.SIZES, "tiny", (80, 16, 2, 1, 1, 51865))
    short = ("bench", "whisper", "--minutes", "0.1", "--tokens", "2", "--repeats", "1")
    code, out, err = command(*short, "--no-peers")
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in out.splitlines()[1:])
    assert rows["encoder, a window"].strip().endswith(" s")


def test_whisper_beside_others(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_speech.bench import whisper_sides
    from mlx_speech.bench.whisper_sides import SideTiming

    def compare(case: object, peers: list[str], *rest: object) -> list[SideTiming]:
        assert peers == ["mlx-whisper"]
        ratios = {"exact": 0.5, "batched": 0.25}
        return [
            SideTiming(side, "processor", 6.0, 50.0, ratios, 1280, 1280, 10**8)
            for side in ("exact", "batched", *peers)
        ]

    monkeypatch.setattr(whisper_sides, "peers_of", lambda python: ["mlx-whisper"])
    monkeypatch.setattr(whisper_sides, "compare", compare)
    code, out, err = command("bench", "whisper", "--no-stages")
    assert code == 0
    assert out.splitlines()[-1].split() == (
        ["mlx-whisper", "6.00", "50.0", "0.50", "0.25", "1280", "100"]
    )
    assert "processor clock" in err
    assert err.splitlines()[-1].endswith("lacks them: openai-whisper")
    code, out, err = command("bench", "whisper", "--no-stages", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["stages"] is None
    assert result["absent"] == ["openai-whisper"]
    assert [side["ratios"]["exact"] for side in result["sides"]] == [0.5] * 3


def test_whisper_of_no_size(command: Run) -> None:
    code, out, err = command("bench", "whisper", "--size", "huge")
    assert (code, out) == (1, "")
    assert "huge" in err and "large-v3" in err
