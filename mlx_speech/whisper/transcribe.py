"""A whole recording, window after window, by OpenAI's sequential algorithm.

Radford et al. 2022, section 4.5: each window begins where the last closed segment of
the one before ended, is prompted with what was said, and is decoded again at higher
temperatures when the result looks wrong. A window goes through the encoder once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx
import numpy as np

from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.whisper.decoding import (
    EncodedWindows,
    decode,
    detect_language,
    encode_windows,
    tokenizer_of,
)
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.hallucinations import (
    WindowPlace,
    find_hallucination,
    last_end,
    leading_silence,
    next_seek,
)
from mlx_speech.whisper.languages import language_code
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.sampling import Sampler
from mlx_speech.whisper.segments import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    SAMPLE_RATE,
    WindowPieces,
    cut_window,
)
from mlx_speech.whisper.timing import add_word_timestamps
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.writers import Segment, Transcription

# New segments of a window, and the seconds of the recording that are done.
Listener = Callable[[Sequence[Segment], float], None]
# Text that was drawn at a higher temperature than this prompts nothing.
LEAST_TRUSTED_TEMPERATURE = 0.5


def transcribe(
    model: Whisper,
    samples: np.ndarray,
    options: TranscriptionOptions | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    sampler: Sampler = mx.random.categorical,
    listener: Listener | None = None,
    rfft: Transform = real_fft,
) -> Transcription:
    """Transcribe a recording.

    Args:
        model: the model.
        samples: float [samples] at 16 kHz, mono.
        options: what to do and how.
        tokenizer: the model's, to save looking for it.
        sampler: draws tokens at temperatures above 0.
        listener: is told the segments of each window as soon as they are known.
        rfft: the transform of the spectrogram's frames, in place of MLX's own.

    Returns:
        The transcription. Segments of no length or no text stay, emptied.

    Raises:
        SpeechError: samples that are no sound, or options that contradict each other
            or do not fit the model.
    """
    options = options or TranscriptionOptions()
    tokenizer = tokenizer or tokenizer_of(model)
    mel = MelWindows(samples, model.config, rfft)
    clips = options.clips(mel.frames, FRAMES_PER_SECOND)
    encoder = _Encoder(model, mel)
    language = _language(model, encoder, options, tokenizer)
    prompts = _Prompts.begin(options, tokenizer, model.config.n_text_ctx)
    words = _Words(model, tokenizer, options, language)
    segments: list[Segment] = []
    for start, end in clips:
        seek = start
        while seek < end:
            frames = min(model.config.n_frames, end - seek)
            place = WindowPlace(seek, frames, model.config.n_frames, mel.frames)
            window = encoder.window(seek, frames)
            result = _decode(
                model, window, options, language, prompts.next(), tokenizer, sampler
            )
            found: list[Segment] | None = None
            seek += frames
            if not options.silent(result):
                cut = cut_window(result.tokens, tokenizer.timestamp_begin, frames)
                found = _segments(cut, result, place.start, len(segments), tokenizer)
                seek = place.start + cut.advance
                if options.word_timestamps:
                    found, seek = words.add(found, window, place, cut)
            if found is not None:
                found = [_without_nothing(segment) for segment in found]
                prompts.add(found, result.temperature)
                segments += found
            if listener is not None:
                listener(found or [], min(seek, mel.frames) / FRAMES_PER_SECOND)
    text = tokenizer.decode(prompts.said)
    return Transcription(text, segments, language, mel.seconds)


class _Encoder:
    """Encodes windows of a recording; remembers the last one."""

    def __init__(self, model: Whisper, mel: MelWindows) -> None:
        self._model = model
        self._mel = mel
        self._last: tuple[tuple[int, int], EncodedWindows] | None = None

    def window(self, start: int, frames: int) -> EncodedWindows:
        if self._last is None or self._last[0] != (start, frames):
            mel = self._mel.window(start, frames).astype(self._model.dtype)
            self._last = ((start, frames), encode_windows(self._model, mel))
        return self._last[1]


class _Words:
    """Gives segments their words; remembers where the last one ended."""

    def __init__(
        self,
        model: Whisper,
        tokenizer: Tokenizer,
        options: TranscriptionOptions,
        language: str,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._options = options
        self._language = language
        self._last_speech = 0.0

    def add(
        self,
        segments: list[Segment],
        window: EncodedWindows,
        place: WindowPlace,
        cut: WindowPieces,
    ) -> tuple[list[Segment] | None, int]:
        """Time the words of a window.

        Returns:
            The segments, None when the window is to be heard again from later on, and
            the first frame of the next window.
        """
        options = self._options
        segments = add_word_timestamps(
            segments,
            self._model,
            self._tokenizer,
            window.cross,
            place.frames,
            last_speech_timestamp=self._last_speech,
            language=self._language,
            task=options.task,
            prepend_punctuations=options.prepend_punctuations,
            append_punctuations=options.append_punctuations,
        )
        threshold = options.hallucination_silence_threshold
        seek = next_seek(segments, place, cut.advance, cut.ends_in_silence, threshold)
        if threshold is not None:
            silence = leading_silence(segments, place)
            if silence > threshold:
                return None, place.start + round(silence * FRAMES_PER_SECOND)
            made_up = find_hallucination(segments, place, self._last_speech, threshold)
            if made_up is not None:
                index, seek = made_up
                segments = segments[:index]
        spoken_until = last_end(segments)
        if spoken_until is not None:
            self._last_speech = spoken_until
        return segments, seek


@dataclass
class _Prompts:
    """What is said to the model before each window.

    Args:
        initial: ids of the initial prompt.
        tokens: those, and all that was transcribed.
        forgotten: so many of ``tokens`` prompt no more.
        carry: whether the initial prompt precedes every window.
        condition: whether what was transcribed prompts.
        room: ids that fit beside the initial prompt.
    """

    initial: list[int]
    carry: bool
    condition: bool
    room: int
    tokens: list[int] = field(default_factory=list)
    forgotten: int = 0

    @classmethod
    def begin(
        cls, options: TranscriptionOptions, tokenizer: Tokenizer, n_ctx: int
    ) -> _Prompts:
        initial: list[int] = []
        if options.initial_prompt is not None:
            initial = tokenizer.encode(" " + options.initial_prompt.strip())
        return cls(
            initial,
            options.carry_initial_prompt,
            options.condition_on_previous_text,
            n_ctx // 2 - 1 - len(initial),
            list(initial),
        )

    @property
    def said(self) -> list[int]:
        """All that was transcribed."""
        return self.tokens[len(self.initial) :]

    def next(self) -> list[int]:
        """The prompt of the next window."""
        if not self.carry:
            return self.tokens[self.forgotten :]
        rest = self.tokens[max(len(self.initial), self.forgotten) :]
        return self.initial + (rest[-self.room :] if self.room > 0 else [])

    def add(self, segments: Sequence[Segment], temperature: float) -> None:
        """Remember the segments of a window."""
        for segment in segments:
            self.tokens += segment.tokens
        if not self.condition or temperature > LEAST_TRUSTED_TEMPERATURE:
            self.forgotten = len(self.tokens)


def _language(
    model: Whisper,
    encoder: _Encoder,
    options: TranscriptionOptions,
    tokenizer: Tokenizer,
) -> str:
    """The language that is given, or that of the recording's beginning."""
    if options.language is not None:
        return language_code(options.language)
    if not tokenizer.multilingual:
        return "en"
    first = encoder.window(0, model.config.n_frames)
    (probabilities,) = detect_language(model, first, tokenizer)
    return max(probabilities, key=probabilities.__getitem__)


