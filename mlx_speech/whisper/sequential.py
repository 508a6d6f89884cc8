"""A whole recording, window after window, by OpenAI's sequential algorithm.

Radford et al. 2022, section 4.5: each window begins where the last closed segment of
the one before ended, is prompted with what was said, and is decoded again at higher
temperatures when the result looks wrong. A window goes through the encoder once.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.whisper.decoding import EncodedWindows, encode_windows
from mlx_speech.whisper.fallback import decode_with_fallback, first_language
from mlx_speech.whisper.hallucinations import WindowPlace
from mlx_speech.whisper.languages import language_code
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.rolling_prompt import RollingPrompt
from mlx_speech.whisper.sampling import Sampler
from mlx_speech.whisper.segments import FRAMES_PER_SECOND
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.window_reader import Listener, WindowReader
from mlx_speech.writers import Segment, Transcription


def transcribe_sequentially(
    model: Whisper,
    samples: np.ndarray,
    options: TranscriptionOptions,
    *,
    tokenizer: Tokenizer,
    sampler: Sampler = mx.random.categorical,
    listener: Listener | None = None,
    rfft: Transform = real_fft,
    draft: Whisper | None = None,
) -> Transcription:
    """Transcribe a recording as openai-whisper does.

    Args, returns and errors are those of :func:`mlx_speech.whisper.transcribe`.
    Segments of no length or no text stay, emptied.
    """
    mel = MelWindows(samples, model.config, rfft)
    clips = options.clips(mel.frames, FRAMES_PER_SECOND)
    encoder = _Encoder(model, mel, draft)
    if options.language is not None:
        language = language_code(options.language)
    else:
        language = first_language(
            model, encoder.window(0, model.config.n_frames), tokenizer
        )
    prompts = RollingPrompt.begin(options, tokenizer, model.config.n_text_ctx)
    reader = WindowReader(model, tokenizer, options)
    segments: list[Segment] = []
    for start, end in clips:
        seek = start
        while seek < end:
            frames = min(model.config.n_frames, end - seek)
            place = WindowPlace(seek, frames, model.config.n_frames, mel.frames)
            window = encoder.window(seek, frames)
            (result,) = decode_with_fallback(
                model,
                window,
                options,
                None if options.multilingual else language,
                prompts.next(),
                tokenizer,
                sampler,
            )
            found, seek = reader.read(result, window, place, len(segments))
            # It must be gone when the next is encoded: two take much memory.
            del window
            if found is not None:
                prompts.add(found, result.temperature)
                segments += found
            if listener is not None:
                listener(found or [], min(seek, mel.frames) / FRAMES_PER_SECOND)
    text = tokenizer.decode(prompts.said)
    return Transcription(text, segments, language, mel.seconds)


class _Encoder:
    """Encodes windows of a recording; remembers the last one."""

    def __init__(self, model: Whisper, mel: MelWindows, draft: Whisper | None) -> None:
        self._model = model
        self._mel = mel
        self._draft = draft
        self._last: tuple[tuple[int, int], EncodedWindows] | None = None

    def window(self, start: int, frames: int) -> EncodedWindows:
        if self._last is None or self._last[0] != (start, frames):
            self._last = None
            mel = self._mel.window(start, frames).astype(self._model.dtype)
            self._last = (
                (start, frames),
                encode_windows(self._model, mel, self._draft),
            )
        return self._last[1]
