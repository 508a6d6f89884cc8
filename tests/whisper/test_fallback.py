"""Only the windows that failed are decoded again, and results stay in their places."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from mlx_speech.whisper import fallback
from mlx_speech.whisper.decoding import DecodingOptions, DecodingResult, EncodedWindows
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions

# The temperature at which each window succeeds; none does for the last.
SUCCEEDS = {0: 0.0, 1: 0.4, 2: 0.0, 3: 0.2, 4: 9.0}


def test_failed_windows_again_each_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, list[int]]] = []

    def told(
        model: Any, windows: EncodedWindows, options: DecodingOptions, **_: Any
    ) -> list[DecodingResult]:
        names = [int(name) for name in windows.features[:, 0, 0].tolist()]
        asked.append((options.temperature, names))
        return [
            DecodingResult(
                windows.features[row],
                "en",
                text=f"window {name}",
                avg_logprob=-0.1 if options.temperature >= SUCCEEDS[name] else -5.0,
                no_speech_prob=0.0,
                temperature=options.temperature,
                compression_ratio=1.0,
            )
            for row, name in enumerate(names)
        ]

    monkeypatch.setattr(fallback, "decode", told)
    windows = EncodedWindows(mx.arange(5.0)[:, None, None], [])
    model: Any = None
    found = fallback.decode_with_fallback(
        *(model, windows, TranscriptionOptions(temperature=(0.0, 0.2, 0.4))),
        *("en", [], Tokenizer.for_size(51865)),
    )
    assert asked == [(0.0, [0, 1, 2, 3, 4]), (0.2, [1, 3, 4]), (0.4, [1, 4])]
    assert [result.text for result in found] == [f"window {i}" for i in range(5)]
    assert [result.temperature for result in found] == [0.0, 0.4, 0.0, 0.2, 0.4]
