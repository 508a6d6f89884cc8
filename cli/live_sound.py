"""Sound to listen to, in stretches without a gap: a microphone's, or a recording's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from mlx_speech.cli.backlog import Backlog, Block
from mlx_speech.errors import SpeechError

if TYPE_CHECKING:
    import numpy as np

# So long the device is waited for at a time; Ctrl-C is noticed in between.
POLL_SECONDS = 0.25
# A device that is gone is often no error: nothing comes any more. Wireless ones begin
# late, and pause when they change their mode.
QUIET_POLLS = 16
FIRST_QUIET_POLLS = 40
# Every microphone hears noise: so many seconds of zeros are no silence.
MUTE_SECONDS = 5.0
PLUG_IN = (
    "plug it in again, or choose another of `mlx-speech listen --list-devices`; what "
    "was said before is written down"
)


@dataclass(frozen=True)
class Stretch:
    """Sound without a gap.

    Attributes:
        start: seconds from the beginning of the sound.
        blocks: float32 [samples] each; to be gone through to their end.
    """

    start: float
    blocks: Iterator[np.ndarray]


class LiveSound:
    """What both kinds of sound have in common.

    Attributes:
        stopped: whether :meth:`stop` was called.
        failure: why the sound ended before anybody stopped it; None: it did not.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.failure: SpeechError | None = None

    @property
    def behind(self) -> float:
        """Seconds of sound that wait to be heard."""
        return 0.0

    def stop(self) -> None:
        """Take no more sound; what waits is still heard. A signal handler may call."""
        self.stopped = True

    def stretches(self) -> Iterator[Stretch]:
        """The sound, each stretch to be gone through before the next is asked for."""
        raise NotImplementedError

    def losses(self) -> list[str]:
        """What was not heard, in words, for the end."""
        return []


class RecordedSound(LiveSound):
    """A recording that stands for a microphone.

    Args:
        blocks: float32 [samples] each.
    """

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        super().__init__()
        self._blocks = blocks

    def stretches(self) -> Iterator[Stretch]:
        """The whole recording."""
        blocks = self._until_stopped()
        first = next(blocks, None)
        if first is not None:
            yield Stretch(0.0, chain([first], blocks))

    def _until_stopped(self) -> Iterator[np.ndarray]:
        try:
            for block in self._blocks:
                if self.stopped:
                    return
                yield block
        except SpeechError as error:
            # What was said before the damage is heard out first.
            self.failure = error


class MicrophoneSound(LiveSound):
    """What a microphone hears.

    Args:
        name: of the device.
        rate: hertz of the device.
        wanted_rate: hertz of the blocks.
        longest: seconds that may wait for the model.
        warn: is told in words what is not as it should be, while listening.

    Attributes:
        is_active: asks the device whether it still runs; raises OSError when it cannot
            say.
    """

    def __init__(
        self,
        name: str,
        rate: int,
        wanted_rate: int,
        longest: float,
        warn: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.is_active: Callable[[], bool] = lambda: True
        self._name = name
        self._rate = rate
        self._wanted_rate = wanted_rate
        self._longest = longest
        self._warn = warn
        self._backlog = Backlog(round(longest * rate))
        # What the device said of its blocks, such as "input overflow", and how often.
        self._reports: Counter[str] = Counter()
        self._reported = False
        self._end = 0
        self._gaps = 0
        self._zeros = 0
        self._following: Block | None = None

    def hear(self, samples: np.ndarray, frames: int, time: Any, status: Any) -> None:
        """Take a block from the device's thread, float32 [samples, channels]."""
        if self.stopped:
            return
        if status:
            self._reports.update(str(status).split(", "))
        # The array is the device's own and is written to again; a mean is ours.
        self._backlog.put(samples.mean(axis=1))

    @property
    def behind(self) -> float:
        """Seconds of sound that wait to be heard."""
        return self._backlog.waiting / self._rate

    def stretches(self) -> Iterator[Stretch]:
        """What comes until it is stopped or the device is gone.

        A stretch ends where sound was dropped, so that what is joined was said in one.
        """
        block = self._next()
        while block is not None:
            self._following = None
            blocks = _resampled(self._run(block), self._rate, self._wanted_rate)
            yield Stretch(block.start / self._rate, blocks)
            block = self._following

    def losses(self) -> list[str]:
        """What was not heard, in words, for the end."""
        said = []
        if self._backlog.lost:
            seconds = self._backlog.lost / self._rate
            places = f" in {self._gaps} places" if self._gaps > 1 else ""
            said.append(
                f"{seconds:.1f} s of sound{places} were left out: the model is slower "
                "than speech here, a smaller one may keep up"
            )
        for report, count in self._reports.items():
            times = "once" if count == 1 else f"{count} times"
            said.append(f"the microphone reported {report} {times}: sound is missing")
        return said

    def _run(self, block: Block) -> Iterator[np.ndarray]:
        """The samples from a block on, up to a gap."""
        yield block.samples
        end = block.start + len(block.samples)
        while (following := self._next()) is not None:
            if following.start != end:
                self._following = following
                return
            yield following.samples
            end += len(following.samples)

    def _next(self) -> Block | None:
        """Wait for a block; None when it is stopped or the device is gone."""
        most = QUIET_POLLS if self._end else FIRST_QUIET_POLLS
        # Polls are counted and not the clock asked: a machine may sleep in between.
        for _ in range(most):
            # Asked before the last blocks are taken, so that none can come after.
            stopped, ended = self.stopped, self._ended()
            block = self._backlog.take(0.0 if stopped or ended else POLL_SECONDS)
            if block is not None:
                self._look_at(block)
                return block
            if stopped:
                return None
            if ended:
                self.failure = SpeechError(ended, PLUG_IN)
                return None
        seconds = f"{most * POLL_SECONDS:g} s"
        self.failure = SpeechError(
            f"the microphone `{self._name}` is gone: nothing has come from it for "
            f"{seconds}"
            if self._end
            else f"nothing comes from the microphone `{self._name}`, not for {seconds}",
            PLUG_IN,
        )
        return None

    def _ended(self) -> str:
        """Why the device has stopped, in words; nothing when it runs."""
        try:
            return (
                "" if self.is_active() else f"the microphone `{self._name}` has stopped"
            )
        except OSError as error:
            return f"the microphone `{self._name}` has stopped: {error}"

    def _look_at(self, block: Block) -> None:
        """Say what is wrong with what comes."""
        if block.start != self._end:
            self._gaps += 1
            seconds = (block.start - self._end) / self._rate
            self._warn(
                f"{seconds:.1f} s of sound are left out: the model was more than "
                f"{self._longest:g} s behind (--max-behind)"
            )
        self._end = block.start + len(block.samples)
        if self._reports and not self._reported:
            self._reported = True
            reports = ", ".join(self._reports)
            self._warn(f"the microphone reports {reports}: the machine is too busy")
        before = self._zeros
        self._zeros = 0 if block.samples.any() else before + len(block.samples)
        if before < MUTE_SECONDS * self._rate <= self._zeros:
            self._warn(
                f"the microphone has given nothing but zeros for {MUTE_SECONDS:g} s: "
                "it is muted, or the terminal may not use it (on a Mac: System "
                "Settings, Privacy & Security, Microphone)"
            )


def _resampled(
    blocks: Iterable[np.ndarray], rate_from: int, rate_to: int
) -> Iterator[np.ndarray]:
    if rate_from == rate_to:
        yield from blocks
        return
    import numpy as np
    import soxr

    stream = soxr.ResampleStream(rate_from, rate_to, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)
