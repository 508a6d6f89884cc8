"""Ctrl-C and SIGTERM end a run between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from mlx_speech.errors import SpeechError


class TrainingInterrupted(SpeechError):
    """The run was stopped by the user and can be resumed."""

    exit_code = 130


class InterruptGuard:
    """Inside the block the first signal only sets ``requested``.

    The second one raises ``KeyboardInterrupt`` at once; the last complete checkpoint
    is what remains then. Signal handlers belong to the main thread: in any other, the
    block changes nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
