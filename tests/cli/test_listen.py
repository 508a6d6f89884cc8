"""`mlx-speech listen`: captions of a stream; a recording stands for the microphone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mlx_speech.cli import listen as listen_command
from mlx_speech.writers import FORMATS, Segment, Transcription

Run = Callable[..., tuple[int, str, str]]
Refusal = Callable[[tuple[int, str, str]], tuple[str, str]]


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Three sounds of 0.7 s between pauses of 1.2 s."""
    rate = 16000
    time = np.arange(round(0.7 * rate)) / rate
    tone = 0.4 * np.sin(2 * np.pi * 330 * time) * np.hanning(len(time)) ** 0.25
    pause = np.zeros(round(1.2 * rate))
    samples = np.concatenate([pause, *[tone, pause] * 3])
    samples += 0.001 * np.random.default_rng(0).standard_normal(len(samples))
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    return tmp_path / "talk.wav"


def measure(sound: tuple[np.ndarray, int], model: object, **_: object) -> Transcription:
    """Stands for a model: says how long the sound is, from 0.1 s on."""
    samples, rate = sound
    seconds = len(samples) / rate
    segment = Segment(0, 0, 0.1, seconds, f" {seconds:.1f} seconds")
    return Transcription(segment.text, [segment], "de", seconds)


@pytest.fixture
def run(
    command: Run,
    whisper_folder: Path,
    talk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run the command beside the recording; what is said is how long it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlx_speech.models.transcribe", measure)
    return partial(command, "listen", "-m", whisper_folder)


def starts(out: str) -> list[float]:
    """Seconds at which the lines of verbose captions begin."""
    times = [line.split(" ")[0][1:].split(":") for line in out.splitlines()]
    return [60 * int(minutes) + float(seconds) for minutes, seconds in times]


def test_every_utterance_is_written_down_where_it_was_said(run: Run) -> None:
    code, out, err = run("--input", "talk.wav", "-v")
    assert code == 0
    first, last = err.splitlines()
    assert first == "listening; Ctrl-C ends"
    assert last.startswith("3 utterances, ")
    # A soft beginning is taken along, and the segment begins 0.1 s later.
    for found, begin in zip(starts(out), (1.2, 3.1, 5.0), strict=True):
        assert begin - 0.2 < found < begin + 0.15


def test_a_model_listens(
    command: Run, whisper_folder: Path, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights satisfy no threshold: one try is enough.
    monkeypatch.setattr(
        "mlx_speech.whisper.transcription_options.TranscriptionOptions.temperatures",
        property(lambda options: (0.0,)),
    )
    given = ("listen", "-m", whisper_folder, "--input", talk, "-q", "-l", "en")
    code, out, err = command(*given)
    assert (code, err) == (0, "")
    assert out.strip()
    assert command(*given) == (0, out, "")


def test_text_goes_to_standard_output(run: Run) -> None:
    code, out, err = run("--input", "talk.wav", "-q")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 3
    assert all(line.endswith(" seconds") for line in out.splitlines())


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_said_is_kept_in_a_file(run: Run, format: str) -> None:
    code, out, err = run("--input", "talk.wav", "-o", f"deep/talk.{format}")
    assert code == 0
    assert f"wrote deep/talk.{format}" in err
    content = Path(f"deep/talk.{format}").read_text()
    assert all(line.strip() in content for line in out.splitlines())


def test_the_file_grows_with_every_utterance(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    add = listen_command.Captions.add

    def watch(captions: listen_command.Captions, *given: object) -> object:
        new = add(captions, *given)  # type: ignore[arg-type]
        sizes.append(Path("talk.txt").stat().st_size)
        return new

    monkeypatch.setattr(listen_command.Captions, "add", watch)
    assert run("--input", "talk.wav", "-o", "talk.txt")[0] == 0
    assert len(sizes) == 3
    assert sizes == sorted(set(sizes))


def test_an_utterance_is_heard_before_the_next_begins(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, _ = soundfile.read(talk, dtype="float32")
    pulled: list[int] = []
    shown: list[int] = []

    def microphone() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), 1600):
            pulled.append(start)
            yield samples[start : start + 1600]

    monkeypatch.setattr(
        listen_command, "open_source", lambda *_: nullcontext(microphone())
    )
    monkeypatch.setattr(
        listen_command, "print_data", lambda _: shown.append(pulled[-1])
    )
    assert run()[0] == 0
    # The pause of 0.6 s and the block that completes it, and no more.
    assert shown[0] / 16000 < 1.2 + 0.7 + 0.6 + 0.3


@pytest.mark.parametrize("seconds", [1.6, 2.2, 3.4])
def test_ctrl_c_ends_it_and_an_open_utterance_is_heard_out(
    run: Run, talk: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    samples, _ = soundfile.read(talk, dtype="float32")

    def microphone() -> Iterator[np.ndarray]:
        for start in range(0, round(seconds * 16000), 1600):
            yield samples[start : start + 1600]
        raise KeyboardInterrupt

    monkeypatch.setattr(
        listen_command, "open_source", lambda *_: nullcontext(microphone())
    )
    code, out, err = run("-v", "-o", "talk.txt")
    assert code == 0
    assert starts(out)[0] < 1.9
    assert "utterance" in err
    lines = [line.split("]")[1].strip() for line in out.splitlines()]
    assert Path("talk.txt").read_text().splitlines() == lines


def test_ctrl_c_amid_an_utterance_keeps_what_was_written_down(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def stop(*given: Any, **options: Any) -> Transcription:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return measure(*given, **options)

    monkeypatch.setattr("mlx_speech.models.transcribe", stop)
    code, out, err = run("--input", "talk.wav", "-o", "talk.txt")
    assert code == 0
    assert "2 utterances" in err
    assert Path("talk.txt").read_text() == out


def test_silence_says_nothing(run: Run) -> None:
    soundfile.write("silence.wav", np.zeros(48000), 16000)
    code, out, err = run("--input", "silence.wav", "-o", "silence.txt")
    assert (code, out) == (0, "")
    assert "0 utterances" in err
    assert Path("silence.txt").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "gone.wav"], "no such audio file"),
        (["--input", "talk.wav", "-o", "talk.doc"], "ends in no format"),
        (["--input", "talk.wav", "-o", "talk.wav/a.txt"], "is a file, not a folder"),
        (["--input", "talk.wav", "-o", "deep.txt"], "is a folder"),
        (["--input", "talk.wav", "--pause", "20"], "does not end utterances"),
        (["--input", "talk.wav", "--language", "germn"], "is not known"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, arguments: list[str], said: str
) -> None:
    Path("deep.txt").mkdir()
    code, out, err = run(*arguments, "-q")
    assert (code, out) == (1, "")
    assert said in err.splitlines()[0]
    assert "Traceback" not in err
