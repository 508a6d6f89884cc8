"""Windows decoded together, those that failed again at the next temperature.

Radford et al. 2022, section 4.5. Windows that succeeded are left alone: only the rows
of failed ones are decoded again, and no window is encoded twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from mlx_speech.whisper.decoding import EncodedWindows, decode, detect_language
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.sampling import Sampler
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions


def decode_with_fallback(
    model: Whisper,
    windows: EncodedWindows,
    options: TranscriptionOptions,
    language: str | None,
    prompt: Sequence[int],
    tokenizer: Tokenizer,
    sampler: Sampler = mx.random.categorical,
) -> list[DecodingResult]:
    """Decode windows, each at higher temperatures as long as it fails.

    Args:
        model: the model.
        windows: encoded.
        options: temperatures, and what counts as failed.
        language: code; None: detected for each window.
        prompt: ids that come before each of the windows.
        tokenizer: the model's.
        sampler: draws tokens at temperatures above 0.

    Returns:
        The last result of each window.
    """
    count = windows.features.shape[0]
    results: dict[int, DecodingResult] = {}
    pending = list(range(count))
    for temperature in options.temperatures:
        found = decode(
            model,
            windows if len(pending) == count else windows.take(pending),
            options.decoding(temperature, language, prompt),
            tokenizer=tokenizer,
            sampler=sampler,
        )
        results |= dict(zip(pending, found, strict=True))
        pending = [index for index in pending if options.failed(results[index])]
        if not pending:
            break
    return [results[index] for index in range(count)]


def first_language(model: Whisper, window: EncodedWindows, tokenizer: Tokenizer) -> str:
    """The likeliest language of one window, or the only one that the model knows."""
    if tokenizer.only_language is not None:
        return tokenizer.only_language
    (probabilities,) = detect_language(model, window, tokenizer)
    return max(probabilities, key=probabilities.__getitem__)
