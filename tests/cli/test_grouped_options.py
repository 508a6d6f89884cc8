"""Commands whose flags come from dataclasses, and switches with a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from mlx_speech.cli.grouped_options import (
    SwitchCommand,
    grouped,
    number_or_none,
    whole_or_none,
)

SEEN: list[Any] = []


@dataclass(frozen=True)
class Flags:
    """Some flags."""

    size: Annotated[int, typer.Option("--size", "-s", help="How large.")] = 3
    loud: Annotated[bool, typer.Option("--loud", "-l")] = False
    kind: Annotated[bool, typer.Option("--kind/--no-kind")] = True
    limit: Annotated[
        float | None, typer.Option(parser=number_or_none, metavar="NUMBER")
    ] = 2.5


@grouped
def command(
    names: Annotated[list[str], typer.Argument()],
    flags: Flags,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
) -> None:
    """Do nothing."""
    SEEN.append((names, flags, quiet))


app = typer.Typer()
app.command(
    cls=SwitchCommand,
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
)(command)


def called(*arguments: str) -> Any:
    SEEN.clear()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return SEEN[0]


def test_fields_are_flags() -> None:
    assert called("a") == (["a"], Flags(), False)
    given = called("a", "--size", "5", "b", "-l", "--no-kind", "--quiet")
    assert given == (["a", "b"], Flags(5, True, False), True)


def test_flags_are_in_the_help() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "Do nothing." in shown
    for expected in ("--size", "-s", "How large.", "default: 3", "--no-kind"):
        assert expected in shown


@pytest.mark.parametrize("columns", [80, 100])
def test_no_name_of_a_flag_is_cut_off_in_the_help(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    from mlx_speech.cli import main

    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ("transcribe", "listen", "prepare"):
        shown = CliRunner().invoke(main.app, [command, "--help"]).output
        assert "--model" in shown
        assert "…" not in shown


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["--loud", "True"], Flags(loud=True)),
        (["-l", "true"], Flags(loud=True)),
        (["--loud", "False"], Flags()),
        (["--kind", "False"], Flags(kind=False)),
        (["--kind", "True"], Flags()),
        (["--limit", "None"], Flags(limit=None)),
        (["--limit", "7"], Flags(limit=7.0)),
    ],
)
def test_values_as_openai_whispers_users_spell_them(
    arguments: list[str], flags: Flags
) -> None:
    assert called("a", *arguments) == (["a"], flags, False)
    assert called(*arguments, "a") == (["a"], flags, False)


def test_a_name_is_no_value_of_a_switch() -> None:
    assert called("--loud", "Trueman.wav")[0] == ["Trueman.wav"]
    assert called("True", "--loud")[0] == ["True"]
    assert called("--loud", "--", "True")[0] == ["True"]


def test_what_is_no_number_is_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["a", "--limit", "few"])
    assert result.exit_code == 2
    assert "'few' is no number" in result.output


def test_what_is_no_whole_number_is_said_in_plain_words() -> None:
    for text in ("1.5", "few"):
        with pytest.raises(ValueError, match=f"^'{text}' is no whole number$"):
            whole_or_none(text)
    assert [whole_or_none(text) for text in ("7", "None", "")] == [7, None, None]
