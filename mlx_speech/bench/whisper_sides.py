"""Whispers side by side on the same weights: ours, mlx-whisper's, openai-whisper's.

Every side lives in a process of its own (`whisper_worker.py`), which takes turns with
the others, round after round, so that what disturbs the machine disturbs all of them.
All have one thread and the same BLAS where MLX is used; mlx-whisper alone would use the
slow one of MLX's Linux wheel. The work is fixed, and that it was done is checked.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from mlx_speech import backend
from mlx_speech.bench import whisper_worker
from mlx_speech.bench.clock import clock_name
from mlx_speech.bench.whisper import WhisperCase
from mlx_speech.errors import SpeechError
from mlx_speech.whisper.checkpoints import save_whisper

OURS = ("exact", "batched")
# Side -> what must be importable for it.
PEERS = {"mlx-whisper": "mlx_whisper", "openai-whisper": "whisper"}
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_FIND = (
    "import importlib.util as u, sys; print(*map(bool, map(u.find_spec, sys.argv[1:])))"
)


@dataclass(frozen=True)
class SideTiming:
    """One side; seconds are medians.

    Attributes:
        side: "exact", "batched", or a peer.
        clock: "processor" or "wall".
        seconds: of the whole recording.
        x_real_time: how many times faster than the recording.
        ratios: seconds of each of ours over this side's, medians of the rounds.
        tokens: that were decoded.
        same_tokens: how many of them are those of "exact".
        peak_bytes: memory of the process at most.
    """

    side: str
    clock: str
    seconds: float
    x_real_time: float
    ratios: dict[str, float]
    tokens: int
    same_tokens: int
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class _Reading:
    seconds: float
    tokens: list[int]
    peak_bytes: int


def peers_of(python: str = sys.executable) -> list[str]:
    """Peers that a Python has.

    Raises:
        SpeechError: it cannot be started.
    """
    try:
        found = subprocess.run(
            [python, "-c", _FIND, *PEERS.values()],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SpeechError(
            f"`{python}` cannot be run as a Python: {error}",
            "give the path of a Python that has mlx-whisper or openai-whisper",
        ) from error
    flags = found.stdout.split()
    return [peer for peer, flag in zip(PEERS, flags, strict=True) if flag == "True"]


def compare(
    case: WhisperCase,
    peers: Sequence[str],
    rounds: int = 3,
    python: str = sys.executable,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SideTiming]:
    """Transcribe the same recording by all sides in turns.

    Args:
        case: the work.
        peers: sides besides our two.
        rounds: times that each of them has its turn.
        python: runs the peers.
        on_progress: told (done, total) turns.

    Returns:
        Ours first, then the peers.

    Raises:
        SpeechError: a side fails, or decodes another number of tokens.
    """
    sides = [*OURS, *peers]
    wanted = case.windows * case.tokens
    readings: dict[str, list[_Reading]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        save_whisper(folder / "model", case.model(), layout="mlx")
        np.save(folder / "samples.npy", case.samples())
        runs = {}
        for side in sides:
            program = sys.executable if side in OURS else python
            runs[side] = stack.enter_context(
                _running(side, program, folder, case.options())
            )
        for turn in range(rounds * len(sides)):
            side = sides[turn % len(sides)]
            reading = runs[side]()
            if len(reading.tokens) != wanted:
                raise SpeechError(
                    f"{side} decoded {len(reading.tokens)} tokens instead of {wanted}, "
                    "so that the work is not the same"
                )
            readings[side].append(reading)
            on_progress(turn + 1, rounds * len(sides))
    return [_summary(side, readings, case.seconds) for side in sides]


def _summary(
    side: str, readings: dict[str, list[_Reading]], audio_seconds: float
) -> SideTiming:
    own = readings[side]
    seconds = statistics.median(reading.seconds for reading in own)
    ratios = {
        ours: statistics.median(
            mine.seconds / theirs.seconds
            for mine, theirs in zip(readings[ours], own, strict=True)
        )
        for ours in OURS
    }
    reference = readings[OURS[0]][0].tokens
    same = sum(a == b for a, b in zip(own[0].tokens, reference, strict=True))
    return SideTiming(
        side=side,
        clock=clock_name(),
        seconds=seconds,
        x_real_time=audio_seconds / seconds,
        ratios=ratios,
        tokens=len(own[0].tokens),
        same_tokens=same,
        peak_bytes=max(reading.peak_bytes for reading in own),
    )


@contextmanager
def _running(
    side: str, python: str, folder: Path, options: dict[str, Any]
) -> Iterator[Callable[[], _Reading]]:
    """Start a side; yield what has it transcribe once."""
    settings = {
        "side": side,
        "folder": str(folder / "model"),
        "samples": str(folder / "samples.npy"),
        "options": options,
        "blas": backend.prepare().library,
    }
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1") | {"HF_HUB_OFFLINE": "1"}
    with (
        (folder / f"{side}.log").open("w+") as log,
        subprocess.Popen(
            [python, whisper_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        ) as process,
    ):

        def ask(line: str) -> dict[str, Any]:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                return _answer(process.stdout)
            except (OSError, ValueError) as error:
                process.wait()
                log.seek(0)
                lines = log.read().strip().splitlines() or [str(error)]
                raise SpeechError(
                    f"{side} failed: {lines[-1]}",
                    f"see that it transcribes anything in `{python}`",
                ) from error

        def run() -> _Reading:
            answer = ask("run")
            seconds = answer["cpu" if clock_name() == "processor" else "wall"]
            return _Reading(seconds, answer["tokens"], answer["peak_bytes"])

        try:
            ask(json.dumps(settings))
            yield run
        finally:
            process.kill()


def _answer(stream: IO[str]) -> dict[str, Any]:
    """The next line that is an answer; peers print other things too."""
    for line in stream:
        if line.startswith("{"):
            return dict(json.loads(line))
    raise ValueError("it ended")
