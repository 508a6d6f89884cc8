"""Text of any length to speech: sentences, pauses, one waveform."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.text.sentences import split_text
from mlx_speech.vits.voice import Voice

SENTENCE_PAUSE_SECONDS = 0.25


def synthesize(
    voice: Voice,
    text: str,
    *,
    speaker: str | None = None,
    speed: float = 1.0,
    noise_scale: float | None = None,
    noise_scale_w: float | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Speak ``text``, sentence by sentence.

    Args:
        voice: what speaks; its own inference settings hold where none is given.
        text: one sentence or a book; empty lines end a sentence too.
        speaker: as in ``Voice.speaker_ids``; the first where it is left out.
        speed: 2 takes half the time.
        noise_scale, noise_scale_w: variation of the voice and of its rhythm.
        seed: the same seed gives the same audio.
        on_progress: told (sentences done, sentences).

    Returns:
        float32 [samples] at ``voice.sample_rate``, within -1..1.

    Raises:
        SpeechError: nothing to say, unknown symbols, an unknown speaker, or factors or
            a seed out of range.
    """
    pieces = split_text(text)
    if not pieces:
        raise SpeechError("there is no text to speak", "give at least one word")
    if not 0.1 <= speed <= 10:
        raise SpeechError(f"the speed {speed} is out of range", "choose 0.1 to 10")
    backend.check_seed(seed)
    inference = voice.inference
    given = {"noise_scale": noise_scale, "noise_scale_w": noise_scale_w}
    scales = {
        name: inference[name] if value is None else value
        for name, value in given.items()
    }
    for name, value in scales.items():
        if not 0 <= value <= 2:
            raise SpeechError(f"`{name}` {value} is out of range", "choose 0 to 2")
    speaker_ids = voice.speaker_ids(speaker)
    pause = np.zeros(int(SENTENCE_PAUSE_SECONDS * voice.sample_rate), np.float32)
    spoken: list[np.ndarray] = []
    voice.model.eval()
    for index, piece in enumerate(pieces):
        symbols = voice.encode(piece)
        result = voice.model.infer(
            mx.array([symbols]),
            mx.array([len(symbols)]),
            length_scale=inference["length_scale"] / speed,
            speaker_ids=speaker_ids,
            key=mx.random.key(seed + index),
            noise_scale=scales["noise_scale"],
            noise_scale_w=scales["noise_scale_w"],
        )
        audio = np.array(result.audio[0])[: int(result.lengths[0])]
        spoken += [pause, audio] if spoken else [audio]
        on_progress(index + 1, len(pieces))
    return np.clip(np.concatenate(spoken), -1.0, 1.0)
