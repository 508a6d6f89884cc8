"""What `train-vits` refuses to train on, and where it refuses to write."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import soundfile

Command = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]
Maker = Callable[..., None]


def everything(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Data that cannot be used


def nothing(data: Path, make_metadata: Maker) -> None:
    shutil.rmtree(data)


def no_transcripts(data: Path, make_metadata: Maker) -> None:
    for path in data.glob("*.txt"):
        path.unlink()


def absent_recordings(data: Path, make_metadata: Maker) -> None:
    lines = [f"lost{index:02}|gone" for index in range(13)]
    make_metadata(data, [*lines, "r1|here", "r2|here too"])


def latin_metadata(data: Path, make_metadata: Maker) -> None:
    make_metadata(data, ["r1|caf\u00e9", "r2|tea"], "latin-1")


def latin_transcript(data: Path, make_metadata: Maker) -> None:
    (data / "r1.txt").write_bytes("caf\u00e9".encode("latin-1"))


def unknown_symbols(data: Path, make_metadata: Maker) -> None:
    (data / "r1.txt").write_text("\u58f0 and \u266b", encoding="utf-8")
    (data / "r2.txt").write_text("\u58f0", encoding="utf-8")


def one_recording(data: Path, make_metadata: Maker) -> None:
    for index in range(1, 6):
        (data / f"r{index}.wav").unlink()


def some_speakers(data: Path, make_metadata: Maker) -> None:
    make_metadata(data, ["r0|ann|one|one", "r1||two|two", "r2|bob|three|three"])


BAD_DATA: dict[Callable[[Path, Maker], None], list[str]] = {
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
    folder: Path,
    train: Command,
    spoil: Callable[[Path, Maker], None],
    make_metadata: Maker,
    refusal: Refusal,
) -> None:
    spoil(folder / "data", make_metadata)
    error, _ = refusal(train("data", "-o", "run"))
    for message in BAD_DATA[spoil]:
        assert message in error
    assert not (folder / "run").exists()


def test_all_bad_recordings_are_named_at_once(
    folder: Path, train: Command, refusal: Refusal
) -> None:
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
    folder: Path, train: Command, refusal: Refusal
) -> None:
    good = (folder / "data" / "r0.wav").read_bytes()
    (folder / "data" / "r0.wav").write_bytes(good[:40])
    refusal(train("data", "-o", "run"))
    (folder / "data" / "r0.wav").write_bytes(good)
    # Something that fails after the features are made must not block the next try.
    refusal(train("data", "-o", "run", "--frozen-parts", "nothing"))
    assert train("data", "-o", "run", "-q")[0] == 0


# Output folders


def test_a_used_run_folder_is_refused_and_kept(
    folder: Path, train: Command, trained: Path, refusal: Refusal
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
    folder: Path, train: Command, refusal: Refusal
) -> None:
    before = everything(folder / "data")
    error, hint = refusal(train("data", "-o", "data", "--overwrite"))
    assert "already exists" in error
    assert "other files" in hint
    assert everything(folder / "data") == before


def test_an_output_that_cannot_be_made(
    folder: Path, train: Command, refusal: Refusal
) -> None:
    (folder / "file").write_text("")
    error, hint = refusal(train("data", "-o", "file/run"))
    assert "the run folder `file/run` cannot be made" in error
    assert "--output-dir" in hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission(
    folder: Path, train: Command, refusal: Refusal
) -> None:
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
