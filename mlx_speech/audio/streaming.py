"""Audio and log-mel in blocks, with memory that does not grow with the recording.

The blocks of :func:`stream_log_mel` are, put together, what :func:`log_mel` gives for
the whole: reflection at both ends, frames that span two blocks, the dropped last frame
and the clipping included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from mlx_speech.audio.io import open_sound, read_frames, source_name, to_mono
from mlx_speech.audio.lengths import missing_seconds
from mlx_speech.audio.mel import (
    MelSpec,
    normalise_log_mel,
    raw_log_mel_of_padded,
)
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.errors import SpeechError


class AudioBlocks:
    """A recording as mono float32 blocks, resampled on the way.

    Iterate as often as needed when the source is a path; an open file or standard input
    ("-") gives its blocks once.

    Args:
        source: as :func:`mlx_speech.audio.load`, except for arrays.
        sample_rate: hertz of the blocks.
        block_seconds: length of what is read at a time.
        on_missing: as there, at the end of each iteration.

    Raises:
        SpeechError: on iteration, as :func:`mlx_speech.audio.load`.
    """

    def __init__(
        self,
        source: str | Path | BinaryIO,
        sample_rate: int,
        block_seconds: float = 10.0,
        on_missing: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        if sample_rate < 1 or block_seconds <= 0:
            raise SpeechError(
                f"blocks of {block_seconds} s at {sample_rate} Hz are not possible"
            )
        self.source = source
        self.sample_rate = sample_rate
        self.block_seconds = block_seconds
        self.on_missing = on_missing

    def __iter__(self) -> Iterator[np.ndarray]:
        name = source_name(self.source)
        position = 0
        with open_sound(self.source) as sound:
            frames = max(1, int(self.block_seconds * sound.samplerate))
            resampler = self._resampler(sound.samplerate)
            while len(block := read_frames(sound, frames, name)):
                mono = to_mono(block, name, start=position)
                position += len(block)
                if resampler is not None:
                    mono = resampler.resample_chunk(mono)
                if len(mono):
                    yield mono
            if position == 0:
                raise SpeechError(f"`{name}` has no samples", "record or copy it again")
            if missing := missing_seconds(sound, position):
                self.on_missing(missing)
            if resampler is not None:
                tail = resampler.resample_chunk(np.empty(0, np.float32), last=True)
                if len(tail):
                    yield tail

    def _resampler(self, rate_from: int) -> Any:
        if rate_from == self.sample_rate:
            return None
        import soxr

        return soxr.ResampleStream(rate_from, self.sample_rate, 1, dtype="float32")


def stream_log_mel(
    blocks: Iterable[np.ndarray],
    spec: MelSpec,
    peak: float | None = None,
    rfft: Transform = real_fft,
) -> Iterator[mx.array]:
    """Log-mel frames of a signal that arrives in blocks.

    Args:
        blocks: float [samples] each, of any lengths, at ``spec.sample_rate``.
        spec: the description. Where it clips relative to the clip's own peak (Whisper),
            the peak must be known before the first frame: it is found by going through
            ``blocks`` once more, which needs something that can be iterated twice (a
            list, :class:`AudioBlocks` of a path), or it is given.
        peak: that peak, as :func:`log_mel_peak` finds it.
        rfft: the transform, see :func:`mlx_speech.audio.stft`.

    Yields:
        float32 [frames, n_mels], evaluated.

    Raises:
        SpeechError: the signal is too short for one frame, or the peak is not given and
            ``blocks`` can be iterated only once.
    """
    if spec.log_range is None:
        limit = None
    elif spec.log_peak is not None:
        limit = mx.array(spec.log_peak)
    elif peak is not None:
        limit = mx.array(peak)
    elif iter(blocks) is blocks:
        raise SpeechError(
            "these mel settings clip relative to the loudest frame, which a live "
            "stream does not know yet",
            "give `peak`, or a fixed `log_peak` in the settings, or blocks that can be "
            "iterated twice",
        )
    else:
        limit = mx.array(log_mel_peak(blocks, spec, rfft))
    for logs in _raw_frames(blocks, spec, rfft):
        frames = normalise_log_mel(logs, limit, spec)
        mx.eval(frames)
        yield frames


def log_mel_peak(
    blocks: Iterable[np.ndarray], spec: MelSpec, rfft: Transform = real_fft
) -> float:
    """Largest floored log-mel value, before clipping and scaling."""
    return max(
        float(np.asarray(logs.max())) for logs in _raw_frames(blocks, spec, rfft)
    )


def _raw_frames(
    blocks: Iterable[np.ndarray], spec: MelSpec, rfft: Transform
) -> Iterator[mx.array]:
    pending = np.empty(0, np.float32)
    held_back = int(spec.drop_last_frame)
    silent = True
    for piece in _padded(blocks, spec.pad):
        pending = np.concatenate([pending, piece])
        frames = 1 + (len(pending) - spec.n_fft) // spec.hop_length - held_back
        if frames < 1:
            continue
        logs = raw_log_mel_of_padded(mx.array(pending), spec, rfft)
        pending = pending[frames * spec.hop_length :]
        silent = False
        yield logs
    if silent:
        raise SpeechError(
            f"the signal is too short for one frame of {spec.hop_length} samples at "
            f"{spec.sample_rate} Hz",
            "give a longer recording",
        )


def _padded(blocks: Iterable[np.ndarray], pad: int) -> Iterator[np.ndarray]:
    """The samples with ``pad`` reflected ones before the first and after the last."""
    started = False
    tail = np.empty(0, np.float32)
    for block in blocks:
        block = np.asarray(block, dtype=np.float32)
        if not started:
            tail = np.concatenate([tail, block])
            if len(tail) <= pad:
                continue
            started = True
            yield np.concatenate([tail[pad:0:-1], tail])
        else:
            yield block
            tail = np.concatenate([tail, block])
        tail = tail[-(pad + 1) :]
    if not started and len(tail):
        yield np.pad(tail, pad, mode="reflect")
    elif started and pad:
        yield tail[-2 : -pad - 2 : -1]
