"""Groups of flags that several commands share: a dataclass, whose fields are the flags.

Typer reads one function's parameters; thirty of them make no readable signature. A
command decorated with ``grouped`` takes such dataclasses as parameters instead.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.text import Text

# How openai-whisper's users switch flags: `--word_timestamps True`.
SPELLED = {"true": True, "false": False}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of flags.

    Args:
        command: a function as typer takes it. Each field of a parameter's dataclass is
            ``name: Annotated[type, typer.Option(...)] = default``.

    Returns:
        A function with a parameter for each field in the place of the dataclasses.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and is_dataclass(kind):
            groups[parameter.name] = kind
            parameters += _flags(kind)
        else:
            parameters.append(
                parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
            )

    def run(**values: Any) -> None:
        for name, kind in groups.items():
            own = {field.name: values.pop(field.name) for field in fields(kind)}
            values[name] = kind(**own)
        command(**values)

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__module__ = command.__module__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _flags(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]


class SwitchCommand(TyperCommand):
    """A command whose switches may be spelled ``--flag True`` and ``--flag False``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help; names too long for a narrow terminal are folded, not cut."""
        from typer import rich_utils

        for name in ("highlighter", "negative_highlighter"):
            paint = getattr(rich_utils, name)
            if not isinstance(paint, _Folded):
                setattr(rich_utils, name, _Folded(paint))
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, those spellings replaced by typer's own."""
        return super().parse_args(ctx, self._plain(ctx, args))

    def _plain(self, ctx: Any, args: Sequence[str]) -> list[str]:
        switches = {
            flag: parameter
            for parameter in self.params
            if getattr(parameter, "is_flag", False)
            for flag in parameter.opts
        }
        plain: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            if word == "--":
                return [*plain, word, *rest]
            name = word.replace("_", "-") if word.startswith("--") else word
            wanted = SPELLED.get(rest[0].lower()) if rest else None
            if name not in switches or wanted is None:
                plain.append(word)
                continue
            rest.pop(0)
            if wanted:
                plain.append(word)
            else:
                plain += switches[name].secondary_opts[:1]
        return plain


class _Folded:
    """What paints the names of flags, told to go on in the next line."""

    def __init__(self, paint: Callable[[str], Text]) -> None:
        self._paint = paint

    def __call__(self, names: str) -> Text:
        text = self._paint(names)
        text.overflow = "fold"
        return text


def number_or_none(text: Any) -> float | None:
    """A finite number, or ``None`` as openai-whisper's users switch a limit off.

    Raises:
        ValueError: neither.
    """
    if str(text).lower() in ("none", ""):
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not finite")
    return number


def whole_or_none(text: Any) -> int | None:
    """A whole number, or ``None``.

    Raises:
        ValueError: neither.
    """
    if str(text).lower() in ("none", ""):
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None


def at_least(least: int, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``parse``, which is one of the two above, with a least number."""

    def parse_limited(text: Any) -> Any:
        number = parse(text)
        if number is not None and number < least:
            raise ValueError(f"{text} is less than {least}")
        return number

    return parse_limited


def size_in_bytes(text: Any) -> int:
    """A size such as ``800MB``, ``6 GB``, ``1.5g``; a number alone is of gigabytes.

    Raises:
        ValueError: something else, nothing at all of it, or more than can be counted.
    """
    found = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)i?b?\s*", str(text).lower())
    if found is None:
        raise ValueError(f"{text!r} is no size like 6GB")
    number, unit = found.groups()
    size = float(number) * 1000 ** ("kmgt".index(unit or "g") + 1)
    if not 1 <= size < math.inf:
        raise ValueError(f"{text!r} is no size of a memory")
    return int(size)
