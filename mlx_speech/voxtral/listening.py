"""One way to load and to transcribe for all of Voxtral's releases."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.checkpoints import (
    load_realtime,
    load_voxtral,
    read_config,
)
from mlx_speech.voxtral.checkpoints import (
    save_voxtral as save,
)
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.realtime import transcribe_stream
from mlx_speech.voxtral.realtime_config import is_realtime
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.tokenizer import Tekken
from mlx_speech.voxtral.transcribe import (
    Listener,
    TextListener,
    TranscriptionOptions,
    transcribe_in_pieces,
)
from mlx_speech.writers import Transcription

__all__ = ["TranscriptionOptions", "check_options", "load", "save", "transcribe"]


def load(path: str | Path, dtype: mx.Dtype | None = None) -> Voxtral | VoxtralRealtime:
    """Load a model of either release from a folder in any of the known layouts.

    Args:
        path: the folder.
        dtype: to compute in; see ``load_voxtral``.

    Raises:
        SpeechError: as ``load_voxtral``.
    """
    realtime = is_realtime(read_config(Path(path)))
    return load_realtime(path, dtype) if realtime else load_voxtral(path, dtype)


def transcribe(
    model: Voxtral | VoxtralRealtime,
    samples: np.ndarray,
    options: TranscriptionOptions | None = None,
    *,
    tokenizer: Tekken | None = None,
    listener: Listener | None = None,
    on_text: TextListener | None = None,
) -> Transcription:
    """Write down what is said in a recording.

    Args:
        model: the model.
        samples: float [samples] at 16 kHz, mono.
        options: see ``TranscriptionOptions``.
        tokenizer: the model's, to save reading it.
        listener: is told segments as they are known, and the seconds that are done.
        on_text: is told the text as it comes.

    Returns:
        Of Voxtral 2507 a ``VoxtralTranscription``, which says where text is not whole;
        Voxtral Realtime has no limit.

    Raises:
        SpeechError: samples that are no sound, a model without tokenizer, or options
            that the release does not have.
    """
    options = options or TranscriptionOptions()
    check_options(model, options)
    if isinstance(model, Voxtral):
        return transcribe_in_pieces(
            model,
            samples,
            options,
            tokenizer=tokenizer,
            listener=listener,
            on_text=on_text,
        )
    return transcribe_stream(
        model,
        samples,
        delay_tokens=options.delay_tokens,
        tokenizer=tokenizer,
        listener=listener,
        on_text=on_text,
    )


def check_options(
    model: Voxtral | VoxtralRealtime, options: TranscriptionOptions
) -> None:
    """Refuse what no recording could be transcribed with; none is needed for that.

    Raises:
        SpeechError: the release does not have one of the options.
    """
    if isinstance(model, Voxtral):
        if options.delay_tokens is not None:
            raise SpeechError(
                "Voxtral 2507 hears a piece as a whole, without a delay",
                "leave the delay out, or use `voxtral-realtime`",
            )
        return
    if options.language is not None:
        raise SpeechError(
            "Voxtral Realtime cannot be told the language: it finds it out",
            "leave the language out, or use `voxtral-mini`",
        )
    if options.temperature != 0:
        raise SpeechError(
            "Voxtral Realtime takes the likeliest tokens only",
            "leave the temperature out",
        )
