"""The one exception that a user is meant to read."""

from __future__ import annotations


class SpeechError(Exception):
    """Something that the person at the keyboard can act on.

    The library raises it, the command line prints it as one ``error:`` line and,
    when there is a hint, one ``hint:`` line, and exits with ``exit_code``.

    Args:
        message: what is wrong, one sentence with the values in it, no full stop.
        hint: what to do about it, in the imperative.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message
