"""A whole recording, many windows at once: the default algorithm.

The speech of a recording is packed into lanes of mostly one window (`packing.py`). Each
lane is decoded by OpenAI's rules, as if it were a recording: what a window leaves open
at its end is heard again. The current windows of several lanes are decoded together,
those that failed again at higher temperatures, and what is found is placed in the
recording, in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import mlx.core as mx
import numpy as np

from mlx_speech.audio.stft import Transform, real_fft
from mlx_speech.whisper.decoding import EncodedWindows, encode_windows
from mlx_speech.whisper.decoding_options import DecodingResult
from mlx_speech.whisper.fallback import decode_with_fallback, first_language
from mlx_speech.whisper.hallucinations import WindowPlace
from mlx_speech.whisper.lanes import Lane, fixed_lanes
from mlx_speech.whisper.languages import language_code
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.packing import SpeechFinder, speech_lanes
from mlx_speech.whisper.rolling_prompt import RollingPrompt
from mlx_speech.whisper.sampling import Sampler
from mlx_speech.whisper.segments import FRAMES_PER_SECOND, SECONDS_PER_TIME
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.window_reader import Listener, WindowReader
from mlx_speech.writers import Segment, Transcription

# Of a recording in which nobody speaks.
DEFAULT_LANGUAGE = "en"
# Fewer frames at the end of a lane than this are not heard again: no word is so short.
SHORTEST_REST = 10
# Frames that the end of a text may be too late or too early.
SLACK = 20


def transcribe_in_batches(
    model: Whisper,
    samples: np.ndarray,
    options: TranscriptionOptions,
    *,
    batch_size: int,
    find_speech: SpeechFinder | None,
    tokenizer: Tokenizer,
    sampler: Sampler = mx.random.categorical,
    listener: Listener | None = None,
    rfft: Transform = real_fft,
    draft: Whisper | None = None,
) -> Transcription:
    """Transcribe a recording.

    Args, returns and errors are those of :func:`mlx_speech.whisper.transcribe`.
    """
    mel = MelWindows(samples, model.config, rfft)
    lanes = _lanes(mel, samples, options, model.config.n_frames, find_speech)
    prompt = RollingPrompt.begin(options, tokenizer, model.config.n_text_ctx).next()
    language = None if options.language is None else language_code(options.language)
    waiting: list[_OpenLane] = []
    segments: list[Segment] = []

    def hear(batch: Sequence[_OpenLane]) -> None:
        """Read the current window of each lane; nothing of them stays in memory."""
        nonlocal language
        log_mels = [lane.log_mel(mel).astype(model.dtype) for lane in batch]
        for log_mel in log_mels:
            mx.eval(log_mel)
        windows = encode_windows(model, mx.concatenate(log_mels), draft)
        if language is None:
            language = first_language(model, windows.take([0]), tokenizer)
        results = decode_with_fallback(
            model,
            windows,
            options,
            None if options.multilingual else language,
            prompt,
            tokenizer,
            sampler,
        )
        for row, (open_lane, result) in enumerate(zip(batch, results, strict=True)):
            open_lane.read(result, windows.take([row]))

    while True:
        # What was found in a lane waits until the lanes before it are finished.
        batch = [lane for lane in waiting if not lane.finished]
        for lane in islice(lanes, batch_size - len(batch)):
            batch.append(_OpenLane(lane, model, tokenizer, options))
            waiting.append(batch[-1])
        if not batch:
            break
        hear(batch)
        while waiting:
            for found, done in waiting[0].tell():
                numbered = [
                    replace(segment, id=len(segments) + index)
                    for index, segment in enumerate(found)
                ]
                segments += numbered
                if listener is not None:
                    listener(numbered, done / FRAMES_PER_SECOND)
            if not waiting[0].finished:
                break
            del waiting[0]
    if listener is not None:
        listener([], mel.seconds)
    text = tokenizer.decode([token for each in segments for token in each.tokens])
    language = language or tokenizer.only_language or DEFAULT_LANGUAGE
    return Transcription(text, segments, language, mel.seconds)


class _OpenLane:
    """A lane, how far it has been heard, and what was found in it.

    Args:
        lane: the lane.
        model, tokenizer, options: of the transcription.
    """

    def __init__(
        self,
        lane: Lane,
        model: Whisper,
        tokenizer: Tokenizer,
        options: TranscriptionOptions,
    ) -> None:
        self._lane = lane
        self._window = model.config.n_frames
        self._time_begin = tokenizer.timestamp_begin
        # What was said before a lane is not known while others are being decoded.
        self._reader = WindowReader(model, tokenizer, options, last_speech=-math.inf)
        self._seek = 0
        # Segments of windows, and the frame of the recording that each was done at.
        self._untold: list[tuple[list[Segment], int]] = []

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could hold a word."""
        rest = self._lane.frames - self._seek
        is_scrap = self._seek > 0 and rest < SHORTEST_REST
        return is_scrap or self._seek >= self._lane.speech_end

    @property
    def _frames(self) -> int:
        """Of sound in the current window."""
        return min(self._window, self._lane.frames - self._seek)

    def log_mel(self, mel: MelWindows) -> mx.array:
        """The current window, [1, frames, n_mels]."""
        return mel.joined(self._lane.pieces(self._seek, self._frames))

    def read(self, result: DecodingResult, window: EncodedWindows) -> None:
        """Take what was decoded in the current window, and go to the next."""
        place = WindowPlace(self._seek, self._frames, self._window, self._lane.frames)
        found, self._seek = self._reader.read(result, window, place)
        end = (place.start + place.frames) / FRAMES_PER_SECOND
        timed = [self._timed(segment, place.offset, end) for segment in found or []]
        # Text that is placed behind the sound was made up.
        heard = [s for s in timed if s.text and s.start < end]
        # Without rules for times a text may end before its window begins.
        if heard and round(heard[-1].end * FRAMES_PER_SECOND) > place.start:
            self._seek = min(self._seek, self._passed_over(heard[-1].end))
        done = self._lane.frame(min(self._seek, self._lane.frames))
        self._untold.append(([self._lane.segment(s) for s in heard], done))

    def _passed_over(self, until: float) -> int:
        """The latest frame for the next window if all text ends at ``until`` seconds.

        Models may stop writing at a pause although somebody speaks after it. So the
        next window begins no later than the next run of speech after the text.
        OpenAI's algorithm takes what it has no text for to be silence.
        """
        frame = round(until * FRAMES_PER_SECOND)
        begin = self._lane.next_run(frame + SLACK)
        return max(frame, begin) if begin is not None else self._lane.frames

    def _timed(self, segment: Segment, offset: float, end: float) -> Segment:
        """Begin a segment at its first time also when it is alone in its window.

        OpenAI's algorithm lets a lone segment begin with the window; when it holds one
        time only, it ends there. Here that time is its beginning, and it ends with the
        sound.
        """
        times = [t - self._time_begin for t in segment.tokens if t >= self._time_begin]
        if segment.words is not None or not times:
            return segment
        if segment.tokens[0] < self._time_begin:
            return segment
        return replace(
            segment,
            start=offset + times[0] * SECONDS_PER_TIME,
            end=segment.end if len(times) > 1 else end,
        )

    def tell(self) -> list[tuple[list[Segment], int]]:
        """What was found since the last time."""
        untold, self._untold = self._untold, []
        return untold


def _lanes(
    mel: MelWindows,
    samples: np.ndarray,
    options: TranscriptionOptions,
    window: int,
    find_speech: SpeechFinder | None,
) -> Iterator[Lane]:
    """All that is to be heard, in order."""
    for start, end in options.clips(mel.frames, FRAMES_PER_SECOND):
        if find_speech is None:
            yield from fixed_lanes(start, end, window)
        else:
            yield from speech_lanes(samples, start, end, window, find_speech)
