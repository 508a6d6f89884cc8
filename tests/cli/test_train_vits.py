"""`mlx-speech train-vits` as a user runs it: what it makes, accepts, and its flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlx_speech.training import load_config
from mlx_speech.training.report import read_metrics
from mlx_speech.vits.checkpoints import load_voice
from mlx_speech.vits.training_config import VitsTrainConfig

Command = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]
Maker = Callable[..., None]


# What a run makes


def test_a_folder_of_recordings_becomes_a_voice(folder: Path, train: Command) -> None:
    often = ("--validate-every", "1", "--sample-every", "2")
    code, out, err = train("data", "-o", "run", *often)
    assert (code, out) == (0, "run/model\n"), err
    assert "5 recordings to train on, 1 to validate" in err
    assert "parameters, from random weights; batch 2" in err
    assert "step 1: validation  mcd" in err
    assert "try: mlx-speech speak" in err
    run = folder / "run"
    assert (run / "model" / "model.safetensors").exists()
    assert (run / "samples" / "00000002" / "0.wav").exists()
    lines = read_metrics(run / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("step", 1),
        ("validation", 1),
        ("step", 2),
        ("validation", 2),
    ]
    assert lines[0]["metrics"].keys() >= {
        "loss_mel",
        "loss_kl",
        "loss_duration",
        "loss_adversarial",
        "loss_feature",
        "loss_discriminator",
        "grad_norm_generator",
        "grad_norm_discriminators",
    }
    assert load_voice(run / "model").sample_rate == 16000
    stray = [p for p in run.rglob(".*") if p.is_file()]
    assert not stray


def test_quiet_prints_the_model_alone(folder: Path, train: Command) -> None:
    assert train("data", "-o", "run", "--quiet") == (0, "run/model\n", "")


def test_the_run_is_named_after_the_data(folder: Path, train: Command) -> None:
    assert train("data", "-q")[:2] == (0, "runs/data/model\n")


def test_printed_settings_read_back_as_a_file(
    folder: Path, train: Command, command: Command
) -> None:
    flags = ("--batch-size", "3", "--adam_betas", "0.7,0.9", "--no-add-blank")
    code, out, err = train("data", *flags, "--base", "none", "--print-config")
    assert (code, err) == (0, "")
    (folder / "printed.yaml").write_text(out)
    again = command("train-vits", "--config", "printed.yaml", "--print-config")
    assert again == (0, out, "")
    config = load_config(VitsTrainConfig, folder / "printed.yaml")
    assert (config.batch_size, config.adam_betas) == (3, (0.7, 0.9))
    assert (config.data, config.base, config.add_blank) == ("data", "none", False)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_flags_may_stand_before_and_behind_the_data(
    folder: Path, train: Command, place: int
) -> None:
    words = ["--max-steps", "1", "--no-add-blank"]
    words.insert([0, 2, 3][place], "data")
    code, out, err = train(*words, "--print-config")
    assert code == 0, err
    assert "data: data\n" in out
    assert "max_steps: 1\n" in out


def test_the_demo_takes_flags_and_brings_its_own_data(command: Command) -> None:
    code, out, _ = command("train-vits", "--demo", "--max-steps", "7", "--print-config")
    assert code == 0
    assert "max_steps: 7\n" in out
    assert "demo_corpus\n" in out


# What is accepted, with a note


def test_other_rates_and_channels_are_converted(
    folder: Path, train: Command, record_tones: Callable[..., Path]
) -> None:
    record_tones(folder / "data", rate=8000)
    samples, _ = soundfile.read(folder / "data" / "r1.wav")
    wide = np.repeat(samples, 12)
    stereo = np.stack([wide, 0.5 * wide], axis=1)
    soundfile.write(folder / "data" / "r1.wav", stereo, 96000)
    code, _, err = train("data", "-o", "run")
    assert code == 0, err
    notes = [line for line in err.splitlines() if line.startswith("note: ")]
    assert any("5 recording(s) at 8000 Hz are resampled to 16000" in x for x in notes)
    assert any("1 recording(s) at 96000 Hz are resampled to 16000" in x for x in notes)
    assert any("1 recording(s) with 2 channels are mixed" in x for x in notes)
    # What is read before is not reported again.
    _, _, err = train("data", "-o", "run", "--resume", "--max-steps", "3")
    assert "resampled" not in err


def test_names_with_spaces_and_other_alphabets(folder: Path, train: Command) -> None:
    (folder / "data").rename(folder / "meine Stimme ü 声")
    for path in sorted((folder / "meine Stimme ü 声").iterdir()):
        path.rename(path.with_name(f"naïve [{path.stem}] é{path.suffix}"))
    code, out, err = train("meine Stimme ü 声")
    assert code == 0, err
    assert out == "runs/meine Stimme ü 声/model\n"
    assert "--voice 'runs/meine Stimme ü 声'" in err


def test_a_batch_larger_than_the_data_is_reduced(folder: Path, train: Command) -> None:
    code, _, err = train("data", "-o", "run", "--batch-size", "64")
    assert code == 0
    assert "note: the batch size is reduced from 64 to 5" in err


def test_recordings_too_short_for_their_text_are_left_out(
    folder: Path, train: Command
) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    (folder / "data" / "r1.txt").write_text(text)
    code, _, err = train("data", "-o", "run")
    assert code == 0, err
    assert "left out" in err


# Flags and settings


@pytest.mark.parametrize(
    ("flags", "message", "advice"),
    [
        (["--batch-sise", "3"], "unknown flag `--batch-sise`", "`batch_size`"),
        (["--batch-size", "few"], "must be a whole number, not 'few'", ""),
        (["--batch-size"], "`--batch-size` needs a value", ""),
        (["--batch-size", "0"], "`batch_size` must be positive, not 0", ""),
        (["--learning-rate", "nan"], "`learning_rate` must be positive", ""),
        (["--seed", "-1"], "`seed` must not be negative", ""),
        (["--validation-share", "0"], "above 0 and at most 0.5, not 0", "hold out"),
        (["--validation-share", "0.6"], "above 0 and at most 0.5, not 0.6", ""),
        (["--keep", "0"], "`keep` must be at least 1", ""),
        (["--mel", "vits-44k"], "unknown mel preset `vits-44k`", "vits-22k"),
        (["--mel", "whisper-80"], "preset `whisper-80` does not fit VITS", "demo-16k"),
        (["--decoder", "wavenet"], "unknown decoder `wavenet`", "hifigan"),
        (["--vocabulary", "runes"], "vocabulary kind 'runes'", "characters"),
        (["--frozen-parts", "enc_pp"], "under `enc_pp`", "`enc_p`"),
        (["--resume", "--overwrite"], "either resumed or overwritten", ""),
        (["other"], "unexpected argument `other`", "one folder"),
        (["--data", "other"], "the recordings are given twice", ""),
        (["--demo"], "`--demo` brings its own recordings", "leave out"),
    ],
)
def test_wrong_flags_are_refused(
    folder: Path,
    train: Command,
    flags: list[str],
    message: str,
    advice: str,
    refusal: Refusal,
) -> None:
    error, hint = refusal(train("data", "-o", "run", *flags))
    assert message in error
    assert advice in hint
    assert not (folder / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_sise: 3", "unknown setting `batch_sise` in `mine.yaml`"),
        ("batch_size: [", "`mine.yaml` is not valid YAML"),
        ("- 3", "must hold `key: value` lines"),
    ],
)
def test_wrong_settings_files_are_refused(
    folder: Path, command: Command, text: str, message: str, refusal: Refusal
) -> None:
    (folder / "mine.yaml").write_text(text)
    error, _ = refusal(command("train-vits", "data", "--config", "mine.yaml"))
    assert message in error


def test_nothing_to_train_on(folder: Path, train: Command, refusal: Refusal) -> None:
    error, hint = refusal(train())
    assert "nothing to train on" in error
    assert "--demo" in hint
