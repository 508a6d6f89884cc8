"""How a whole recording is transcribed; the names are openai-whisper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.decoding_options import DecodingOptions, DecodingResult
from mlx_speech.whisper.timing import APPENDED, PREPENDED

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class TranscriptionOptions:
    """Everything that may be asked of a transcription.

    Args:
        task, language, sample_len, best_of, beam_size, patience, length_penalty,
            prefix, suppress_tokens, suppress_blank, without_timestamps,
            max_initial_timestamp: as in ``DecodingOptions``; best_of counts above
            temperature 0 only, beam_size and patience at 0 only.
        temperature: one, or several that are tried until a window succeeds.
        compression_ratio_threshold: a text that packs better failed; None: no limit.
        logprob_threshold: tokens less likely on average failed; None: no limit.
        no_speech_threshold: a window whose silence is more probable, and whose tokens
            are not likelier than ``logprob_threshold``, is skipped; None: never.
        condition_on_previous_text: prompt each window with what came before.
        initial_prompt: text or ids that prompt the first window.
        carry_initial_prompt: prompt every window with it.
        hotwords: words that are likely to come; they precede the prompt of every
            window, unless there is a prefix.
        multilingual: detect the language of each window, not of the whole.
        clip_timestamps: start, end, start, end ... in seconds, as numbers or one text
            with commas; the last end may be left out.
        word_timestamps: find the time of every word, and place segments by them.
        prepend_punctuations, append_punctuations: marks that join the next word, and
            the one before.
        hallucination_silence_threshold: with word_timestamps, segments that look made
            up amid longer silences, in seconds, are dropped; None: none are.

    Raises:
        SpeechError: that threshold is negative.
    """

    task: str = "transcribe"
    language: str | None = None
    temperature: float | Sequence[float] = TEMPERATURES
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prefix: str | Sequence[int] | None = None
    suppress_tokens: str | Sequence[int] | None = "-1"
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    initial_prompt: str | Sequence[int] | None = None
    carry_initial_prompt: bool = False
    hotwords: str | None = None
    multilingual: bool = False
    clip_timestamps: str | Sequence[float] = (0.0,)
    word_timestamps: bool = False
    prepend_punctuations: str = PREPENDED
    append_punctuations: str = APPENDED
    hallucination_silence_threshold: float | None = None

    def __post_init__(self) -> None:
        threshold = self.hallucination_silence_threshold
        # Below 0 every window would be heard again for ever.
        if threshold is not None and not threshold >= 0:
            raise SpeechError(
                f"hallucination_silence_threshold is {threshold}",
                "give 0 or more seconds, or None",
            )

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures in the order of trying.

        Raises:
            SpeechError: there is none.
        """
        if isinstance(self.temperature, int | float):
            return (float(self.temperature),)
        if not self.temperature:
            raise SpeechError("no temperature is given", "give at least one, like 0")
        return tuple(self.temperature)

    def decoding(
        self, temperature: float, language: str | None, prompt: Sequence[int]
    ) -> DecodingOptions:
        """Options of one window at one temperature."""
        drawn = temperature > 0
        return DecodingOptions(
            task=self.task,
            language=language,
            temperature=temperature,
            sample_len=self.sample_len,
            best_of=self.best_of if drawn else None,
            beam_size=None if drawn else self.beam_size,
            patience=None if drawn else self.patience,
            length_penalty=self.length_penalty,
            prompt=prompt,
            prefix=self.prefix,
            suppress_tokens=self.suppress_tokens,
            suppress_blank=self.suppress_blank,
            without_timestamps=self.without_timestamps,
            max_initial_timestamp=self.max_initial_timestamp,
        )

    def failed(self, result: DecodingResult) -> bool:
        """Whether a window is to be tried again, at the next temperature."""
        unlikely = (
            self.logprob_threshold is not None
            and result.avg_logprob < self.logprob_threshold
        )
        silent = (
            self.no_speech_threshold is not None
            and result.no_speech_prob > self.no_speech_threshold
        )
        if silent and unlikely:
            return False
        repetitive = (
            self.compression_ratio_threshold is not None
            and result.compression_ratio > self.compression_ratio_threshold
        )
        return repetitive or unlikely

    def silent(self, result: DecodingResult) -> bool:
        """Whether nothing is said in a window."""
        likely = (
            self.logprob_threshold is not None
            and result.avg_logprob > self.logprob_threshold
        )
        return (
            self.no_speech_threshold is not None
            and result.no_speech_prob > self.no_speech_threshold
            and not likely
        )

    def clips(self, frames: int, frames_per_second: int) -> list[tuple[int, int]]:
        """First frame and the one after the last of each clip of a recording.

        Args:
            frames: of the recording; clips that go on beyond it end there.
            frames_per_second: of the spectrogram.

        Raises:
            SpeechError: no finite numbers, negative ones, or an end before its start.
        """
        given = self.clip_timestamps
        try:
            parts = given.split(",") if isinstance(given, str) else given
            seconds = [float(part) for part in parts if part != ""]
            points = [round(second * frames_per_second) for second in seconds] or [0]
        except (ValueError, OverflowError):
            raise _bad_clips(given) from None
        if len(points) % 2:
            points.append(max(frames, points[-1]))
        clips = list(zip(points[::2], points[1::2], strict=True))
        if any(start < 0 or end < start for start, end in clips):
            raise _bad_clips(given)
        return [(start, min(end, frames)) for start, end in clips]


def _bad_clips(given: str | Sequence[float]) -> SpeechError:
    return SpeechError(
        f"clip_timestamps is {given!r}",
        "give start,end,start,end,... in seconds, every end after its start",
    )
