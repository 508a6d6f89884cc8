"""Run configurations: dataclass defaults <- YAML file <- command-line flags.

Any dataclass serves; a field that is a dataclass itself gives dotted keys
("optimizer.learning_rate"). Unknown keys are refused with a suggestion. Values are
converted by field type, since YAML 1.1 reads ``1e-5`` as text and ``no`` as false.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from mlx_speech.errors import SpeechError
from mlx_speech.training.coercion import coerce, is_bool, type_name

Config = TypeVar("Config")


def setting(default: Any, help: str) -> Any:
    """A dataclass field with a one-line explanation, for dumps and help texts."""
    if isinstance(default, list | dict | set) or dataclasses.is_dataclass(default):
        return dataclasses.field(
            default_factory=lambda: default, metadata={"help": help}
        )
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ConfigKey:
    """One key of a configuration.

    Attributes:
        name: dotted.
        annotation: the field's type.
        default: ``dataclasses.MISSING`` when the key must be given.
        help: from ``setting``.
    """

    name: str
    annotation: Any
    default: Any
    help: str


def config_keys(kind: type) -> list[ConfigKey]:
    """Every key of the dataclass ``kind``, nested ones dotted, in field order."""
    return list(_keys(kind, "", dataclasses.MISSING))


def load_config(
    kind: type[Config],
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Build a configuration from defaults, a YAML file and overrides, in this order.

    Args:
        kind: the dataclass.
        path: a YAML file with nested or dotted keys.
        overrides: dotted keys, for example from :func:`parse_flags`.

    Raises:
        SpeechError: the file cannot be read, or a key or value is wrong.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values.update(config_values(kind, read_yaml(path), f"`{path}`"))
    values.update(config_values(kind, overrides or {}, "the command line"))
    return build_config(kind, values)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        SpeechError: unreadable, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpeechError(
            f"the configuration `{path}` cannot be read: {error.strerror}",
            "check the path given to `--config`",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise SpeechError(f"`{path}` is not valid YAML: {where}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SpeechError(f"`{path}` must hold `key: value` lines")
    return content


def config_values(
    kind: type, mapping: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Flatten ``mapping`` to dotted keys of ``kind``, with values of the right type.

    Raises:
        SpeechError: an unknown key or an unusable value; ``source`` is named.
    """
    keys = {key.name: key for key in config_keys(kind)}
    values = {}
    for name, value in _flat(mapping, keys, ""):
        if name not in keys:
            raise SpeechError(
                f"unknown setting `{name}` in {source}", _suggestion(name, keys)
            )
        try:
            values[name] = coerce(value, keys[name].annotation)
        except ValueError as error:
            wanted = type_name(keys[name].annotation)
            raise SpeechError(
                f"`{name}` in {source} must be {wanted}, not {value!r}", str(error)
            ) from error
    return values


def build_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """An instance of ``kind`` with ``values`` (dotted keys) over its defaults."""
    return _build(kind, values, "", None)


def parse_flags(
    kind: type, arguments: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Read ``--key value``, ``--key=value``, ``--key`` and ``--no-key`` arguments.

    Dashes and underscores are the same. The last part of a dotted key suffices when
    no other key ends in it. ``--key`` and ``--no-key`` alone are for booleans.

    Returns:
        The settings by dotted key, and the arguments that belong to no flag; after
        ``--`` all do not.

    Raises:
        SpeechError: an unknown or ambiguous flag, a flag that is given twice, or a
            value that does not fit.
    """
    keys = {key.name: key for key in config_keys(kind)}
    found: dict[str, Any] = {}
    others: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":
            others += remaining
            break
        if not argument.startswith("-") or argument == "-":
            others.append(argument)
            continue
        flag, equals, value = argument[2:].partition("=")
        name = _resolve(flag, keys) if argument.startswith("--") else None
        negated = None
        if name is None and flag.startswith("no-") and not equals:
            negated = _resolve(flag[3:], keys)
            if negated is not None and keys[negated].annotation is not bool:
                negated = None
        key = name or negated
        if key is None:
            raise SpeechError(
                f"unknown flag `{argument.partition('=')[0]}`",
                _suggestion(flag.replace("-", "_"), keys),
            )
        if key in found:
            raise SpeechError(f"`{argument}` is given twice", "give each setting once")
        if negated is not None:
            found[key] = False
        elif equals:
            found[key] = value
        elif keys[key].annotation is bool:
            spelled = bool(remaining) and is_bool(remaining[0])
            found[key] = remaining.pop(0) if spelled else True
        elif remaining:
            found[key] = remaining.pop(0)
        else:
            raise SpeechError(f"`--{flag}` needs a value")
    return config_values(kind, found, "the command line"), others


def dump_config(config: Any) -> str:
    """YAML text of a configuration, each key under a comment that explains it.

    ``load_config`` reads it back to an equal configuration.
    """
    return "\n".join(_dump(config, 0)) + "\n"


def _keys(kind: type, prefix: str, instance: Any) -> Iterator[ConfigKey]:
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        default = _default(field)
        if instance is not dataclasses.MISSING:
            default = getattr(instance, field.name)
        annotation, name = hints[field.name], f"{prefix}{field.name}"
        if _is_section(annotation):
            yield from _keys(annotation, f"{name}.", default)
        else:
            yield ConfigKey(name, annotation, default, field.metadata.get("help", ""))


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _flat(
    mapping: Mapping[str, Any], keys: Mapping[str, ConfigKey], prefix: str
) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        is_section = any(known.startswith(f"{name}.") for known in keys)
        if is_section and isinstance(value, Mapping):
            yield from _flat(value, keys, f"{name}.")
        elif not (is_section and value is None):
            yield name, value


def _build(kind: type, values: Mapping[str, Any], prefix: str, present: Any) -> Any:
    hints = get_type_hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):
        name, annotation = f"{prefix}{field.name}", hints[field.name]
        default = _default(field) if present is None else getattr(present, field.name)
        if _is_section(annotation):
            inner = None if default is dataclasses.MISSING else default
            arguments[field.name] = _build(annotation, values, f"{name}.", inner)
        elif name in values:
            arguments[field.name] = values[name]
        elif default is dataclasses.MISSING:
            raise SpeechError(f"the setting `{name}` must be given")
        else:
            arguments[field.name] = default
    return kind(**arguments)


def _resolve(flag: str, keys: Mapping[str, ConfigKey]) -> str | None:
    wanted = flag.replace("-", "_")
    if wanted in keys:
        return wanted
    matches = [name for name in keys if name.endswith(f".{wanted}")]
    if len(matches) > 1:
        raise SpeechError(
            f"`--{flag}` could be any of {matches}", "write the whole key"
        )
    return matches[0] if matches else None


def _suggestion(name: str, keys: Mapping[str, ConfigKey]) -> str:
    candidates = {key: key for key in keys}
    candidates.update({key.rsplit(".", 1)[-1]: key for key in keys if "." in key})
    last = name.rsplit(".", 1)[-1]
    for wanted in (name, last):
        near = difflib.get_close_matches(wanted, candidates, n=1)
        if near:
            return f"did you mean `{candidates[near[0]]}`"
    return f"known settings: {', '.join(keys)}"


def _dump(config: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        help = field.metadata.get("help", "")
        if help:
            yield f"{pad}# {help}"
        if dataclasses.is_dataclass(value):
            yield f"{pad}{field.name}:"
            yield from _dump(value, depth + 1)
        else:
            text = yaml.safe_dump(
                _plain(value), default_flow_style=True, width=10**6, allow_unicode=True
            )
            yield f"{pad}{field.name}: {text.removesuffix('...' + chr(10)).strip()}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
