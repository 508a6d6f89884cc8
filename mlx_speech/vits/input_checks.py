"""Checks of what a person asks a VITS model to speak.

They look at values and so wait for the device; training, whose batches were checked
when they were read, does not call them.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError


class SpeechTooLong(SpeechError):
    """More frames than are allowed."""


def check_text(text_bl: mx.array, text_lengths_b: mx.array, n_vocab: int) -> None:
    """Refuse what would index outside of the embedding or leave nothing to say."""
    symbols = text_bl.shape[1]
    lengths = np.array(text_lengths_b)
    if not symbols or not lengths.size or lengths.min() < 1:
        raise SpeechError("the text is empty", "give at least one symbol to speak")
    if lengths.max() > symbols:
        raise SpeechError(f"a text length of {lengths.max()} exceeds its {symbols} ids")
    ids = np.array(text_bl)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= n_vocab:
        raise SpeechError(
            f"symbol id {low if low < 0 else high} is outside of the vocabulary's "
            f"{n_vocab} symbols",
            "encode the text with the vocabulary that belongs to this model",
        )


def check_speakers(speaker_ids: mx.array | None, n_speakers: int) -> None:
    """Refuse ids outside of the speaker table; its absence is another's matter."""
    if speaker_ids is None or not n_speakers:
        return
    for speaker in np.array(speaker_ids):
        if not 0 <= speaker < n_speakers:
            raise SpeechError(
                f"speaker {speaker} is not one of this model's {n_speakers}",
                f"choose from 0 to {n_speakers - 1}",
            )


def frame_count(frames_b: mx.array, max_frames: int) -> int:
    """Frames of the longest item.

    Raises:
        SpeechTooLong: more than ``max_frames``, or durations that are not finite.
    """
    frames = float(np.array(frames_b).max())
    if not frames <= max_frames:
        raise SpeechTooLong(
            f"this text would take {frames:.0f} frames, more than the {max_frames} "
            "that are allowed",
            "speak it sentence by sentence, or raise max_frames",
        )
    return int(frames)
