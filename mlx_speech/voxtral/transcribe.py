"""Recordings of any length to text, and questions about recordings: Voxtral 2507.

The model tells no times. A recording is cut at silences into pieces, and the cuts are
the times of the segments: pieces of up to 30 s cost least, since the model hears whole
chunks of 30 s; longer ones let it see more of what was said before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_speech.audio.segment import Span, cut_at_silences
from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.features import SAMPLE_RATE, check_samples
from mlx_speech.voxtral.generate import Generated, Sampling, generate, token_limit
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.prompt import (
    LONGEST_TRANSCRIPTION_MINUTES,
    Prompt,
    Turn,
    conversation_prompt,
    language_code,
    transcription_prompt,
)
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.tokenizer import END, Tekken
from mlx_speech.writers import Segment, Transcription

# Told segments as soon as they are known, and the seconds that are done.
Listener = Callable[[Sequence[Segment], float], object]
TextListener = Callable[[str], object]

UNDETERMINED = "und"
# Pieces that are cut for their length only, at a pause, have half of it at least; and a
# pause of so many seconds always cuts, since a subtitle should not stay through it.
LONGEST_PAUSE = 3.0
SHORTEST_PIECE = 1.0
# What the release asks for when it talks.
CHAT_SAMPLING = Sampling(temperature=0.2, top_p=0.95)
LEAST_ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class TranscriptionOptions:
    """How to transcribe.

    Attributes:
        language: code or English name; None: the model finds it out, for every piece.
            Voxtral Realtime always does.
        piece_seconds: Voxtral 2507's longest piece, and so longest segment.
        temperature: 0 takes the likeliest tokens; else logits are divided by it.
        top_p: the likeliest tokens that have this much probability together are drawn
            from.
        seed: of the draws.
        delay_tokens: how many tokens of 80 ms Voxtral Realtime's text is behind the
            audio, 1 to 30; None: what the model's files say.
        word_timestamps: whether words must have times, which Voxtral 2507 cannot tell.

    Raises:
        SpeechError: an unknown language, pieces that the model cannot take, or numbers
            that nothing can be drawn with.
    """

    language: str | None = None
    piece_seconds: float = 30.0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    delay_tokens: int | None = None
    word_timestamps: bool = False

    def __post_init__(self) -> None:
        if self.language is not None:
            language_code(self.language)
        most = 60 * LONGEST_TRANSCRIPTION_MINUTES
        if not 2 * SHORTEST_PIECE <= self.piece_seconds <= most:
            raise SpeechError(
                f"pieces of {self.piece_seconds:g} s cannot be transcribed",
                f"choose from {2 * SHORTEST_PIECE:g} to {most} s",
            )
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        return Sampling(self.temperature, self.top_p, self.seed)


@dataclass(frozen=True)
class VoxtralTranscription(Transcription):
    """What was heard, and where the text is not whole.

    Attributes:
        truncated: pieces whose text reached the limit of tokens before its end.
    """

    truncated: tuple[Span, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """openai-whisper's result, and the spans of text that is not whole."""
        return super().to_dict() | {
            "truncated": [list(span) for span in self.truncated]
        }


@dataclass(frozen=True)
class Answer:
    """What was answered to a question.

    Attributes:
        text: the answer.
        tokens: its ids.
        truncated: the limit of tokens was reached before its end.
    """

    text: str
    tokens: list[int]
    truncated: bool


def transcribe_in_pieces(
    model: Voxtral,
    samples: np.ndarray,
    options: TranscriptionOptions | None = None,
    *,
    tokenizer: Tekken | None = None,
    listener: Listener | None = None,
    on_text: TextListener | None = None,
) -> VoxtralTranscription:
    """Write down what is said in a recording.

    Args:
        model: the model.
        samples: float [samples] at 16 kHz, mono.
        options: see :class:`TranscriptionOptions`.
        tokenizer: the model's, to save reading it.
        listener: is told each segment, and the seconds that are done.
        on_text: is told the text as it comes, a few characters at a time.

    Returns:
        One segment for each piece with words; the language is "und" when none was
        given.

    Raises:
        SpeechError: samples that are no sound, a model without tokenizer, or times of
            words are asked for.
    """
    options = options or TranscriptionOptions()
    if options.word_timestamps:
        raise SpeechError(
            "Voxtral 2507 tells no times of words",
            "leave words out, or use `voxtral-realtime`",
        )
    samples = np.asarray(samples, dtype=np.float32)
    check_samples(samples)
    tokenizer = tokenizer or tokenizer_of(model)
    duration = len(samples) / SAMPLE_RATE
    segments: list[Segment] = []
    truncated: list[Span] = []
    for piece in pieces(samples, options.piece_seconds):
        first, last = (round(at * SAMPLE_RATE) for at in piece)
        prompt = transcription_prompt(
            tokenizer, model.config, samples[first:last], options.language
        )
        separator = " " if segments else ""
        limit = _within_room(model, prompt, token_limit(prompt.seconds))
        text, found = _written(
            model, tokenizer, prompt, options.sampling, limit, separator, on_text
        )
        if found.truncated:
            truncated.append(piece)
        new: list[Segment] = []
        # A sound without words makes no subtitle.
        if text.strip():
            new.append(
                Segment(
                    id=len(segments),
                    seek=round(100 * piece.start),
                    start=piece.start,
                    end=piece.end,
                    text=separator + text.strip(),
                    tokens=found.tokens,
                    temperature=options.temperature,
                    avg_logprob=found.avg_logprob,
                    compression_ratio=_compression_ratio(text),
                )
            )
        segments += new
        if listener is not None:
            listener(new, piece.end)
    if listener is not None:
        listener([], duration)
    language = options.language and language_code(options.language)
    return VoxtralTranscription(
        text="".join(segment.text for segment in segments),
        segments=segments,
        language=language or UNDETERMINED,
        duration=duration,
        truncated=tuple(truncated),
    )


