"""The text of a stream by Voxtral Realtime, token after token, for any duration.

Each position of 80 ms has one token: text, or a token that writes nothing. One-shot and
streaming are the same: a recording is a stream whose blocks are all there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.nn.caches import Cache
from mlx_speech.voxtral.features import SAMPLE_RATE
from mlx_speech.voxtral.realtime_audio import (
    TOKEN_SECONDS,
    PaddedStream,
    StreamSettings,
    embed_stream,
    samples_per_token,
)
from mlx_speech.voxtral.realtime_model import VoxtralRealtime
from mlx_speech.voxtral.realtime_words import SegmentBuilder, WordBuilder
from mlx_speech.voxtral.tokenizer import Tekken
from mlx_speech.voxtral.transcribe import (
    UNDETERMINED,
    Listener,
    TextListener,
    tokenizer_of,
)
from mlx_speech.writers import Segment, Transcription

# Tokens that are made before any is read: the device never waits for the host.
_STEPS = 16


@dataclass(frozen=True)
class HeardToken:
    """One token of the text.

    Attributes:
        token: its id; special ones write nothing.
        seconds: about when it was heard.
        probability: that the model gave it, 0 to 1.
    """

    token: int
    seconds: float
    probability: float


class RealtimeReader:
    """Makes tokens of embeddings of audio as they come.

    When the model ends the text though the audio goes on, it begins anew with the
    audio that it heard last.

    Args:
        model: the model.
        settings: of the stream.
    """

    def __init__(self, model: VoxtralRealtime, settings: StreamSettings) -> None:
        self._model = model
        self._settings = settings
        self._scales = model.delay_scales(settings.delay_tokens)
        mx.eval(self._scales)
        # Embeddings from position `_first` on: what was not read yet, and as many
        # before as a prompt needs.
        self._history: mx.array | None = None
        self._first = 0
        self._caches: list[Cache] | None = None
        # The latest token, and its position.
        self._token = mx.array([settings.begin])
        self._position = len(settings.prompt)
        self._begun_at = -1
        self._ended = False

    def read(
        self, audio: mx.array, total: int | None = None, real: int | None = None
    ) -> list[HeardToken]:
        """Read more audio.

        Args:
            audio: embeddings [tokens, channels].
            total: positions of the whole stream; None: not known yet.
            real: positions before the silence at its end; None: not known yet.

        Returns:
            The tokens that follow from it.
        """
        earlier = [] if self._history is None else [self._history]
        self._history = mx.concatenate([*earlier, audio])
        known = self._first + self._history.shape[0]
        # The last position is only written, so its audio is not read.
        limit = known if total is None else min(known, total - 1)
        found: list[HeardToken] = []
        while not self._ended:
            if self._caches is None:
                if limit < self._position:
                    break
                made = [self._begin()]
            else:
                count = min(_STEPS, limit - self._position)
                if count < 1:
                    break
                made = self._advance(count)
            found += self._taken(made, real)
        self._forget()
        return found

    def _begin(self) -> tuple[mx.array, mx.array]:
        """Read the prompt with the audio before the position."""
        prompt = self._settings.prompt
        assert self._history is not None
        end = self._position - self._first
        self._caches = self._model.language_model.new_caches()
        logits = self._model.read(
            mx.array(prompt),
            self._history[end - len(prompt) : end],
            self._caches,
            self._scales,
        )
        return self._chosen(logits[-1:])

    def _advance(self, count: int) -> list[tuple[mx.array, mx.array]]:
        """Make so many more tokens."""
        assert self._history is not None and self._caches is not None
        made = []
        for index in range(count):
            at = self._position - self._first + index
            audio = self._history[at : at + 1]
            logits = self._model.read(self._token, audio, self._caches, self._scales)
            made.append(self._chosen(logits))
            mx.async_eval(made[-1])
        self._position += count
        return made

    def _chosen(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        self._token = mx.argmax(logits, axis=-1)
        chosen = mx.take_along_axis(logits, self._token[:, None], axis=-1)[:, 0]
        return self._token, mx.exp(chosen - mx.logsumexp(logits, axis=-1))

    def _taken(
        self, made: Sequence[tuple[mx.array, mx.array]], real: int | None
    ) -> list[HeardToken]:
        """Read the tokens that were made; those after an end are dropped."""
        tokens = np.array(mx.concatenate([token for token, _ in made])).tolist()
        chances = np.array(mx.concatenate([chance for _, chance in made])).tolist()
        first = self._position - len(made) + 1
        found: list[HeardToken] = []
        for index, token in enumerate(tokens):
            position = first + index
            if token == self._settings.end:
                if real is not None and position >= real:
                    self._ended = True
                    return found
                if position != self._begun_at:
                    self._begun_at = self._position = position
                    self._caches = None
                    return found
                # It ends at once again: nothing is written here.
                token = self._settings.pad
                self._token = mx.array([token])
            found.append(
                HeardToken(token, self._settings.seconds(position), chances[index])
            )
        return found

    def _forget(self) -> None:
        """Drop the embeddings that no prompt can need any more."""
        assert self._history is not None
        dropped = self._position - len(self._settings.prompt) - self._first
        if dropped > 0:
            self._history = mx.contiguous(self._history[dropped:])
            mx.eval(self._history)
            self._first += dropped


def stream_tokens(
    model: VoxtralRealtime, stream: PaddedStream, settings: StreamSettings
) -> Iterator[list[HeardToken]]:
    """Tokens of a stream, as soon as its blocks allow.

    Args:
        model: the model.
        stream: the audio.
        settings: of the stream.

    Yields:
        One token for each 80 ms, some at a time.

    Raises:
        SpeechError: audio that is no sound.
    """
    reader = RealtimeReader(model, settings)
    for audio in embed_stream(model, stream):
        yield reader.read(audio, stream.total_tokens, stream.real_tokens)


def transcribe_stream(
    model: VoxtralRealtime,
    blocks: np.ndarray | Iterable[np.ndarray],
    *,
    delay_tokens: int | None = None,
    tokenizer: Tekken | None = None,
    listener: Listener | None = None,
    on_text: TextListener | None = None,
) -> Transcription:
    """Write down what is said in a stream, or in a recording.

    Args:
        model: the model.
        blocks: float [samples] at 16 kHz, mono; or blocks of any lengths, which may
            come from a microphone.
        delay_tokens: how many tokens of 80 ms the text is behind the audio, 1 to 30:
            the more, the better the text; None: what the model's files say.
        tokenizer: the model's, to save reading it.
        listener: is told segments, and the seconds that are done.
        on_text: is told the text as it comes.

    Returns:
        Segments are sentences, or what stands between pauses; times of their words
        come from the positions of the tokens and are right to some tenths of a second.

    Raises:
        SpeechError: audio that is no sound, a delay that the model does not know, or a
            model without tokenizer.
    """
    tokenizer = tokenizer or tokenizer_of(model)
    settings = StreamSettings.of(model, tokenizer, delay_tokens)
    stream = PaddedStream(blocks, settings, samples_per_token(model))
    words = WordBuilder(tokenizer)
    builder = SegmentBuilder()
    segments: list[Segment] = []

    def tell(new: Sequence[Segment], seconds: float) -> None:
        segments.extend(new)
        if listener is not None:
            listener(new, seconds)

    tell_text: TextListener = on_text or (lambda text: None)
    for tokens in stream_tokens(model, stream, settings):
        # In the silence after the audio, the model catches up with its end.
        latest = max(0.0, stream.samples / SAMPLE_RATE - TOKEN_SECONDS)
        for heard in tokens:
            seconds = min(heard.seconds, latest)
            text = words.add(heard.token, seconds, heard.probability)
            if text:
                tell_text(text)
            new = [part for word in words.finished() for part in builder.add(word)]
            if new:
                tell(new, seconds)
        if tokens:
            tell([], seconds)
    rest = words.finish()
    if rest:
        tell_text(rest)
    last = [part for word in words.finished() for part in builder.add(word)]
    duration = stream.samples / SAMPLE_RATE
    tell([*last, *builder.finish()], duration)
    return Transcription(
        text="".join(segment.text for segment in segments).strip(),
        segments=segments,
        language=UNDETERMINED,
        duration=duration,
    )
