"""The bundled recogniser, offline and through the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.corpus import read_corpus
from mlx_speech.models import find_listener
from mlx_speech.text.word_errors import word_errors

Command = Callable[..., tuple[int, str, str]]

SPOKEN = Path(__file__).resolve().parents[1] / "data" / "spoken"
LARGEST = 12 * 2**20
STAMP = re.compile(r"(\d\d):(\d\d):(\d\d)[,.](\d\d\d)")


@pytest.fixture(scope="module")
def sentences() -> dict[str, str]:
    """What is said in each recording of tests/data/spoken, by its name."""
    return {each.audio_path.stem: each.text for each in read_corpus(SPOKEN)}


def seconds(stamp: str) -> float:
    match = STAMP.fullmatch(stamp)
    assert match is not None, stamp
    hours, minutes, rest, thousandths = (int(part) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest + thousandths / 1000


def test_it_is_small_and_in_half_precision() -> None:
    folder = find_listener("bundled")
    files = list(folder.iterdir())
    assert sum(file.stat().st_size for file in files) < LARGEST
    header = (folder / "model.safetensors").read_bytes()[:4000]
    assert b'"F16"' in header and b'"F32"' not in header


def test_held_out_sentences_become_text_subtitles_and_json(
    command: Command, tmp_path: Path, sentences: dict[str, str]
) -> None:
    assert len(sentences) >= 20
    formats = ("-f", "txt", "-f", "srt", "-f", "vtt", "-f", "json")
    out = tmp_path / "out"
    code, _, err = command(
        *("transcribe", SPOKEN / "wavs", "-m", "bundled", "--offline", "-o", out, "-q"),
        *formats,
    )
    assert code == 0, err
    heard = {name: (out / f"{name}.txt").read_text().strip() for name in sentences}
    errors = word_errors(
        [sentences[name] for name in sentences], [heard[name] for name in sentences]
    )
    # 12 of 24 by voices that the training never heard; one sentence more is 4 %.
    assert errors.rate < 0.15, heard
    assert all(heard.values()), heard

    for name in sentences:
        duration = soundfile.info(next((SPOKEN / "wavs").glob(f"{name}.*"))).duration
        result = json.loads((out / f"{name}.json").read_text())
        assert result["text"].strip() == " ".join(heard[name].split())
        assert result["language"] == "en"
        parts = result["segments"]
        assert " ".join(p["text"].strip() for p in parts) == result["text"].strip()
        for kind, first in (("srt", "1\n"), ("vtt", "WEBVTT\n\n")):
            text = (out / f"{name}.{kind}").read_text()
            assert text.startswith(first)
            # Minutes of WebVTT need no hours.
            lines = [line for line in text.splitlines() if " --> " in line]
            assert len(lines) == len(parts)
            for line, part in zip(lines, parts, strict=True):
                start, end = (stamp.rjust(12, "0") for stamp in line.split(" --> "))
                start, end = (
                    stamp if stamp.count(":") == 2 else f"00:{stamp[-9:]}"
                    for stamp in (start, end)
                )
                assert seconds(start) == pytest.approx(part["start"], abs=0.002)
                assert seconds(end) == pytest.approx(part["end"], abs=0.002)
                assert 0 <= part["start"] < part["end"] <= duration + 0.1


def test_sentences_of_a_long_recording_are_subtitled_where_they_are_said(
    command: Command, tmp_path: Path, sentences: dict[str, str]
) -> None:
    pieces, places, at = [], [], 0.0
    pause = np.zeros(24_000, np.float32)
    for name in list(sentences)[:8]:
        samples, rate = soundfile.read(next((SPOKEN / "wavs").glob(f"{name}.*")))
        assert rate == 16_000
        at += 1.5
        places.append((at, at + len(samples) / rate))
        at += len(samples) / rate
        pieces += [pause, samples]
    soundfile.write(tmp_path / "long.wav", np.concatenate([*pieces, pause]), 16_000)
    for options in ((), ("--exact",)):
        code, out, err = command(
            "transcribe", tmp_path / "long.wav", "-m", "bundled", "--json", *options
        )
        assert code == 0, err
        segments = [s for s in json.loads(out)["segments"] if s["text"].strip()]
        said = [sentences[name] for name in list(sentences)[:8]]
        heard = " ".join(segment["text"].strip() for segment in segments)
        assert word_errors([" ".join(said)], [heard]).rate < 0.2
        for segment in segments:
            middle = (segment["start"] + segment["end"]) / 2
            assert any(start - 0.3 <= middle <= end + 0.3 for start, end in places)


def test_silence_and_noise_become_no_words(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "silence.wav", np.zeros(80_000), 16_000)
    soundfile.write(tmp_path / "noise.wav", 0.01 * rng.standard_normal(80_000), 16_000)
    for name in ("silence.wav", "noise.wav"):
        code, out, err = command(
            "transcribe", tmp_path / name, "-m", "bundled", "--json"
        )
        assert code == 0, err
        assert json.loads(out)["text"].strip() == "", name


def test_a_copy_of_it_is_a_model_like_any_other(
    command: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(find_listener("bundled"), copy)
    sound = sorted((SPOKEN / "wavs").iterdir())[0]
    results = [
        command("transcribe", sound, "-m", model, "--json")
        for model in ("bundled", copy)
    ]
    assert results[0][0] == 0, results[0]
    texts = [json.loads(out)["text"] for _, out, _ in results]
    assert texts[0] == texts[1] != ""
