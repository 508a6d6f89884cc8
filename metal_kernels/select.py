"""Kernel or MLX operations: the one rule by which every wrapper decides.

A kernel is used on Metal only; only after its self-check on that device has agreed with
the MLX operations; and only for sizes at which a short timing shows it ahead. Outcomes,
good and bad, are kept for each device, version of macOS and MLX, variant and text of a
kernel (``choices.py``), so that each is found out once. Where a self-check or a timing
fails, the MLX operations compute, and one line of the log says why.

``MLX_SPEECH_KERNELS``: ``auto`` (the default) is this rule; ``on`` leaves out the
timing, never the self-check (one that is kept is not run again); ``off`` uses no
kernel.

A wrapper asks::

    if select.kernels_are_possible() and select.use_kernel(key, self_check, timing):
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import mlx.core as mx
import numpy as np

from mlx_speech import backend
from mlx_speech.metal_kernels.choices import (
    Findings,
    KernelKey,
    RunChoices,
    Timing,
    cache_folder,
    device_identity,
)
from mlx_speech.metal_kernels.presence import device_name, metal_is_available

logger = logging.getLogger("mlx_speech")

Mode = Literal["off", "on", "auto"]
MODE_VARIABLE = "MLX_SPEECH_KERNELS"
FILE_NAME = "kernels.json"

# Timings of equal ways differ by this much; a kernel has to be ahead by more.
_NOISE = 0.03
# How MLX says that a kernel does not compile, does not fit, or does not run.
_REFUSALS = (RuntimeError, ValueError)

_lock = threading.RLock()
_findings: dict[tuple[Path, str], Findings] = {}
_answers: dict[tuple[KernelKey, str, str], bool] = {}
# Not empty once it is known that there is no Metal, and the mode is one.
_noted_absence: list[str] = []
_said: set[str] = set()
_runs: list[RunChoices] = []


def kernel_mode() -> Mode:
    """What ``MLX_SPEECH_KERNELS`` asks for.

    Raises:
        SpeechError: it has another value.
    """
    return backend.mode_from_environment(MODE_VARIABLE, get_args(Mode))


def kernels_are_possible() -> bool:
    """Whether any kernel could be used now: the quick question before the real one.

    Raises:
        SpeechError: ``MLX_SPEECH_KERNELS`` has a value that is no mode.
    """
    if not metal_is_available():
        if not _noted_absence:
            _note_absence()
        return False
    return _mode_now() != "off"


def use_kernel(
    key: KernelKey,
    self_check: Callable[[], str],
    timing: Callable[[], Timing],
) -> bool:
    """Decide whether a wrapper uses its kernel.

    Args:
        key: kernel, variant and sizes.
        self_check: compares the kernel with the MLX operations on a small case and says
            what differs, "" if nothing does (``difference`` makes such an answer).
            Called at most once for each device, version of macOS and MLX, variant and
            text.
        timing: times both ways on the sizes of the key (``time_both``). Called at most
            once for each of these and the sizes, and not in mode ``on``. One that
            raises is not kept: the next process tries again.

    Returns:
        True: use the kernel.

    Raises:
        SpeechError: ``MLX_SPEECH_KERNELS`` has a value that is no mode; the file of a
            training's choices cannot be written.
    """
    if not kernels_are_possible():
        return False
    question = key, _mode_now(), device_name()
    if question not in _answers:
        with _lock:
            _answers[question] = _decide(key, self_check, timing)
    return _answers[question]


def _decide(
    key: KernelKey, self_check: Callable[[], str], timing: Callable[[], Timing]
) -> bool:
    run = _runs[-1] if _runs else None
    chosen = run.get(key) if run else None
    if chosen is False:
        return False
    findings = _findings_here()
    usable = _passes(key, self_check, findings)
    if run is None:
        return usable and _is_ahead(key, timing, findings)
    if chosen is None:
        chosen = usable and _is_ahead(key, timing, findings)
        run.record(key, chosen)
    return chosen and usable


def forget() -> None:
    """Forget what this process knows of modes and kernels; the files keep theirs."""
    _findings.clear()
    _answers.clear()
    _said.clear()
    _noted_absence.clear()


@contextmanager
def fixed_choices(path: Path, resume: bool) -> Iterator[RunChoices]:
    """Make every choice in the block as the run did that keeps its choices in a file.

    A run that started where no kernel was possible uses none anywhere. One that used
    kernels and goes on without Metal computes by MLX operations, which is said.

    Args:
        path: of the file; a new run's is made at once.
        resume: whether to go on with the choices in it.

    Raises:
        SpeechError: the file cannot be written, or holds something else.
    """
    run = RunChoices(path, kernel_mode() if kernels_are_possible() else "off", resume)
    if run.mode != "off" and not metal_is_available():
        _say_once(
            f"the run was started with kernels on {run.device}; here is no Metal "
            "device, so MLX operations compute and results may differ by rounding"
        )
    _runs.append(run)
    _answers.clear()
    try:
        yield run
    finally:
        _runs.remove(run)
        _answers.clear()


def relative_error(found: Sequence[mx.array], expected: Sequence[mx.array]) -> float:
    """The largest difference of two results, relative to the largest expected value.

    Args:
        found, expected: arrays to compare in pairs, of the same shapes.

    Returns:
        NaN when a result holds one.
    """
    left, right = ([_as_double(a) for a in arrays] for arrays in (found, expected))
    # NumPy's largest value of several is NaN when one of them is; Python's may not be.
    scale = np.max([np.abs(a).max(initial=0) for a in right]) or 1.0
    gaps = [np.abs(a - b).max(initial=0) for a, b in zip(left, right, strict=True)]
    return float(np.max(gaps) / scale)


def difference(
    found: Sequence[mx.array], expected: Sequence[mx.array], tolerance: float
) -> str:
    """Say how two results differ, "" if they agree.

    Args:
        found, expected: arrays to compare in pairs.
        tolerance: the largest ``relative_error`` allowed.
    """
    if [a.shape for a in found] != [a.shape for a in expected]:
        shapes = [list(a.shape) for a in found], [list(a.shape) for a in expected]
        return f"the shapes are {shapes[0]}, not {shapes[1]}"
    error = relative_error(found, expected)
    if error <= tolerance:
        return ""
    return f"the results differ by {error:.1e}, more than {tolerance:.1e}"


def time_both(
    kernel: Callable[[], object], operations: Callable[[], object], repeats: int = 9
) -> Timing:
    """Median seconds of two ways to compute the same, measured in turn.

    Args:
        kernel, operations: each gives arrays, or a tree of them, not yet evaluated.
        repeats: timed calls of each, after two that are not timed.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 2):
        for way, times in zip((kernel, operations), seconds, strict=True):
            start = time.perf_counter()
            mx.eval(way())
            if repeat >= 2:
                times.append(time.perf_counter() - start)
    return Timing(*(statistics.median(times) for times in seconds))


