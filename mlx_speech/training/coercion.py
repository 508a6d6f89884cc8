"""Values from YAML or flags, converted to the type that a dataclass field names."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null", "")


def coerce(value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation``: bool, int, float, str, Path, Literal, None, and
    tuple, list, dict and unions of them.

    Raises:
        ValueError: it cannot be converted without loss; the text says what would do.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        return _coerce_union(value, arguments)
    if origin is Literal:
        return _coerce_literal(value, arguments)
    if origin in (tuple, list) or annotation in (tuple, list):
        return _coerce_sequence(value, origin or annotation, arguments)
    if origin in (dict, Mapping) or annotation is dict:
        return _coerce_mapping(value, arguments)
    scalars = {bool: _bool, int: _int, float: _float, str: _str, Path: _path}
    if annotation not in scalars:
        raise TypeError(f"settings of type {annotation} are not supported")
    return scalars[annotation](value)


def is_bool(text: str) -> bool:
    """Whether ``text`` spells a truth value."""
    return text.lower() in _TRUE + _FALSE


def type_name(annotation: Any) -> str:
    """The type in words for an error message."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (tuple, list):
        inner = [type_name(a) for a in arguments if a is not Ellipsis]
        return "a list of " + " and ".join(dict.fromkeys(inner))
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        type(None): "none",
    }
    return words.get(annotation, str(annotation))


def _coerce_union(value: Any, arguments: tuple[Any, ...]) -> Any:
    if type(None) in arguments and (
        value is None or (isinstance(value, str) and value.lower() in _NONE)
    ):
        return None
    problems = []
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return coerce(value, argument)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))


def _coerce_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice or str(value) == str(choice):
            return choice
    raise ValueError(f"choose one of {', '.join(map(str, choices))}")


def _coerce_sequence(value: Any, kind: type, arguments: tuple[Any, ...]) -> Any:
    if isinstance(value, str):
        # "1,2,3" and "[1, 2, 3]" are both what people type after a flag.
        text = value if value.strip().startswith("[") else f"[{value}]"
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError("write a list as `1,2,3` or `[1, 2, 3]`") from error
    if not isinstance(value, list | tuple):
        raise ValueError("write a list as `1,2,3` or `[1, 2, 3]`")
    if kind is tuple and arguments and Ellipsis not in arguments:
        if len(value) != len(arguments):
            raise ValueError(f"{len(arguments)} values are needed, not {len(value)}")
        return tuple(coerce(v, a) for v, a in zip(value, arguments, strict=True))
    inner = arguments[0] if arguments else Any
    return kind(coerce(item, inner) for item in value)


def _coerce_mapping(value: Any, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value if value.strip() else "{}")
        except yaml.YAMLError as error:
            raise ValueError("write a mapping as `{name: value}`") from error
    if not isinstance(value, Mapping):
        raise ValueError("write a mapping as `{name: value}`")
    key_type, value_type = arguments or (Any, Any)
    return {coerce(k, key_type): coerce(v, value_type) for k, v in value.items()}


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("write true or false")


def _int(value: Any) -> int:
    number = _float(value)
    if isinstance(value, int):
        return value
    if not number.is_integer():
        raise ValueError("write a whole number")
    return int(value) if isinstance(value, str) and value.isdigit() else int(number)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("write a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError("write a number such as 200 or 2e-4") from None


def _str(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        # YAML 1.1 reads bare no, on, yes as booleans.
        raise ValueError("put the text in quotes")
    return str(value)


def _path(value: Any) -> Path:
    if isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ValueError("write a path")
