"""Students in safetensors files; and any learned transform as a front end's rfft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_speech.audio.mel import MelSpec
from mlx_speech.audio.stft import Transform
from mlx_speech.butterfly.corrector import CORRECTORS
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.learned_mel import as_rfft
from mlx_speech.butterfly.storage import (
    STUDENT_PREFIX,
    load_transform,
    transform_content,
)
from mlx_speech.butterfly.student import LAYOUTS, RoutedMel
from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_safetensors, read_metadata, refuse_difference
from mlx_speech.hub.save import flatten_parameters, save_safetensors

KEY = "mlx_speech_student"


def save_student(
    path: str | Path, student: RoutedMel, notes: dict[str, str] | None = None
) -> None:
    """Write a student to a safetensors file, atomically.

    `load_transform` reads its transform, without the corrector and the bands.

    Args:
        path: file to write.
        student: any.
        notes: more free text for the header.

    Raises:
        SpeechError: the file cannot be written.
    """
    arrays, header = transform_content(student.transform)
    arrays |= {STUDENT_PREFIX + key: array for key, array in _own(student).items()}
    header[KEY] = json.dumps(
        {
            "layout": student.layout,
            "corrector": student.corrector.kind,
            "spec": student.spec.to_dict(),
        }
    )
    save_safetensors(path, arrays, {**header, **(notes or {})})


def load_student(path: str | Path) -> RoutedMel:
    """Read a student that `save_student` has written.

    Raises:
        SpeechError: no such file, corrupt, no student, or tensors that do not fit.
    """
    config = _read_config(path)
    transform = load_transform(path)
    if not isinstance(transform, TernaryRoutedFFT):
        raise _mismatch(path, "its transform has no gates")
    try:
        spec = MelSpec.from_dict(config["spec"])
        student = RoutedMel(spec, transform.mode, config["layout"], config["corrector"])
    except (TypeError, ValueError, OverflowError) as error:
        raise _mismatch(path, f"its spectrogram cannot be made: {error}") from error
    if student.spec.n_fft != transform.n:
        raise _mismatch(path, f"its transform has {transform.n} points")
    expected = _own(student)
    stored = {
        name[len(STUDENT_PREFIX) :]: array
        for name, array in load_safetensors(path).items()
        if name.startswith(STUDENT_PREFIX)
    }
    refuse_difference(
        path,
        sorted(set(expected) - set(stored)),
        sorted(set(stored) - set(expected)),
    )
    for name, array in expected.items():
        if stored[name].shape != array.shape or stored[name].dtype != array.dtype:
            raise _mismatch(path, f"`{name}` has the shape {stored[name].shape}")
    student.load_weights(list(stored.items()), strict=False)
    student.transform = transform
    return student


def is_student(path: str | Path) -> bool:
    """Whether a file holds a student rather than a bare transform.

    Raises:
        SpeechError: no such file; it is no safetensors file.
    """
    return KEY in read_metadata(path)


def load_rfft(path: str | Path, n_fft: int) -> Transform:
    """A stored transform, or a student with its corrector, in the place of rfft.

    Args:
        path: what ``mlx-speech fft train``, ``quantize`` or ``distill`` has written.
        n_fft: of the front end.

    Returns:
        float32 [..., n_fft] -> complex64 [..., n_fft // 2 + 1].

    Raises:
        SpeechError: no such file, or a transform that does not fit.
    """
    if not is_student(path):
        return as_rfft(load_transform(path), n_fft)
    student = load_student(path)
    as_rfft(student.transform, n_fft)
    return student


def _own(student: RoutedMel) -> dict[str, mx.array]:
    """What a student has beside its transform."""
    flat = flatten_parameters(student).items()
    return {key: array for key, array in flat if not key.startswith("transform.")}


def _read_config(path: str | Path) -> dict[str, Any]:
    text = read_metadata(path).get(KEY)
    if text is None:
        raise SpeechError(
            f"`{path}` holds no student",
            "give a file that `mlx-speech fft distill` has written",
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _mismatch(path, "its description is not JSON") from error
    if not isinstance(config, dict) or set(config) != {"layout", "corrector", "spec"}:
        raise _mismatch(path, "its description has other parts than a student's")
    if config["layout"] not in LAYOUTS or config["corrector"] not in CORRECTORS:
        raise _mismatch(path, "it is of a kind that this version does not know")
    if not isinstance(config["spec"], dict):
        raise _mismatch(path, "its spectrogram is not described")
    return config


def _mismatch(path: str | Path, why: str) -> SpeechError:
    return SpeechError(
        f"`{path}` is no student that can be read: {why}", "make the file again"
    )