def ask(
    model: Voxtral,
    turns: Iterable[Turn],
    *,
    sampling: Sampling = CHAT_SAMPLING,
    max_tokens: int | None = None,
    tokenizer: Tekken | None = None,
    on_text: TextListener | None = None,
) -> Answer:
    """Answer the last turn of a conversation about recordings.

    Args:
        model: the model.
        turns: so far, the user's last; recordings are float [samples] at 16 kHz.
        sampling: how tokens are chosen.
        max_tokens: most tokens of the answer; None: enough for a transcription of all
            recordings, and for a long answer.
        tokenizer: the model's, to save reading it.
        on_text: is told the text as it comes.

    Raises:
        SpeechError: turns or recordings that make no prompt, more than the model can
            hold, or a model without tokenizer.
    """
    tokenizer = tokenizer or tokenizer_of(model)
    prompt = conversation_prompt(tokenizer, model.config, turns)
    if max_tokens is None:
        wanted = max(LEAST_ANSWER_TOKENS, token_limit(prompt.seconds))
        max_tokens = _within_room(model, prompt, wanted)
    text, found = _written(model, tokenizer, prompt, sampling, max_tokens, "", on_text)
    return Answer(text.strip(), found.tokens, found.truncated)


def pieces(samples: np.ndarray, longest: float) -> list[Span]:
    """Where to cut a recording, float [samples] at 16 kHz; silence is in no piece."""
    return cut_at_silences(
        samples, SAMPLE_RATE, longest, SHORTEST_PIECE, longest_pause=LONGEST_PAUSE
    )


def tokenizer_of(model: Voxtral | VoxtralRealtime) -> Tekken:
    """The tokenizer beside a model's weights.

    Raises:
        SpeechError: the model came from nowhere, there is none, or it is another's.
    """
    if model.folder is None:
        raise SpeechError(
            "this model was not loaded from a folder, so it has no tokenizer",
            "give a tokenizer",
        )
    tokenizer = Tekken.from_folder(model.folder)
    if tokenizer.size > model.config.text.vocab_size:
        raise SpeechError(
            f"the tokenizer in `{model.folder}` has {tokenizer.size} tokens and the "
            f"model {model.config.text.vocab_size}",
            "use the tokenizer that came with the weights",
        )
    return tokenizer


def _written(
    model: Voxtral,
    tokenizer: Tekken,
    prompt: Prompt,
    sampling: Sampling,
    limit: int,
    before: str,
    on_text: TextListener | None,
) -> tuple[str, Generated]:
    """The answer's text, told as it comes, with ``before`` in front if there is any."""
    stream = tokenizer.stream()
    written: list[str] = []

    def write(piece: str) -> None:
        # Answers begin with a space, which is between words only.
        shown = piece if written else piece.lstrip()
        if not shown:
            return
        if on_text is not None:
            on_text(shown if written else before + shown)
        written.append(shown)

    found = generate(
        model,
        prompt,
        limit,
        tokenizer.special_id(END),
        sampling,
        lambda token: write(stream.add(token)),
    )
    write(stream.finish())
    return "".join(written), found


def _within_room(model: Voxtral, prompt: Prompt, wanted: int) -> int:
    """As many tokens of an answer as the model can hold beside the prompt."""
    room = model.config.text.max_position_embeddings - len(prompt.tokens)
    return max(1, min(wanted, room))


def _compression_ratio(text: str) -> float:
    content = text.encode()
    return len(content) / len(zlib.compress(content))
