"""`mlx-speech train-vits` as a user runs it: what it makes, accepts and refuses."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_speech.hub.load import load_safetensors
from mlx_speech.hub.save import save_safetensors
from mlx_speech.training import load_config
from mlx_speech.training.report import read_metrics
from mlx_speech.vits.checkpoints import load_voice
from mlx_speech.vits.training_config import VitsTrainConfig

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the recordings in `data`."""
    shutil.copytree(recordings, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(command: Command, tiny_settings: Path) -> Command:
    """Run `train-vits` with small settings."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return command("train-vits", *arguments, "--config", tiny_settings)

    return run


def refusal(result: tuple[int, str, str]) -> tuple[str, str]:
    """The one error line of a command that failed, and its hint."""
    code, out, err = result
    assert code == 1, err
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert lines[0].startswith("error: "), err
    assert [line[:6] for line in lines[1:]] in ([], ["hint: "]), err
    return lines[0], lines[1] if lines[1:] else ""


def make_metadata(folder: Path, lines: list[str], encoding: str = "utf-8") -> None:
    for path in folder.glob("*.txt"):
        path.unlink()
    (folder / "metadata.csv").write_text("\n".join(lines), encoding=encoding)


def everything(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# What a run makes


def test_a_folder_of_recordings_becomes_a_voice(folder: Path, train: Command) -> None:
    often = ("--validate-every", "1", "--sample-every", "2")
    code, out, err = train("data", "-o", "run", *often)
    assert (code, out) == (0, "run/model\n"), err
    assert "5 recordings to train on, 1 to validate" in err
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


# Data that cannot be used


def nothing(data: Path) -> None:
    shutil.rmtree(data)


def no_transcripts(data: Path) -> None:
    for path in data.glob("*.txt"):
        path.unlink()


def absent_recordings(data: Path) -> None:
    lines = [f"lost{index:02}|gone" for index in range(13)]
    make_metadata(data, [*lines, "r1|here", "r2|here too"])


def latin_metadata(data: Path) -> None:
    make_metadata(data, ["r1|caf\u00e9", "r2|tea"], "latin-1")


def latin_transcript(data: Path) -> None:
    (data / "r1.txt").write_bytes("caf\u00e9".encode("latin-1"))


def unknown_symbols(data: Path) -> None:
    (data / "r1.txt").write_text("\u58f0 and \u266b", encoding="utf-8")
    (data / "r2.txt").write_text("\u58f0", encoding="utf-8")


def one_recording(data: Path) -> None:
    for index in range(1, 6):
        (data / f"r{index}.wav").unlink()


def some_speakers(data: Path) -> None:
    make_metadata(data, ["r0|ann|one|one", "r1||two|two", "r2|bob|three|three"])


BAD_DATA: dict[Callable[[Path], None], list[str]] = {
    nothing: ["there is no folder `data`"],
    no_transcripts: ["`data` has no `metadata.csv` and no recording with a transcript"],
    absent_recordings: [
        "13 of 15 recordings named in `data/metadata.csv` do not exist: lost00, ",
        "lost09 and 3 more",
    ],
    latin_metadata: ["`data/metadata.csv` is not UTF-8: byte 0xe9"],
    latin_transcript: ["`data/r1.txt` is not UTF-8: byte 0xe9"],
    unknown_symbols: ["2 symbol(s) that the vocabulary lacks", "'声' in 2", "'♫' in 1"],
    one_recording: ["1 usable recording(s) of 1"],
    some_speakers: ["1 recording(s) name no speaker, the others do: r1"],
}


@pytest.mark.parametrize("spoil", BAD_DATA, ids=lambda spoil: spoil.__name__)
def test_unusable_data_is_refused_before_anything_is_written(
    folder: Path, train: Command, spoil: Callable[[Path], None]
) -> None:
    spoil(folder / "data")
    error, _ = refusal(train("data", "-o", "run"))
    for message in BAD_DATA[spoil]:
        assert message in error
    assert not (folder / "run").exists()


def test_all_bad_recordings_are_named_at_once(folder: Path, train: Command) -> None:
    data = folder / "data"
    samples, rate = soundfile.read(data / "r3.wav")
    (data / "r0.wav").write_text("no audio at all")
    (data / "r1.wav").write_bytes(b"")
    soundfile.write(data / "r2.wav", samples[:0], rate)
    samples[1234] = np.nan
    soundfile.write(data / "r3.wav", samples, rate, subtype="FLOAT")
    (data / "r4.txt").write_text(" \n")
    error, hint = refusal(train("data", "-o", "run"))
    for message in (
        "4 unreadable recording(s)",
        "r0 (is not readable audio",
        "r1 (is empty (0 bytes))",
        "r2 (holds no samples)",
        "r3 (has a sample that is not a number at 0.08 s)",
        "1 empty transcript(s): r4",
    ):
        assert message in error
    assert "check-data" in hint
    assert not (folder / "run").exists()


def test_after_a_correction_the_same_command_works(
    folder: Path, train: Command
) -> None:
    good = (folder / "data" / "r0.wav").read_bytes()
    (folder / "data" / "r0.wav").write_bytes(good[:40])
    refusal(train("data", "-o", "run"))
    (folder / "data" / "r0.wav").write_bytes(good)
    # Something that fails after the features are made must not block the next try.
    refusal(train("data", "-o", "run", "--frozen-parts", "nothing"))
    assert train("data", "-o", "run", "-q")[0] == 0


# Bases that cannot be used


def cut(base: Path) -> Path:
    path = base / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    return base


def other_keys(base: Path) -> Path:
    arrays = load_safetensors(base / "model.safetensors")
    arrays["dec.surprise"] = arrays.pop("enc_p.emb.weight")
    save_safetensors(base / "model.safetensors", arrays)
    return base


def other_shapes(base: Path) -> Path:
    config = base / "config.json"
    config.write_text(config.read_text().replace('"n_flows": 2', '"n_flows": 4'))
    return base


def malicious(base: Path) -> Path:
    evil = base / "G_1.pth"
    command = "touch executed"
    pickle = b"\x80\x02cos\nsystem\n(X" + struct.pack("<I", len(command))
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("archive/data.pkl", pickle + command.encode() + b"tR.")
    (base / "config.json").write_text(
        '{"model": {}, "data": {"sampling_rate": 8000, "filter_length": 512,'
        ' "hop_length": 256, "win_length": 512}}'
    )
    return evil


def absent(base: Path) -> Path:
    return base / "nowhere"


def unknown_family(base: Path) -> Path:
    (base / "config.json").write_text('{"model_type": "bert"}')
    return base


BAD_BASES: dict[Callable[[Path], Path], str] = {
    absent: "no file or folder `base/nowhere`",
    cut: "`base/model.safetensors` is truncated: ",
    other_keys: "1 keys missing (enc_p.emb.weight); 1 keys unexpected (dec.surprise)",
    other_shapes: "keys missing (flow.",
    malicious: "was refused: it asks for `os.system`",
    unknown_family: "model_type is 'bert'",
}


@pytest.mark.parametrize("spoil", BAD_BASES, ids=lambda spoil: spoil.__name__)
def test_an_unusable_base_is_refused_before_anything_is_written(
    folder: Path, train: Command, trained: Path, spoil: Callable[[Path], Path]
) -> None:
    shutil.copytree(trained / "model", folder / "base")
    base = spoil(folder / "base").relative_to(folder)
    error, _ = refusal(train("data", "-o", "run", "--base", base))
    assert BAD_BASES[spoil] in error
    assert not (folder / "run").exists()
    assert not (folder / "executed").exists()


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
        (["--keep", "0"], "`keep` must be at least 1", ""),
        (["--mel", "vits-44k"], "unknown mel preset `vits-44k`", "vits-22k"),
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
    folder: Path, train: Command, flags: list[str], message: str, advice: str
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
    folder: Path, command: Command, text: str, message: str
) -> None:
    (folder / "mine.yaml").write_text(text)
    error, _ = refusal(command("train-vits", "data", "--config", "mine.yaml"))
    assert message in error


def test_nothing_to_train_on(folder: Path, train: Command) -> None:
    error, hint = refusal(train())
    assert "nothing to train on" in error
    assert "--demo" in hint


# Output folders


def test_a_used_run_folder_is_refused_and_kept(
    folder: Path, train: Command, trained: Path
) -> None:
    shutil.copytree(trained, folder / "run")
    before = everything(folder / "run")
    error, hint = refusal(train("data", "-o", "run"))
    assert "the run folder `run` already exists" in error
    assert "--resume" in hint and "--overwrite" in hint
    # Overwriting with something that cannot start deletes nothing.
    (folder / "data" / "r1.wav").write_text("noise")
    refusal(train("data", "-o", "run", "--overwrite"))
    refusal(train("data", "-o", "run", "--overwrite", "--base", "nowhere"))
    assert everything(folder / "run") == before


def test_overwrite_starts_again(folder: Path, train: Command, trained: Path) -> None:
    shutil.copytree(trained, folder / "run")
    code, _, err = train("data", "-o", "run", "--overwrite", "--max-steps", "1")
    assert code == 0, err
    assert [x.name for x in (folder / "run" / "checkpoints").iterdir()] == ["00000001"]


def test_a_folder_of_other_things_is_never_overwritten(
    folder: Path, train: Command
) -> None:
    before = everything(folder / "data")
    error, hint = refusal(train("data", "-o", "data", "--overwrite"))
    assert "already exists" in error
    assert "other files" in hint
    assert everything(folder / "data") == before


def test_an_output_that_cannot_be_made(folder: Path, train: Command) -> None:
    (folder / "file").write_text("")
    error, hint = refusal(train("data", "-o", "file/run"))
    assert "the run folder `file/run` cannot be made" in error
    assert "--output-dir" in hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission(folder: Path, train: Command) -> None:
    (folder / "locked").mkdir(mode=0o500)
    error, _ = refusal(train("data", "-o", "locked/run"))
    assert "cannot be written" in error


def disk_is_full(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "writer",
    [
        "mlx_speech.files._flush",
        "mlx_speech.training.checkpoint.save_safetensors",
        "mlx_speech.vits.checkpoints.save_safetensors",
    ],
)
def test_a_full_disk_leaves_no_half_written_file(
    folder: Path, train: Command, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writer, disk_is_full)
        code, out, err = train("data", "-o", "run", "-q")
    assert (code, out) == (1, "")
    assert err.startswith("error: no space left on the disk while writing `run/")
    assert len(err.splitlines()) == 2
    run = folder / "run"
    assert not [path for path in run.rglob(".*") if path.is_file()]
    for checkpoint in (run / "checkpoints").glob("*"):
        assert (checkpoint / "state.json").exists()
    again = ["--resume"] if any((run / "checkpoints").glob("0*")) else ["--overwrite"]
    if not (run / "config.yaml").exists():
        again = []
    assert train("data", "-o", "run", "-q", *again)[0] == 0


# Speakers, bases, parts


def speaker_lines(*names: str) -> list[str]:
    texts = ("one two", "a cat", "the sun", "go on", "red sky", "my hat")
    return [
        f"r{index}|{names[index % len(names)]}|{text}|{text}"
        for index, text in enumerate(texts)
    ]


@pytest.fixture
def duet(folder: Path, train: Command) -> Path:
    """A base of the speakers ann and bob."""
    shutil.copytree(folder / "data", folder / "pair")
    make_metadata(folder / "pair", speaker_lines("ann", "bob"))
    code, _, err = train("pair", "-o", "duet", "--gin-channels", "4", "-q")
    assert code == 0, err
    return folder / "duet"


def test_several_speakers_and_new_ones_from_such_a_base(
    folder: Path, train: Command, duet: Path
) -> None:
    base = load_voice(duet / "model")
    assert base.speakers == ("ann", "bob")
    table = np.array(base.model.emb_g.weight)
    make_metadata(folder / "data", speaker_lines("zoe", "bob", "cyd"))
    # So slow that the table shows where it began.
    slow = ("--learning-rate", "1e-9", "--weight-decay", "0", "--max-steps", "1")
    code, _, err = train("data", "-o", "trio", "--base", "duet", *slow, "-q")
    assert code == 0, err
    voice = load_voice(folder / "trio" / "model")
    assert voice.speakers == ("bob", "cyd", "zoe")
    mean = table.mean(axis=0)
    np.testing.assert_allclose(
        np.array(voice.model.emb_g.weight), [table[1], mean, mean], atol=1e-6
    )
    # One unnamed speaker gets a row of its own.
    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "pair", folder / "data")
    make_metadata(folder / "data", [f"r{i}|go on" for i in range(6)])
    code, _, err = train("data", "-o", "solo", "--base", "duet", *slow, "-q")
    assert code == 0, err
    solo = load_voice(folder / "solo" / "model")
    assert solo.speakers == ("voice",)
    np.testing.assert_allclose(np.array(solo.model.emb_g.weight), [mean], atol=1e-6)


def test_a_base_of_one_voice_takes_no_second_speaker(
    folder: Path, train: Command, trained: Path
) -> None:
    make_metadata(folder / "data", speaker_lines("ann", "bob"))
    error, _ = refusal(train("data", "-o", "run", "--base", trained))
    assert "the data has 2 speakers, the base voice has one" in error


def test_a_base_says_which_settings_have_no_effect(
    folder: Path, train: Command, trained: Path
) -> None:
    flags = ("--hidden-channels", "32", "--mel", "mms-16k", "--max-steps", "1")
    code, _, err = train("data", "-o", "run", "--base", trained, *flags)
    assert code == 0, err
    assert "note: the base voice brings its own hidden_channels, mel;" in err
    model = load_voice(folder / "run" / "model")
    assert model.config == load_voice(trained / "model").config


def test_frozen_and_slow_parts(folder: Path, train: Command, trained: Path) -> None:
    before = dict(load_safetensors(trained / "model" / "model.safetensors"))
    flags = ("--frozen-parts", "enc_p,flow.flows.0", "--slow-parts", "dec")
    # Adam's first step is the learning rate in every weight that has a gradient.
    rates = ("--learning-rate", "1e-3", "--slow-rate", "0.01", "--weight-decay", "0")
    code, _, err = train(
        "data", "-o", "run", "--base", trained, *flags, *rates, "--max-steps", "1", "-q"
    )
    assert code == 0, err
    after = load_safetensors(
        folder / "run" / "checkpoints" / "00000001" / "generator.safetensors"
    )
    moved = {
        name: mx.abs(after[name] - value).max().item() for name, value in before.items()
    }
    for name, distance in moved.items():
        if name.startswith(("enc_p.", "flow.flows.0.")):
            assert distance == 0, name
        elif name.startswith("dec."):
            assert distance <= 1.01e-5, name
    assert max(d for n, d in moved.items() if n.startswith("dec.")) > 9e-6
    assert max(d for n, d in moved.items() if n.startswith("enc_q.")) > 9e-4


def test_characters_from_scratch(
    folder: Path, train: Command, command: Command
) -> None:
    (folder / "data" / "r1.txt").write_text("Blå ål", encoding="utf-8")
    flags = ("--vocabulary", "characters", "--base", "none", "-q")
    assert train("data", "-o", "run", *flags)[0] == 0
    said = command("speak", "blå one", "--voice", "run", "-o", "a.wav", "-q")
    assert said == (0, "a.wav\n", "")
    error, _ = refusal(command("speak", "zebra!", "-m", "run", "-o", "b.wav"))
    assert "no symbol for 'z' 'b' '!'" in error or "'z'" in error
    assert not (folder / "b.wav").exists()
