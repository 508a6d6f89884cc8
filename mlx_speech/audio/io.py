"""Audio in and out: any recording to mono float32 samples, and samples to a file.

libsndfile (through soundfile) reads wav, flac, ogg, mp3, aiff and caf. What it does not
know (m4a, mp4, aac, ...) goes through a program that the user already has: afconvert,
which every Mac brings, or ffmpeg.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import mlx.core as mx
import numpy as np

from mlx_speech.audio.lengths import is_endless, missing_seconds
from mlx_speech.errors import SpeechError
from mlx_speech.files import replacing_file

# A path, an open binary file, "-" for standard input, or (samples, sample_rate).
AudioSource: TypeAlias = str | Path | BinaryIO | tuple[Any, int]

_AFCONVERT = Path("/usr/bin/afconvert")
# afconvert knows these; everything else needs ffmpeg on a Mac as well.
_CORE_AUDIO = frozenset({".m4a", ".m4b", ".mp4", ".aac", ".3gp", ".amr", ".ac3"})
_OTHER_CONTAINERS = frozenset({".mov", ".mkv", ".webm", ".wma", ".avi", ".ts"})
_SAVED_AS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
}
# libsndfile's Vorbis encoder overflows its stack when given minutes at once.
_BLOCK = 1 << 16
_MOST_CHANNELS = 64


def load(
    source: AudioSource,
    sample_rate: int | None = None,
    on_missing: Callable[[float], None] = lambda seconds: None,
) -> tuple[np.ndarray, int]:
    """Read a recording as mono.

    Args:
        source: a path, an open binary file, "-" for standard input, or a pair
            (samples [samples] or [samples, channels], sample_rate); integer samples
            are scaled by their type's range.
        sample_rate: resample to this many hertz; None keeps the recording's own.
        on_missing: told the seconds that the recording's header announces and that are
            not there, if any: a copy that broke off.

    Returns:
        float32 [samples] (in -1..1 unless a float file holds more) and their rate.

    Raises:
        SpeechError: no such file, not audio, an unknown format without a program that
            reads it, no samples, or samples that are not finite.
    """
    name = source_name(source)
    if isinstance(source, tuple):
        samples, rate = source
        samples = _as_float(np.asarray(samples), name)
    else:
        with open_sound(source) as file:
            rate = file.samplerate
            samples = read_frames(file, -1, name)
            if missing := missing_seconds(file, len(samples)):
                on_missing(missing)
    mono = to_mono(samples, name)
    if sample_rate is None:
        return mono, int(rate)
    return resample(mono, int(rate), sample_rate), sample_rate


def resample(samples: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """Change the sampling rate (soxr, high quality): float32 [samples] -> [samples'].

    Raises:
        SpeechError: a rate that is not positive.
    """
    if rate_from < 1 or rate_to < 1:
        raise SpeechError(
            f"cannot resample from {rate_from} Hz to {rate_to} Hz",
            "sampling rates are positive numbers of hertz",
        )
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if rate_from == rate_to:
        return samples
    import soxr

    return soxr.resample(samples, rate_from, rate_to)


def save(path: str | Path, samples: np.ndarray | mx.array, sample_rate: int) -> None:
    """Write mono samples as 16-bit wav or flac, or as ogg (Vorbis), by suffix.

    The file appears whole or not at all. Samples outside -1..1 are clipped.

    Args:
        path: ends in .wav, .flac or .ogg.
        samples: float [samples].
        sample_rate: hertz.

    Raises:
        SpeechError: another suffix, another shape, samples that are not finite, or a
            folder that cannot be written.
    """
    import soundfile

    path = Path(path)
    _require_known_suffix(path)
    values = np.asarray(samples, dtype=np.float32)
    if values.ndim != 1:
        raise SpeechError(
            f"audio to save must be one row of samples, not of shape {values.shape}"
        )
    _check_finite(values, str(path))
    values = np.clip(values, -1.0, 1.0)
    container, subtype = _SAVED_AS[path.suffix.lower()]
    encoded = io.BytesIO()
    with soundfile.SoundFile(
        encoded, "w", int(sample_rate), 1, subtype, format=container
    ) as file:
        for start in range(0, len(values), _BLOCK):
            file.write(values[start : start + _BLOCK])
    # Encoding in memory leaves one plain write to the disk, whose errors are explained.
    with replacing_file(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def require_savable(path: str | Path) -> None:
    """Say before a long computation that :func:`save` would refuse ``path``.

    Raises:
        SpeechError: another suffix, a folder, or a place that cannot be written.
    """
    path = Path(path)
    _require_known_suffix(path)
    if path.is_dir():
        raise SpeechError(f"`{path}` is a folder", "give the name of a file")
    place = path.absolute().parent
    while not os.path.exists(place):  # False also for what may not be looked at
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise SpeechError(
            f"`{path}` cannot be written", "choose another place that you may write to"
        )


def _require_known_suffix(path: Path) -> None:
    if path.suffix.lower() not in _SAVED_AS:
        raise SpeechError(
            f"`{path.name}` ends in no format that can be written",
            f"choose a name that ends in {', '.join(_SAVED_AS)}",
        )


def source_name(source: AudioSource) -> str:
    """What to call a source in a message."""
    if isinstance(source, tuple):
        return "the array"
    if isinstance(source, str | Path):
        return "standard input" if str(source) == "-" else str(source)
    return str(getattr(source, "name", "the open file"))


@contextmanager
def open_sound(source: str | Path | BinaryIO) -> Iterator[Any]:
    """Yield an open ``soundfile.SoundFile``, converting the format first if need be.

    Raises:
        SpeechError: as :func:`load`.
    """
    import soundfile

    name = source_name(source)
    file: str | BinaryIO
    if isinstance(source, str | Path):
        if str(source) == "-":
            file = io.BytesIO(sys.stdin.buffer.read())
        else:
            file = str(_existing_file(Path(source)))
    else:
        file = source if source.seekable() else io.BytesIO(source.read())
    head = _head(file)
    if not head:
        raise SpeechError(f"`{name}` is empty (0 bytes)", "record or copy it again")
    if Path(name).suffix.lower() == ".raw":
        raise SpeechError(
            f"`{name}` is raw audio, which does not say its rate or sample type",
            "convert it to wav",
        )
    try:
        # As bytes: a name need not be UTF-8.
        sound = soundfile.SoundFile(
            os.fsencode(file) if isinstance(file, str) else file
        )
    except soundfile.SoundFileError as error:
        suffix = _foreign_suffix(name, head)
        if suffix is None:
            raise SpeechError(
                f"`{name}` is not readable audio: {_reason(error)}",
                "check that it plays, or convert it to wav",
            ) from error
        with (
            _converted(file, name, suffix) as converted,
            soundfile.SoundFile(str(converted)) as sound,
        ):
            yield sound
        return
    with sound:
        if is_endless(sound):
            # soundfile seeks after every block, which fails at an end nobody knows.
            sound.seekable = lambda: False
        yield sound


def read_frames(sound: Any, frames: int, name: str) -> np.ndarray:
    """The next ``frames`` frames (-1: all) as float32 [frames, channels]."""
    import soundfile

    try:
        if frames < 0 and is_endless(sound):
            return _read_to_end(sound)
        return sound.read(frames, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise SpeechError(
            f"`{name}` is damaged: {_reason(error)}", "copy or record it again"
        ) from error


def _read_to_end(sound: Any) -> np.ndarray:
    blocks = [np.zeros((0, sound.channels), np.float32)]
    while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
        blocks.append(block)
    return np.concatenate(blocks)


def to_mono(samples: np.ndarray, name: str, start: int = 0) -> np.ndarray:
    """Mean over channels, after checking that there are samples and all are finite.

    ``start`` is where ``samples`` begin in the recording, for the message.
    """
    if samples.size == 0:
        raise SpeechError(f"`{name}` has no samples", "record or copy it again")
    _check_finite(samples, name, start)
    if samples.ndim == 1:
        return np.ascontiguousarray(samples)
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    return samples.mean(axis=1, dtype=np.float32)


def _existing_file(path: Path) -> Path:
    path = path.expanduser()
    if path.is_dir():
        raise SpeechError(f"`{path}` is a folder, not an audio file")
    if not path.exists():
        raise SpeechError(f"no such audio file: `{path}`", "check the path")
    return path


def _head(file: str | BinaryIO) -> bytes:
    if isinstance(file, str):
        try:
            with open(file, "rb") as opened:
                return opened.read(16)
        except OSError as error:
            raise SpeechError(
                f"`{file}` cannot be read: {error.strerror}", "check its permissions"
            ) from error
    start = file.tell()
    head = file.read(16)
    file.seek(start)
    return head


def _foreign_suffix(name: str, head: bytes) -> str | None:
    """The suffix of a format that libsndfile lacks, by content first, then by name."""
    if head[4:8] == b"ftyp":
        return ".m4a"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return ".webm"
    suffix = Path(name).suffix.lower()
    if suffix in _CORE_AUDIO | _OTHER_CONTAINERS:
        return suffix
    return None


@contextmanager
def _converted(file: str | BinaryIO, name: str, suffix: str) -> Iterator[Path]:
    """A temporary wav of a file in a format that libsndfile does not read."""
    with tempfile.TemporaryDirectory(prefix="mlx-speech-") as folder:
        target = Path(folder) / "converted.wav"
        if isinstance(file, str):
            origin = Path(file).absolute()
        else:
            origin = Path(folder) / f"input{suffix}"
            file.seek(0)  # libsndfile's attempt has moved it
            with open(origin, "wb") as copy:
                shutil.copyfileobj(file, copy)
        command = _conversion_command(origin, target, suffix, name)
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if result.returncode != 0 or not target.exists():
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            program = Path(command[0]).name
            raise SpeechError(
                f"{program} cannot read `{name}`: "
                f"{lines[-1] if lines else f'exit code {result.returncode}'}",
                "check that it plays, or convert it to wav",
            )
        yield target


def _conversion_command(
    origin: Path, target: Path, suffix: str, name: str
) -> list[str]:
    if _AFCONVERT.exists() and suffix in _CORE_AUDIO:
        command = [str(_AFCONVERT), "-f", "WAVE", "-d", "LEF32"]
        return [*command, str(origin), str(target)]
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SpeechError(
            f"`{name}` is in the format {suffix[1:]}, which needs ffmpeg to be read",
            "install ffmpeg (`brew install ffmpeg`, `apt install ffmpeg`), or convert "
            "the file to wav or flac",
        )
    # `file:` keeps ffmpeg from taking a file name for an option or a protocol.
    command = [ffmpeg, "-nostdin", "-v", "error", "-i", f"file:{origin}", "-vn"]
    return [*command, "-c:a", "pcm_f32le", f"file:{target}"]


def _as_float(samples: np.ndarray, name: str) -> np.ndarray:
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.ndim not in (1, 2) or channels > _MOST_CHANNELS:
        raise SpeechError(
            f"{name} has the shape {samples.shape}, not [samples] or "
            "[samples, channels]",
            "transpose it, or mix it to mono",
        )
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    raise SpeechError(
        f"{name} holds {samples.dtype}, which is no kind of audio",
        "give float samples in -1..1, or signed integers",
    )


def _check_finite(samples: np.ndarray, name: str, start: int = 0) -> None:
    bad = ~np.isfinite(samples)
    if bad.any():
        where = start + int(np.argwhere(bad)[0][0])
        raise SpeechError(
            f"`{name}` has {int(bad.sum())} samples that are not finite numbers, the "
            f"first at {where}",
            "export it again as 16-bit wav",
        )


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", "") or str(error)
    return text.strip().rstrip(".")
