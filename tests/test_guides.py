"""The guides: every command, flag, extra and linked file that they name exists, and
every file of a package is named in its guide.

Values are not checked: the guides speak of folders that the reader has.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mlx_speech.cli import main as command_line
from mlx_speech.training.config import config_keys
from mlx_speech.vits.training_config import VitsTrainConfig
from mlx_speech.whisper.training_config import WhisperTrainConfig

ROOT = Path(__file__).resolve().parents[1]
# Commands whose settings are flags too.
SETTINGS = {"train-vits": VitsTrainConfig, "train-whisper": WhisperTrainConfig}
FOLDERS = ("", "mlx_speech", "cli", "metal_kernels", "weights", "tests")
GUIDES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).glob("**/*.md" if folder else "*.md")
)
PROGRAM = "mlx-speech"
# Where one command ends and the shell goes on.
SEPARATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"}
FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
every_guide = pytest.mark.parametrize(
    "guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT))
)


def calls_in(text: str) -> Iterator[list[str]]:
    """Arguments of every ``mlx-speech`` call in fenced blocks and in code spans."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _calls(line)
    for span in re.findall(r"`([^`]+)`", FENCE.sub("", text)):
        yield from _calls(span)


def _calls(line: str) -> Iterator[list[str]]:
    if PROGRAM not in line:
        return
    words = shlex.split(line, comments=True)
    for start, word in enumerate(words):
        if word == PROGRAM and (start == 0 or words[start - 1] in {*SEPARATORS, "$"}):
            call = words[start + 1 :]
            ends = [place for place, each in enumerate(call) if each in SEPARATORS]
            yield call[: ends[0]] if ends else call


def fault(arguments: list[str]) -> str:
    """What is wrong with a call: a command or a flag that does not exist; or ""."""
    command: Any = typer.main.get_command(command_line.app)
    known = {"-h", "--help"}
    words = list(arguments)
    while hasattr(command, "commands"):
        known |= _flags(command)
        while words and words[0] in known:
            words.pop(0)
        if not words:
            return ""
        name = words.pop(0).replace("_", "-")
        if name.isupper():  # stands for one of them
            return ""
        if name not in command.commands:
            return f"no command `{name}`"
        command = command.commands[name]
    known = {"-h", "--help"} | _flags(command)
    if command.name in SETTINGS:
        names = [key.name for key in config_keys(SETTINGS[command.name])]
        known |= {f"--{no}{n}".replace("_", "-") for n in names for no in ("", "no-")}
    for word in words:
        flag = word.split("=")[0].replace("_", "-")
        if re.match("--?[a-zA-Z]", flag) and flag not in known:
            return f"`{command.name}` has no flag `{flag}`"
    return ""


def _flags(command: Any) -> set[str]:
    return {
        flag
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


@every_guide
def test_commands_in_guides_exist(guide: Path) -> None:
    calls = list(calls_in(guide.read_text(encoding="utf-8")))
    faults = {shlex.join(call): problem for call in calls if (problem := fault(call))}
    assert not faults


def test_the_readme_shows_both_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {call[0] for call in calls_in(text) if call}
    assert commands >= {"train-vits", "speak", "check-data", "doctor"}
    assert ["train-vits", "--demo"] in list(calls_in(text))
    blocks = " ".join(FENCE.findall(text))
    assert "pip install -e '.[test]' && pytest" in blocks


def _commands(command: Any, path: str = PROGRAM) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def test_examples_in_the_help_exist() -> None:
    for path, command in _commands(typer.main.get_command(command_line.app)):
        epilog = command.epilog
        spans = re.findall(r"`([^`]+)`", epilog)
        lines = [line.strip() for line in epilog.splitlines() if "`" not in line]
        calls = [call for line in spans + lines for call in _calls(line)]
        assert calls, f"`{path} --help` shows no example"
        assert not [problem for call in calls if (problem := fault(call))], path


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("train-vits x --max-steps 3 --learning_rate=1 --no-use-sdp", ""),
        ("speak - --voice RUN -o out.wav --speed -1", ""),
        ("bench train --shapes paper", ""),
        ("--version", ""),
        ("", ""),
        ("bench NAME", ""),
        ("sing", "no command `sing`"),
        ("bench sing", "no command `sing`"),
        ("speak Hi --max-steps 3", "`speak` has no flag `--max-steps`"),
        ("train-vits --max-step 3", "`train-vits` has no flag `--max-step`"),
        ("doctor -x", "`doctor` has no flag `-x`"),
    ],
)
def test_what_does_not_exist_is_noticed(call: str, expected: str) -> None:
    assert fault(shlex.split(call)) == expected


def test_calls_are_found_in_text() -> None:
    text = (
        "Say `mlx-speech doctor --json`, not `mlx-speech-2 x`.\n"
        "```\n$ pip install x && mlx-speech a --b \\\n  'c d' | mlx-speech e # f\n```\n"
    )
    assert list(calls_in(text)) == [["a", "--b", "c d"], ["e"], ["doctor", "--json"]]


@every_guide
def test_extras_in_guides_exist(guide: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^([a-z]+) = \[", section, re.MULTILINE))
    named = re.findall(r"'\.\[([a-z,]+)\]'", guide.read_text(encoding="utf-8"))
    assert {extra for names in named for extra in names.split(",")} <= extras


@pytest.mark.parametrize(
    "guide",
    sorted((ROOT / "mlx_speech").glob("*/README.md")),
    ids=lambda p: p.parent.name,
)
def test_the_guide_of_a_package_names_all_of_its_files(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    files = {path.name for path in guide.parent.glob("*.py")} - {"__init__.py"}
    missing = [name for name in files if not re.search(rf"\b{re.escape(name)}", text)]
    assert not missing
    rows = re.findall(r"^\| ([^|]*\.py`?) \|", text, re.MULTILINE)
    assert rows
    named = {name for row in rows for name in re.findall(r"\w+\.py", row)}
    assert named <= files


@every_guide
def test_links_between_files_lead_somewhere(guide: Path) -> None:
    text = FENCE.sub("", guide.read_text(encoding="utf-8"))
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [link for link in links if link and "://" not in link]
    assert not [link for link in local if not (guide.parent / link).exists()]
