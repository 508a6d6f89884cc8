"""How a run over many files ends: what failed, and how to go on after a stop."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from mlx_speech.errors import SpeechError

STOPPED = 130
# Errors after which every other file would be in vain.
_IN_VAIN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_in_vain(error: SpeechError) -> bool:
    """Whether nothing else could be written either."""
    return getattr(error.__cause__, "errno", None) in _IN_VAIN


def plain_failure(source: str, error: OSError) -> SpeechError:
    """An error of the system that nobody expected, in words.

    Raises:
        BrokenPipeError: it was that one: nobody reads what is printed any more.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    return SpeechError(f"`{source}`: {error.strerror or error}")


def broken_off(title: str, seconds: float) -> str:
    """What to say of a recording that lacks so many seconds of what it announces."""
    return (
        f"`{title}` breaks off: the last {seconds:.1f} s that its header announces "
        "are missing"
    )


def some_failed(failures: Sequence[tuple[str, SpeechError]], total: int) -> SpeechError:
    """The last line of a run in which something failed, and was said then."""
    from mlx_speech.corpus import listed

    names = listed(f"`{source}`" for source, _ in failures)
    return SpeechError(f"{len(failures)} of {total} failed: {names}")


def stopped(done: int, total: int, how_to_go_on: str) -> SpeechError:
    """The last line of a run that Ctrl-C has stopped."""
    error = SpeechError(f"stopped; {done} of {total} recordings are done", how_to_go_on)
    error.exit_code = STOPPED
    return error
