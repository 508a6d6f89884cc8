"""A whole recording: `transcribe`, by one of two algorithms.

The default looks for speech first, packs it into windows and decodes many windows at
once (`batched.py`). The exact one is OpenAI's: window after window, each prompted by
what was said before (`sequential.py`).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_speech.audio.segment import find_speech as find_speech_by_energy
from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.errors import SpeechError
from mlx_speech.whisper.batched import transcribe_in_batches
from mlx_speech.whisper.decoding import tokenizer_of
from mlx_speech.whisper.memory import fitting_windows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.packing import SpeechFinder
from mlx_speech.whisper.prompts import suppressed_tokens
from mlx_speech.whisper.sampling import Sampler
from mlx_speech.whisper.sequential import transcribe_sequentially
from mlx_speech.whisper.speculative import use_as_draft
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.window_reader import Listener
from mlx_speech.writers import Transcription


def transcribe(
    model: Whisper,
    samples: np.ndarray,
    options: TranscriptionOptions | None = None,
    *,
    exact: bool = False,
    batch_size: int | None = None,
    find_speech: SpeechFinder | None = find_speech_by_energy,
    tokenizer: Tokenizer | None = None,
    sampler: Sampler = mx.random.categorical,
    listener: Listener | None = None,
    rfft: Transform = real_fft,
    draft: Whisper | None = None,
) -> Transcription:
    """Transcribe a recording.

    Args:
        model: the model.
        samples: float [samples] at 16 kHz, mono.
        options: what to do and how.
        exact: OpenAI's sequential algorithm on all of the recording. Otherwise windows
            do not depend on each other (``condition_on_previous_text`` has no effect,
            and the initial prompt precedes all of them), silence is not decoded, and
            segments of no text are left out.
        batch_size: windows that are decoded at once; None: eight, or as many as fit in
            memory (:func:`mlx_speech.whisper.memory.fitting_windows`). The sequential
            algorithm takes one at a time.
        find_speech: finds the stretches in which somebody speaks, in samples of a rate
            in hertz; None: consecutive windows of everything. The sequential algorithm
            hears everything.
        tokenizer: the model's, to save looking for it.
        sampler: draws tokens at temperatures above 0.
        listener: is told segments in order, as soon as they are known, and the seconds
            of the recording that are done.
        rfft: the transform of the spectrogram's frames, in place of MLX's own.
        draft: a smaller model that guesses ahead where tokens are taken greedily; the
            tokens are the same. Windows are decoded one at a time then.

    Returns:
        The transcription. The language is "en" when none is given and nobody speaks.

    Raises:
        SpeechError: samples that are no sound, or options that contradict each other
            or do not fit the model; a draft that does not fit; a limit of memory in
            which no window can be decoded.
    """
    options = options or TranscriptionOptions()
    tokenizer = tokenizer or tokenizer_of(model)
    if batch_size is not None and batch_size < 1:
        raise SpeechError(f"batch_size is {batch_size}", "give 1 or more")
    check_options(model, options, tokenizer=tokenizer, draft=draft)
    if draft is not None:
        batch_size = 1
    fitting = fitting_windows(model, options, draft)
    if exact:
        return transcribe_sequentially(
            model,
            samples,
            options,
            tokenizer=tokenizer,
            sampler=sampler,
            listener=listener,
            rfft=rfft,
            draft=draft,
        )
    return transcribe_in_batches(
        model,
        samples,
        options,
        batch_size=batch_size or fitting,
        find_speech=find_speech,
        tokenizer=tokenizer,
        sampler=sampler,
        listener=listener,
        rfft=rfft,
        draft=draft,
    )


def check_options(
    model: Whisper,
    options: TranscriptionOptions,
    *,
    tokenizer: Tokenizer | None = None,
    draft: Whisper | None = None,
) -> None:
    """Refuse what no recording could be transcribed with; none is needed for that.

    Args:
        model, options, tokenizer, draft: as in :func:`transcribe`.

    Raises:
        SpeechError: a draft or a limit of memory that does not fit the model, or a
            language or tokens that it does not know.
    """
    tokenizer = tokenizer or tokenizer_of(model)
    if draft is not None:
        use_as_draft(model, draft)
    fitting_windows(model, options, draft)
    suppressed_tokens(tokenizer, options.suppress_tokens)
    tokenizer.sot_sequence(options.language, options.task)
