"""`mlx-speech listen`: captions of a stream; a recording stands for the microphone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mlx_speech.cli import listen as listen_command
from mlx_speech.cli.captions import Captions
from mlx_speech.cli.live_sound import RecordedSound
from mlx_speech.errors import SpeechError
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


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[np.ndarray]], None]:
    """Let these blocks be heard instead of any recording or microphone."""

    def replace(blocks: Iterable[np.ndarray]) -> None:
        monkeypatch.setattr(
            listen_command,
            "find_sound",
            lambda *_: lambda: nullcontext(RecordedSound(blocks)),
        )

    return replace


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
    code, out, err = run("--input", "talk.wav", "-q", "-o", "talk.txt")
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
    save = Captions.save

    def watch(captions: Captions) -> None:
        save(captions)
        sizes.append(Path("talk.txt").stat().st_size)

    monkeypatch.setattr(Captions, "save", watch)
    assert run("--input", "talk.wav", "-o", "talk.txt")[0] == 0
    # And once more at the end.
    assert len(sizes) == 4
    assert sizes[:3] == sorted(set(sizes))


def test_an_utterance_is_heard_before_the_next_begins(
    run: Run,
    talk: Path,
    hear: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples, _ = soundfile.read(talk, dtype="float32")
    pulled: list[int] = []
    shown: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), 1600):
            pulled.append(start)
            yield samples[start : start + 1600]

    hear(blocks())
    monkeypatch.setattr(
        "mlx_speech.cli.listening_screen.print_data", lambda _: shown.append(pulled[-1])
    )
    assert run()[0] == 0
    # The pause of 0.6 s and the block that completes it, and no more.
    assert shown[0] / 16000 < 1.2 + 0.7 + 0.6 + 0.3


@pytest.mark.parametrize("seconds", [1.6, 2.2, 3.4])
def test_ctrl_c_ends_it_and_an_open_utterance_is_heard_out(
    run: Run, talk: Path, hear: Callable[..., None], seconds: float
) -> None:
    samples, _ = soundfile.read(talk, dtype="float32")

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), 1600):
            if start == round(seconds * 16000):
                os.kill(os.getpid(), signal.SIGINT)
            yield samples[start : start + 1600]

    hear(blocks())
    code, out, err = run("-v", "-o", "talk.txt")
    assert code == 0
    assert starts(out)[0] < 1.9
    assert len(out.splitlines()) == (1 if seconds < 3.1 else 2)
    assert "ending: what was said is still written down; Ctrl-C again" in err
    assert "utterance" in err
    lines = [line.split("]")[1].strip() for line in out.splitlines()]
    assert Path("talk.txt").read_text().splitlines() == lines


def test_ctrl_c_amid_an_utterance_waits_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: Any, **options: Any) -> Transcription:
        os.kill(os.getpid(), signal.SIGINT)
        return measure(*given, **options)

    monkeypatch.setattr("mlx_speech.models.transcribe", interrupt)
    code, out, err = run("--input", "talk.wav", "-o", "talk.txt")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "1 utterance, " in err
    assert Path("talk.txt").read_text() == out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_stops_and_keeps_what_was_written_down(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def interrupt(*given: Any, **options: Any) -> Transcription:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return measure(*given, **options)

    monkeypatch.setattr("mlx_speech.models.transcribe", interrupt)
    code, out, err = run("--input", "talk.wav", "-o", "talk.txt")
    assert code == 130
    assert "2 utterances" in err
    assert err.splitlines()[-2].startswith("error: stopped; what was said last")
    assert Path("talk.txt").read_text() == out
    assert len(out.splitlines()) == 2


def test_ctrl_c_that_is_meant_for_others_is_not_taken(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: Any, **options: Any) -> Transcription:
        os.kill(os.getpid(), signal.SIGINT)
        return measure(*given, **options)

    monkeypatch.setattr("mlx_speech.models.transcribe", interrupt)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, out, _ = run("--input", "talk.wav")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, len(out.splitlines())) == (0, 3)


def test_a_damaged_recording_is_heard_up_to_there_and_is_an_error(
    run: Run, talk: Path, hear: Callable[..., None]
) -> None:
    samples, _ = soundfile.read(talk, dtype="float32")

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, 3 * 16000, 1600):
            yield samples[start : start + 1600]
        raise SpeechError("the rest is damaged")

    hear(blocks())
    code, out, err = run("-o", "talk.txt")
    assert code == 1
    assert err.splitlines()[-2:] == ["wrote talk.txt", "error: the rest is damaged"]
    assert Path("talk.txt").read_text() == out
    assert len(out.splitlines()) == 1


def test_a_full_disk_loses_no_line_on_the_screen(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(captions: Captions) -> None:
        raise SpeechError("no space left on the disk")

    monkeypatch.setattr(Captions, "save", refuse)
    code, out, err = run("--input", "talk.wav", "-o", "talk.txt", "-q")
    assert code == 1
    assert len(out.splitlines()) == 1
    assert err == "error: no space left on the disk\n"


def test_a_closed_pipe_loses_nothing_of_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("mlx_speech.cli.listening_screen.print_data", refuse)
    assert run("--input", "talk.wav", "-o", "talk.txt")[0] == 1
    assert len(Path("talk.txt").read_text().splitlines()) == 1


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
        (["--input", "talk.wav", "--device", "1"], "--device names a microphone"),
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
