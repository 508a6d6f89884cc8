"""Configurations: defaults, YAML and flags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from mlx_speech.errors import SpeechError
from mlx_speech.training import (
    LoopSettings,
    config_keys,
    dump_config,
    load_config,
    parse_flags,
    setting,
)


@dataclass(frozen=True)
class Optim:
    learning_rate: float = setting(2e-4, "at epoch 0")
    betas: tuple[float, float] = setting((0.8, 0.99), "of AdamW")
    frozen: tuple[str, ...] = setting((), "parts that stay")
    parts: dict[str, float] = setting({}, "rates of single parts")


@dataclass(frozen=True)
class Run:
    data: Path | None = setting(None, "folder of recordings")
    language: str = setting("en", "of the text")
    base: Literal["bundled", "none"] = setting("bundled", "what to start from")
    batch_size: int = setting(16, "items in a step")
    noise: bool = setting(True, "add noise")
    optimizer: Optim = setting(Optim(), "the optimiser")
    slow: Optim = setting(Optim(learning_rate=1e-6), "a second one")
    loop: LoopSettings = setting(LoopSettings(max_steps=100), "the loop")
    rates: tuple[tuple[int, ...], ...] = setting(((1, 3), (5,)), "nested")


def load(text: str, tmp_path: Path, **overrides: Any) -> Run:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(Run, path, overrides)


def test_defaults_then_file_then_flags(tmp_path: Path) -> None:
    text = "batch_size: 8\noptimizer:\n  learning_rate: 1e-5\nslow.learning_rate: 3\n"
    config = load(text, tmp_path)
    assert config == replace(
        Run(), batch_size=8, optimizer=Optim(1e-5), slow=Optim(3.0)
    )
    flags, _ = parse_flags(Run, ["--batch-size", "4", "--optimizer.learning_rate=2e-3"])
    config = load_config(Run, tmp_path / "run.yaml", flags)
    assert (config.batch_size, config.optimizer.learning_rate) == (4, 0.002)
    assert config.slow.learning_rate == 3.0
    assert load_config(Run) == Run()


def test_a_section_keeps_the_defaults_of_the_outer_class(tmp_path: Path) -> None:
    config = load("slow:\n  frozen: [dec]\nloop:\n  seed: 3\n", tmp_path)
    assert config.slow == Optim(learning_rate=1e-6, frozen=("dec",))
    assert config.loop.max_steps == 100 and config.loop.seed == 3
    assert load("optimizer:\n", tmp_path) == Run()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("optimizer: {learning_rate: 1e-5}", "optimizer.learning_rate", 1e-5),
        ("optimizer: {learning_rate: 1}", "optimizer.learning_rate", 1.0),
        ("batch_size: 1e2", "batch_size", 100),
        ("batch_size: '12'", "batch_size", 12),
        ("noise: off", "noise", False),
        ("language: 'no'", "language", "no"),
        ("base: none", "base", "none"),
        ("data: null", "data", None),
        ("data: my voice", "data", Path("my voice")),
        ("optimizer: {betas: [0.9, 9e-1]}", "optimizer.betas", (0.9, 0.9)),
        ("rates: [[1], [2, 3]]", "rates", ((1,), (2, 3))),
        ("optimizer: {parts: {dec: 1e-4}}", "optimizer.parts", {"dec": 1e-4}),
    ],
)
def test_values_are_converted_by_field_type(
    text: str, field: str, value: object, tmp_path: Path
) -> None:
    found: Any = load(text, tmp_path)
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("batchsize: 8", "unknown setting `batchsize`", "did you mean `batch_size`"),
        (
            "optimizer: {learning_rat: 1}",
            "unknown setting `optimizer.learning_rat`",
            "did you mean `optimizer.learning_rate`",
        ),
        ("learning_rate: 1", "`learning_rate`", "did you mean"),
        ("qqqq: 1", "unknown setting `qqqq`", "known settings: data, language"),
        ("batch_size: 1.5", "`batch_size` in `.*` must be a whole number, not 1.5", ""),
        ("batch_size: [1]", "must be a whole number", ""),
        ("batch_size: true", "must be a whole number", ""),
        (f"batch_size: {10**400}", "must be a whole number", "write a number"),
        ("language: no", "must be text, not False", "quotes"),
        ("noise: maybe", "must be true or false", ""),
        ("base: other", "must be one of bundled, none", "choose one of"),
        ("optimizer: {betas: [0.9]}", "betas", "2 values are needed, not 1"),
        ("optimizer: 3", "unknown setting `optimizer`", ""),
        ("loop: {keep: 0}", "`keep` must be at least 1", ""),
        ("- a", "must hold `key: value` lines", ""),
        ("a: [", "not valid YAML", ""),
    ],
)
def test_wrong_configurations_say_what_is_wrong(
    text: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(SpeechError, match=message) as caught:
        load(text, tmp_path)
    assert hint in caught.value.hint


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match=r"absent\.yaml"):
        load_config(Run, tmp_path / "absent.yaml")


def test_a_missing_setting_is_named() -> None:
    @dataclass
    class Needs:
        data: str

    with pytest.raises(SpeechError, match="`data` must be given"):
        load_config(Needs)


def test_flags() -> None:
    arguments = [
        *("--noise", "--seed", "7", "--data", "a b", "--max-steps=none"),
        *("--optimizer.betas", "0.5,0.9", "--slow.frozen", "enc_p, dec"),
        *("--optimizer.parts", "{dec: 1e-4}", "--rates", "[[1, 2], [3]]"),
    ]
    values, others = parse_flags(Run, arguments)
    assert not others and values == {
        "noise": True,
        "loop.seed": 7,
        "data": Path("a b"),
        "loop.max_steps": None,
        "optimizer.betas": (0.5, 0.9),
        "slow.frozen": ("enc_p", "dec"),
        "optimizer.parts": {"dec": 1e-4},
        "rates": ((1, 2), (3,)),
    }
    assert parse_flags(Run, ["--no-noise"]) == ({"noise": False}, [])
    assert parse_flags(Run, ["--noise", "false"]) == ({"noise": False}, [])
    negative = {"optimizer.learning_rate": -1.0}
    assert parse_flags(Run, ["--optimizer.learning-rate", "-1"]) == (negative, [])


def test_arguments_between_flags_are_told_apart_from_values() -> None:
    arguments = ["--batch-size", "4", "a b", "--noise", "c", "--", "--seed", "d"]
    values, others = parse_flags(Run, arguments)
    assert values == {"batch_size": 4, "noise": True}
    assert others == ["a b", "c", "--seed", "d"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rate", "1"], "could be any of"),
        (["--batch-sise", "1"], "did you mean `batch_size`"),
        (["--batch-size"], "needs a value"),
        (["--no-batch-size"], "unknown flag `--no-batch-size`"),
        (["--batch-size", "many"], "must be a whole number"),
        (["--noise=maybe"], "must be true or false"),
        (["--batch-size", "1", "--batch_size=2"], "is given twice"),
        (["-b", "1"], "unknown flag `-b`"),
    ],
)
def test_wrong_flags_say_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        parse_flags(Run, arguments)


def test_a_dump_is_commented_and_reads_back_equal(tmp_path: Path) -> None:
    config = replace(
        Run(),
        data=Path("/a: b/ü"),
        language="no",
        optimizer=Optim(1e-5, parts={"dec": 1e-6}),
    )
    text = dump_config(config)
    assert load(text, tmp_path) == config
    assert yaml.safe_load(text)["optimizer"]["learning_rate"] == 1e-5
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("#"):
            assert lines[number - 1].lstrip().startswith("# "), line
    assert "  # at epoch 0\n  learning_rate: 1.0e-05" in text


def test_every_key_is_listed_with_default_and_help() -> None:
    keys = {key.name: key for key in config_keys(Run)}
    assert keys["slow.learning_rate"].default == 1e-6
    assert keys["loop.max_steps"].default == 100
    assert all(key.help for key in keys.values())
