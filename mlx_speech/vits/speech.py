"""Text of any length to speech: sentences, pauses, one waveform."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.vits.examples import speaker_id
from mlx_speech.vits.model import SynthesizerTrn

SENTENCE_PAUSE_SECONDS = 0.25
# Longer sentences are cut at commas, or between words: the encoder's attention grows
# with the square of the length, and training data rarely has longer ones.
LONGEST_PIECE = 240

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n\s*\n")
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s+")


class TextEncoding(Protocol):
    """What speaking needs of a vocabulary."""

    def encode(self, text: str) -> list[int]: ...


def split_text(text: str, longest: int = LONGEST_PIECE) -> list[str]:
    """Cut ``text`` into sentences of at most ``longest`` characters.

    Sentences that are longer are cut after commas and the like, and where there are
    none, between words; a single longer word stays whole.
    """
    pieces: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        words = " ".join(sentence.split())
        if not words:
            continue
        if len(words) <= longest:
            pieces.append(words)
        else:
            pieces += _joined(
                [
                    part
                    for clause in _CLAUSE_END.split(words)
                    for part in _joined(clause.split(" "), longest)
                ],
                longest,
            )
    return pieces


def _joined(parts: Sequence[str], longest: int) -> list[str]:
    """Join neighbours with a space as long as the result is at most ``longest``."""
    joined: list[str] = []
    for part in parts:
        if joined and len(joined[-1]) + 1 + len(part) <= longest:
            joined[-1] = f"{joined[-1]} {part}"
        else:
            joined.append(part)
    return joined


def synthesize(
    model: SynthesizerTrn,
    vocabulary: TextEncoding,
    sample_rate: int,
    text: str,
    *,
    speakers: Sequence[str] = (),
    speaker: str | None = None,
    noise_scale: float = 0.667,
    noise_scale_w: float = 0.8,
    length_scale: float = 1.0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Speak ``text``, sentence by sentence.

    Args:
        model: in evaluation mode.
        vocabulary: the one that the model was trained with.
        sample_rate: hertz of the model's audio; sets the length of the pauses.
        text: one sentence or a book; empty lines end a sentence too.
        speakers: names in the order of the speaker table.
        speaker: one of them; the first where it is left out.
        noise_scale, noise_scale_w: variation of the voice and of its rhythm.
        length_scale: factor on all durations.
        seed: the same seed gives the same audio.
        on_progress: told (sentences done, sentences).

    Returns:
        float32 [samples] within -1..1.

    Raises:
        SpeechError: nothing to say, unknown symbols, or an unknown speaker.
    """
    pieces = split_text(text)
    if not pieces:
        raise SpeechError("there is no text to speak", "give at least one word")
    if length_scale <= 0:
        raise SpeechError(f"the speed factor must be positive, not {length_scale}")
    ids = None
    if model.config.n_speakers:
        chosen = speaker if speaker is not None else (speakers[0] if speakers else None)
        ids = mx.array([speaker_id(chosen, speakers)])
    elif speaker is not None:
        raise SpeechError("this voice has one speaker", "leave out the speaker's name")
    pause = np.zeros(int(SENTENCE_PAUSE_SECONDS * sample_rate), np.float32)
    spoken: list[np.ndarray] = []
    for index, piece in enumerate(pieces):
        symbols = vocabulary.encode(piece)
        result = model.infer(
            mx.array([symbols]),
            mx.array([len(symbols)]),
            noise_scale=noise_scale,
            noise_scale_w=noise_scale_w,
            length_scale=length_scale,
            speaker_ids=ids,
            key=mx.random.key(seed + index),
        )
        audio = np.array(result.audio[0])[: int(result.lengths[0])]
        spoken += [pause, audio] if spoken else [audio]
        on_progress(index + 1, len(pieces))
    return np.clip(np.concatenate(spoken), -1.0, 1.0)
