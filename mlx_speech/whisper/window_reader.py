"""What was decoded in a window becomes segments, and tells where to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mlx_speech.whisper.decoding import EncodedWindows
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.hallucinations import (
    WindowPlace,
    find_hallucination,
    last_end,
    leading_silence,
    next_seek,
)
from mlx_speech.whisper.model import Whisper
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
from mlx_speech.writers import Segment

# New segments, and the seconds of the recording that are done.
Listener = Callable[[Sequence[Segment], float], None]


class WindowReader:
    """Reads the windows of a recording in order; knows where the last word ended.

    Args:
        model, tokenizer: the model's.
        options: thresholds, and whether words are to be timed.
        last_speech: seconds where the last word before the first window ended.
    """

    def __init__(
        self,
        model: Whisper,
        tokenizer: Tokenizer,
        options: TranscriptionOptions,
        last_speech: float = 0.0,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._options = options
        self._last_speech = last_speech

    def read(
        self,
        result: DecodingResult,
        window: EncodedWindows,
        place: WindowPlace,
        first_id: int = 0,
    ) -> tuple[list[Segment] | None, int]:
        """Cut a window into segments.

        Args:
            result: of the window.
            window: encoded, for the times of words.
            place: where it lies.
            first_id: of the first segment.

        Returns:
            The segments, emptied where they have no length or no text; None when
            nothing is said, or when the window is to be heard again from later on.
            And the first frame of the next window.
        """
        if self._options.silent(result):
            return None, place.start + place.frames
        cut = cut_window(result.tokens, self._tokenizer.timestamp_begin, place.frames)
        found: list[Segment] | None = self._segments(cut, result, place, first_id)
        seek = place.start + cut.advance
        if self._options.word_timestamps:
            found, seek = self._add_words(found or [], result, window, place, cut)
        if found is not None:
            found = [_cleared_if_empty(segment) for segment in found]
        return found, seek

    def _segments(
        self,
        cut: WindowPieces,
        result: DecodingResult,
        place: WindowPlace,
        first_id: int,
    ) -> list[Segment]:
        """Place the pieces of a window in the recording."""
        offset = place.start * HOP_LENGTH / SAMPLE_RATE
        end_of_text = self._tokenizer.eot
        texts = [[t for t in piece.tokens if t < end_of_text] for piece in cut.pieces]
        return [
            Segment(
                id=first_id + index,
                seek=place.start,
                start=offset + piece.start,
                end=offset + piece.end,
                text=self._tokenizer.decode(texts[index]),
                tokens=piece.tokens,
                temperature=result.temperature,
                avg_logprob=result.avg_logprob,
                compression_ratio=result.compression_ratio,
                no_speech_prob=result.no_speech_prob,
                language=result.language if self._options.multilingual else None,
            )
            for index, piece in enumerate(cut.pieces)
        ]

    def _add_words(
        self,
        segments: list[Segment],
        result: DecodingResult,
        window: EncodedWindows,
        place: WindowPlace,
        cut: WindowPieces,
    ) -> tuple[list[Segment] | None, int]:
        """Time the words of a window, and drop what was made up amid silence."""
        options = self._options
        segments = add_word_timestamps(
            segments,
            self._model,
            self._tokenizer,
            window.cross,
            place.frames,
            last_speech_timestamp=self._last_speech,
            language=result.language,
            task=options.task,
            prepend_punctuations=options.prepend_punctuations,
            append_punctuations=options.append_punctuations,
        )
        threshold = options.hallucination_silence_threshold
        seek = next_seek(segments, place, cut.advance, cut.ends_in_silence, threshold)
        if threshold is not None:
            silence = leading_silence(segments, place)
            if silence > threshold:
                # Less than a frame must not hold the window where it is.
                later = max(1, round(silence * FRAMES_PER_SECOND))
                return None, place.start + later
            made_up = find_hallucination(segments, place, self._last_speech, threshold)
            if made_up is not None:
                index, seek = made_up
                segments = segments[:index]
        spoken_until = last_end(segments)
        if spoken_until is not None:
            self._last_speech = spoken_until
        return segments, seek


def _cleared_if_empty(segment: Segment) -> Segment:
    """Take text, tokens and words from a segment that has no length or no text."""
    if segment.start == segment.end or not segment.text.strip():
        return replace(segment, text="", tokens=(), words=())
    return segment
