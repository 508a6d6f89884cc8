"""The batched pipeline beside OpenAI's sequential algorithm: errors and time.

Both transcribe the same recordings with the same model. Long recordings are made of
short ones with silences between them, so that what was said is known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.text.word_errors import WordErrors, word_errors
from mlx_speech.whisper.decoding import tokenizer_of
from mlx_speech.whisper.memory import MOST_WINDOWS
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.segments import FRAMES_PER_SECOND, SAMPLE_RATE
from mlx_speech.whisper.transcribe import transcribe
from mlx_speech.whisper.transcription_options import TranscriptionOptions

# Seconds of silence between sentences, and the level of its noise: about -55 dB.
PAUSES = (0.4, 6.0)
NOISE = 0.002
# Fewer windows give a batch nothing to do.
LEAST_WINDOWS = 5


@dataclass(frozen=True)
class LongRecording:
    """Sentences with silences between them.

    Attributes:
        samples: float32 [samples] at 16 kHz.
        text: all that is said.
    """

    samples: np.ndarray
    text: str


@dataclass
class PipelineRun:
    """What one algorithm made of all recordings.

    Attributes:
        texts: transcripts.
        errors: of all of them.
        seconds: processor time, without loading.
    """

    texts: list[str] = field(default_factory=list)
    errors: WordErrors = field(default_factory=WordErrors)
    seconds: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Both algorithms on the same recordings.

    Attributes:
        batched, exact: what they made of them.
        audio_seconds: of all recordings.
    """

    batched: PipelineRun
    exact: PipelineRun
    audio_seconds: float

    @property
    def difference(self) -> float:
        """Points of word error rate, 0 to 100, that the batched one is worse by."""
        return 100 * (self.batched.errors.rate - self.exact.errors.rate)

    @property
    def time_ratio(self) -> float:
        """Processor time of the batched one over that of the exact one."""
        return self.batched.seconds / self.exact.seconds


def join_sentences(
    spoken: Sequence[tuple[np.ndarray, str]],
    seed: int = 0,
    pauses: tuple[float, float] = PAUSES,
) -> LongRecording:
    """Put sentences one after the other, with silences of random length.

    Args:
        spoken: float [samples] at 16 kHz and what is said in it, for each sentence.
        seed: of the silences.
        pauses: seconds of the shortest and of the longest silence.
    """
    draw = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    for samples, _ in spoken:
        pause = round(SAMPLE_RATE * draw.uniform(*pauses))
        parts += [np.zeros(pause, np.float32), np.asarray(samples, np.float32)]
    parts.append(np.zeros(round(SAMPLE_RATE * pauses[1]), np.float32))
    joined = np.concatenate(parts)
    joined += NOISE * draw.standard_normal(len(joined)).astype(np.float32)
    return LongRecording(joined, " ".join(text for _, text in spoken))


def compare_pipelines(
    model: Whisper,
    recordings: Sequence[LongRecording],
    options: TranscriptionOptions | None = None,
    batch_size: int = MOST_WINDOWS,
) -> Comparison:
    """Transcribe recordings by both algorithms, in turns.

    Args:
        model: the model.
        recordings: each of at least five windows of the model.
        options: of both.
        batch_size: of the batched one.

    Raises:
        SpeechError: there is none, or one is too short.
    """
    window = model.config.n_frames / FRAMES_PER_SECOND
    shortest = min((len(r.samples) / SAMPLE_RATE for r in recordings), default=0.0)
    if shortest < LEAST_WINDOWS * window:
        raise SpeechError(
            f"a recording of {shortest:.1f} s has not {LEAST_WINDOWS} windows of"
            f" {window:g} s",
            "give longer ones",
        )
    runs = {True: PipelineRun(), False: PipelineRun()}
    tokenizer = tokenizer_of(model)
    # What is made at first use shall not count.
    first = recordings[0].samples[: round(window * SAMPLE_RATE)]
    transcribe(model, first, options, exact=True, tokenizer=tokenizer)
    for recording in recordings:
        for exact, run in runs.items():
            begin = time.process_time()
            found = transcribe(
                model,
                recording.samples,
                options,
                exact=exact,
                batch_size=batch_size,
                tokenizer=tokenizer,
            )
            run.seconds += time.process_time() - begin
            run.texts.append(found.text)
            run.errors += word_errors([recording.text], [found.text])
    audio_seconds = sum(len(r.samples) for r in recordings) / SAMPLE_RATE
    return Comparison(runs[False], runs[True], audio_seconds)