def _decode(
    model: Whisper,
    window: EncodedWindows,
    options: TranscriptionOptions,
    language: str,
    prompt: Sequence[int],
    tokenizer: Tokenizer,
    sampler: Sampler,
) -> DecodingResult:
    """Decode a window, again at higher temperatures as long as it fails."""
    for temperature in options.temperatures:
        (result,) = decode(
            model,
            window,
            options.decoding(temperature, language, prompt),
            tokenizer=tokenizer,
            sampler=sampler,
        )
        if not options.failed(result):
            break
    return result


def _segments(
    cut: WindowPieces,
    result: DecodingResult,
    seek: int,
    first_id: int,
    tokenizer: Tokenizer,
) -> list[Segment]:
    """Place the pieces of a window in the recording."""
    offset = seek * HOP_LENGTH / SAMPLE_RATE
    found = []
    for index, piece in enumerate(cut.pieces):
        text = tokenizer.decode([t for t in piece.tokens if t < tokenizer.eot])
        segment = Segment(
            id=first_id + index,
            seek=seek,
            start=offset + piece.start,
            end=offset + piece.end,
            text=text,
            tokens=piece.tokens,
            temperature=result.temperature,
            avg_logprob=result.avg_logprob,
            compression_ratio=result.compression_ratio,
            no_speech_prob=result.no_speech_prob,
        )
        found.append(segment)
    return found


def _without_nothing(segment: Segment) -> Segment:
    """Empty a segment of no length or no text."""
    if segment.start == segment.end or not segment.text.strip():
        return replace(segment, text="", tokens=(), words=())
    return segment
