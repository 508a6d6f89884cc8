"""Playing a file with the first player that is installed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_speech.cli.player import PLAYERS, find_player, play
from mlx_speech.errors import SpeechError

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a player of ours, and no other program, where programs are looked for.

    It writes its arguments to ``called.json``, and to standard error what it is told.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def add(name: str, says: str = "", exit_code: int = 0) -> Path:
        script = programs / name
        script.write_text(
            f"#!{sys.executable}\n"
            "import json, sys\n"
            f"open({str(tmp_path / 'called.json')!r}, 'w').write("
            "json.dumps(sys.argv[1:]))\n"
            f"sys.stderr.write({says!r})\n"
            f"sys.exit({exit_code})\n"
        )
        script.chmod(0o755)
        return script

    return add


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "a sound ü.wav"
    path.write_bytes(b"RIFF")
    return path


@pytest.mark.parametrize("player", PLAYERS, ids=lambda player: player[0])
def test_each_player_gets_its_arguments_and_the_file(
    install: Install, sound: Path, tmp_path: Path, player: tuple[str, ...]
) -> None:
    name, *arguments = player
    script = install(name)
    assert find_player() == [str(script), *arguments]
    play(sound)
    called = json.loads((tmp_path / "called.json").read_text())
    assert called == [*arguments, str(sound)]


def test_the_first_of_several_is_taken(install: Install) -> None:
    install("ffplay")
    script = install("aplay")
    assert find_player() == [str(script), "-q"]


def test_without_a_player_it_is_said_what_to_install(
    install: Install, sound: Path
) -> None:
    assert find_player() == []
    with pytest.raises(SpeechError, match="no audio player was found") as caught:
        play(sound)
    for name in ("afplay", "aplay", "ffplay"):
        assert name in caught.value.hint


def test_a_program_that_may_not_be_run_is_no_player(install: Install) -> None:
    install("aplay").chmod(0o644)
    assert find_player() == []


@pytest.mark.parametrize(
    ("says", "reason"),
    [("warning\naudio open error: no device\n", "no device"), ("", "no reason given")],
)
def test_a_failing_player_says_why(
    install: Install, sound: Path, says: str, reason: str
) -> None:
    script = install("aplay", says, exit_code=1)
    with pytest.raises(SpeechError) as caught:
        play(sound)
    message = caught.value.message
    assert f"`{script}` could not play `{sound}`" in message
    assert message.endswith(reason)
    assert os.linesep not in message
