"""`mlx-speech` as a whole: help, spelling, errors, exit codes, speed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import mlx_speech
from mlx_speech.cli import doctor
from mlx_speech.errors import SpeechError

Run = Callable[..., tuple[int, str, str]]

COMMANDS = {
    "transcribe": [],
    "ask": [],
    "listen": [],
    "prepare": [],
    "check-data": [],
    "train-vits": [],
    "train-whisper": [],
    "speak": [],
    "convert": [],
    "verify-kernels": [],
    "doctor": [],
    "fft": ["train", "quantize", "eval", "export"],
    "bench": ["conv", "train", "voice", "voxtral", "fft"],
}
ALL = [[name] for name in COMMANDS] + [
    [name, inner] for name, names in COMMANDS.items() for inner in names
]


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_SPEECH_DEBUG", raising=False)


def fail_with(error: BaseException) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


def test_help_names_every_command_and_the_exit_codes(command: Run) -> None:
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    listed = set(re.findall(r"^│ ([a-z][a-z-]+) ", out, flags=re.MULTILINE))
    assert listed == set(COMMANDS)
    words = " ".join(out.split())
    for promise in ("0 all done", "1 something could not", "2 wrong usage", "130 stop"):
        assert promise in words
    assert command("-h") == (0, out, "")


def test_no_command_shows_the_help(command: Run) -> None:
    code, out, err = command()
    assert code in (0, 2)  # versions of typer disagree
    assert "train-vits" in out + err
    code, out, err = command("bench")
    assert code in (0, 2)
    assert "conv" in out + err


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_of_every_command_has_an_example(command: Run, words: list[str]) -> None:
    code, out, err = command(*words, "--help")
    assert (code, err) == (0, "")
    assert "Example" in out
    assert f"mlx-speech {words[0]}" in out.split("Example")[-1]


def test_help_shows_defaults_and_variables(command: Run) -> None:
    shown = " ".join(re.sub("[│]", " ", command("speak", "--help")[1]).split())
    for expected in (
        "[default: 1.0]",
        "[default: first]",
        "[default: its own]",
        "MLX_SPEECH_VOICE",
    ):
        assert expected in shown
    for words, default in (
        (["check-data"], "22050"),
        (["convert"], "float32"),
        (["train-vits"], "runs/NAME"),
        (["bench", "train"], "demo"),
        (["bench", "conv"], "5"),
    ):
        assert f"[default: {default}]" in command(*words, "--help")[1]


def test_the_version_is_printed(command: Run) -> None:
    expected = f"mlx-speech {mlx_speech.__version__}\n"
    assert version("mlx-speech") == mlx_speech.__version__
    assert command("--version") == (0, expected, "")
    assert command("-V") == (0, expected, "")


@pytest.mark.parametrize("dash", ["-", "_"])
def test_dashes_and_underscores_are_the_same(
    command: Run, tmp_path: Path, dash: str
) -> None:
    flag = f"--output{dash}dir"
    given = (flag, str(tmp_path / "run_1"), f"--print{dash}config")
    code, out, err = command(f"train{dash}vits", "data_1", *given)
    assert (code, err) == (0, "")
    assert "data: data_1\n" in out
    given = (f"--batch{dash}size", "3", f"--print{dash}config")
    assert "batch_size: 3\n" in command("train-vits", "data", *given)[1]
    code, _, err = command("speak", "Hi", f"--noise{dash}scale", "0.5")
    assert code == 1
    assert "no voice is chosen" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sing"], "No such command"),
        (["speak", "--nonsense"], "--nonsense"),
        (["speak", "Hi", "--speed", "fast"], "--speed"),
        (["convert", "somewhere"], "--to"),
        (["bench", "nothing"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2(
    command: Run, arguments: list[str], said: str
) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_what_can_be_acted_on_is_one_error_and_one_hint(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = SpeechError("the cat sits on [it]", "lift the cat")
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(error),))
    expected = "error: the cat sits on [it]\nhint: lift the cat\n"
    assert command("doctor") == (1, "", expected)
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(SpeechError("no more")),))
    assert command("doctor") == (1, "", "error: no more\n")


def test_an_error_may_choose_its_exit_code(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = SpeechError("stopped on the way")
    error.exit_code = 130
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(error),))
    assert command("doctor") == (130, "", "error: stopped on the way\n")


def test_debugging_shows_where_an_error_arose(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_SPEECH_DEBUG", "1")
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(SpeechError("oh")),))
    with pytest.raises(SpeechError, match="oh"):
        command("doctor")


def test_a_fault_of_ours_is_not_hidden(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(ZeroDivisionError()),))
    with pytest.raises(ZeroDivisionError):
        command("doctor")


def test_ctrl_c_exits_with_130(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(KeyboardInterrupt()),))
    code, out, err = command("doctor")
    assert (code, out) == (130, "")
    assert err.strip() == "error: stopped"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError(2, "No such file", "a/b"), "`a/b`: No such file"),
        (MemoryError("Unable to allocate 9 GiB for an array with shape"), "9 GiB"),
        (MemoryError(), "the memory of this machine is not enough"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    command: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (fail_with(error),))
    code, out, err = command("doctor")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert said in err
    monkeypatch.setenv("MLX_SPEECH_DEBUG", "1")
    with pytest.raises(type(error)):
        command("doctor")


def test_a_signal_exits_with_130(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from mlx_speech.cli import doctor, main\n"
        "doctor.CHECKS = (lambda: os.kill(os.getpid(), signal.SIGINT),)\n"
        "sys.argv = ['mlx-speech', 'doctor']\n"
        "main.main()\n"
    )
    done = run_python(["-c", code], tmp_path)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.strip() == "error: stopped"


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    line = f"'{sys.executable}' -m mlx_speech train-vits x --print-config | true"
    done = subprocess.run(
        line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = run_python(["-m", "mlx_speech", "speak", "Hi"], tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: no voice is chosen\nhint: ")


def test_no_colours_without_a_terminal(tmp_path: Path) -> None:
    for words in (["--help"], ["doctor"], ["nonsense"]):
        done = run_python(["-m", "mlx_speech", *words], tmp_path, COLUMNS="100")
        assert "\x1b" not in done.stdout + done.stderr


def test_the_command_line_starts_quickly(tmp_path: Path) -> None:
    """0.6 s are promised; processor time, the best of three on a busy machine."""
    times = []
    for _ in range(3):
        before = os.times()
        run_python(["-m", "mlx_speech", "--help"], tmp_path)
        after = os.times()
        times.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    assert min(times) < 0.6


def run_python(
    arguments: list[str], cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Python outside of the checkout, where ``mlx_speech/`` would hide the install."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