def findings_path() -> Path:
    """The file of self-checks and timings in the user's cache."""
    return cache_folder() / FILE_NAME


def _note_absence() -> None:
    """Without Metal the mode is read once: decoding asks for each layer and token."""
    mode = kernel_mode()
    if mode == "on":
        _say_once(
            f"{MODE_VARIABLE} is on, but there is no Metal device: "
            "MLX operations compute instead of kernels"
        )
    _noted_absence.append(mode)


def _mode_now() -> str:
    return _runs[-1].mode if _runs else kernel_mode()


def _findings_here() -> Findings:
    place = findings_path(), device_identity()
    if place not in _findings:
        _findings[place] = Findings(*place)
    return _findings[place]


def _passes(key: KernelKey, self_check: Callable[[], str], findings: Findings) -> bool:
    problem = findings.check(key)
    if problem is None:
        try:
            problem = self_check()
        except _REFUSALS as error:
            problem = f"it does not run: {error}"
        findings.record_check(key, problem)
    if problem:
        _say_once(
            f"MLX operations compute instead of the kernel {key.kernel} "
            f"({key.variant}): {problem}"
        )
    return not problem


def _is_ahead(key: KernelKey, timing: Callable[[], Timing], findings: Findings) -> bool:
    if _mode_now() == "on":
        return True
    found = findings.timing(key)
    if found is None:
        try:
            found = timing()
        except _REFUSALS as error:
            _say_once(
                f"MLX operations compute instead of the kernel {key.kernel} "
                f"({key.variant}, sizes {key.shape}): it does not run: {error}"
            )
            return False
        findings.record_timing(key, found)
    return found.kernel < found.operations * (1 - _NOISE)


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        logger.warning("%s", line)


def _as_double(array: mx.array) -> np.ndarray:
    real = array if array.dtype == mx.complex64 else array.astype(mx.float32)
    values = np.array(real)
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
