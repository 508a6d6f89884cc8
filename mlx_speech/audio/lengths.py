"""How long a recording says it is, where its header can be believed.

A copy that broke off still opens: libsndfile shortens its count of frames to what is
there, and tells only its log. What is written into a pipe cannot know its length.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

# libsndfile counts 2**63 - 1 frames where a FLAC's header does not count any.
_ENDLESS_FRAMES = 1 << 62
# A program that writes wav into a pipe cannot know its length and claims the most.
_STREAMED_BYTES = 0x7FFFF000
# Chunks of samples in wav, aiff, 8svx and au; w64 and rf64 tell of the whole file only.
_CLAIMED_BYTES = re.compile(
    r"^\s*(?:data|SSND|BODY|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)",
    re.M,
)
# Marks of an MP3's count of frames, and how far into its first frame they may stand.
_MP3_MARKS = (b"Xing", b"Info")
_MP3_HEAD_BYTES = 64
# Less is a matter of how programs count.
_LEAST_MISSING_SECONDS = 0.1


def is_endless(sound: Any) -> bool:
    """Whether an open ``soundfile.SoundFile`` counts no frames, so must be read."""
    return sound.frames >= _ENDLESS_FRAMES


def announced_frames(sound: Any) -> int | None:
    """The frames that an open ``soundfile.SoundFile`` announces in its header.

    Returns:
        Their number, also of those that are not there; None where nothing is announced
        that can be believed.
    """
    if is_endless(sound) or (sound.format == "MP3" and not _counts_frames(sound)):
        return None
    claim = _CLAIMED_BYTES.search(sound.extra_info)
    if claim is None:
        return sound.frames
    claimed, present = map(int, claim.groups())
    if claimed >= _STREAMED_BYTES:
        return None
    return sound.frames * claimed // max(present, 1)


def missing_seconds(sound: Any, frames: int) -> float:
    """Seconds that a recording announces beyond the ``frames`` that were in it; or 0.

    Args:
        sound: an open ``soundfile.SoundFile``, read to its end.
        frames: that were read.
    """
    announced = announced_frames(sound)
    missing = ((announced or 0) - frames) / sound.samplerate
    return missing if missing >= _LEAST_MISSING_SECONDS else 0.0


def _counts_frames(mp3: Any) -> bool:
    """Whether an MP3 counts its frames; without, a guess is made from the bit rate."""
    head = _head(mp3.name, 0, 10)
    start = 0
    if head[:3] == b"ID3":  # its size has seven bits a byte
        start = 10 + sum(byte << 7 * place for place, byte in enumerate(head[:5:-1]))
    first = _head(mp3.name, start, _MP3_HEAD_BYTES)
    return any(mark in first for mark in _MP3_MARKS)


def _head(file: str | bytes | BinaryIO, start: int, size: int) -> bytes:
    if isinstance(file, str | bytes):
        with open(file, "rb") as opened:
            return _head(opened, start, size)
    place = file.tell()
    file.seek(start)
    content = file.read(size)
    file.seek(place)
    return content
