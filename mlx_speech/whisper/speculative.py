"""Greedy decoding with a quick model that guesses ahead: the same tokens, sooner.

Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", and
Gandhi et al. 2023, "Distil-Whisper", for a draft that shares the encoder. The draft
writes some tokens, one after another; the model reads all of them in one pass and says
what it would have written at each place. What agrees is kept, and the first token that
does not is replaced by the model's own, so that every round gives a token at least. All
rules of decoding hold for both, and nothing but the model's choice is ever written.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.errors import SpeechError
from mlx_speech.hub.save import flatten_parameters
from mlx_speech.whisper.logit_rules import LogitRules, RowHistory, log_sum_exp
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.token_decoder import Candidate, TokenDecoder

# Tokens that are guessed at first; more after a round in which all agreed, fewer after
# another one.
FIRST_GUESSES, MOST_GUESSES = 5, 16
_MORE, _FEWER = 2, 1


@dataclass(frozen=True)
class Speculation:
    """A transcript, and how well it was guessed.

    Args:
        candidate: the tokens.
        drafted: tokens that the draft wrote, up to the end of the text.
        accepted: how many of them the model agreed with.
    """

    candidate: Candidate
    drafted: int
    accepted: int


def use_as_draft(model: Whisper, draft: Whisper) -> bool:
    """Check that a draft fits; let it share the encoder when it is the same.

    Args:
        model: whose tokens are wanted.
        draft: guesses. Its encoder is replaced by the model's when all weights are
            equal, as those of distil-large-v3 and large-v3 are.

    Returns:
        Whether the encoder is shared. Otherwise the draft encodes windows by itself.

    Raises:
        SpeechError: another vocabulary or spectrogram.
    """
    for name, what in (
        ("n_vocab", "tokens"),
        ("n_mels", "bands of the spectrogram"),
        ("n_audio_ctx", "positions of a window"),
        ("n_text_ctx", "tokens at most"),
    ):
        ours, theirs = getattr(model.config, name), getattr(draft.config, name)
        if ours != theirs:
            raise SpeechError(
                f"the draft has {theirs} {what} and the model {ours}",
                "use a draft that was distilled from this model",
            )
    if draft.encoder is not model.encoder and _equal_encoders(model, draft):
        draft.encoder = model.encoder
    return draft.encoder is model.encoder


def speculate(
    main: TokenDecoder, draft: TokenDecoder, rules: LogitRules
) -> Speculation:
    """Write what the model would write alone, taking the likeliest token each time.

    Args:
        main, draft: hold the same prompt, for one window.
        rules: what may come next.

    Raises:
        SpeechError: several windows, or several rows for one.
    """
    if main.rows != 1 or draft.rows != 1:
        raise SpeechError(
            f"{main.rows} rows cannot be guessed ahead together",
            "decode one window at a time, greedily",
        )
    writer, guesser = _Reader(main), _Reader(draft)
    history = rules.start(1)
    tokens: list[int] = []
    total = 0.0
    drafted = accepted = 0
    wanted = FIRST_GUESSES
    while len(tokens) < main.limit and (not tokens or tokens[-1] != rules.eot):
        # The last token is never read, so nothing is guessed at its place.
        count = min(wanted, main.limit - 1 - len(tokens))
        guesses, histories = _guess(guesser, rules, history, tokens, count)
        logits = writer.read(tokens, guesses)
        logits = _apply(rules, logits, histories, first=not tokens)
        chosen = mx.argmax(logits, axis=-1).astype(mx.int32)
        best = mx.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0]
        logprobs = best - log_sum_exp(logits)
        mx.eval(chosen, logprobs, guesses)
        agreed = _agreed(np.array(chosen), np.array(guesses))
        new = _until_end(np.array(chosen)[: agreed + 1].tolist(), rules.eot)
        tokens += new
        total += float(np.array(logprobs)[: len(new)].sum(dtype=np.float64))
        history = rules.extend(histories.take(mx.array([agreed])), chosen[agreed, None])
        # Guesses after the end of the text are not judged.
        drafted += min(count, len(new))
        accepted += min(agreed, len(new))
        wanted += _MORE if agreed == count else -_FEWER
        wanted = max(1, min(wanted, MOST_GUESSES))
        # What was read of wrong guesses is forgotten.
        for reader in (writer, guesser):
            reader.keep(len(tokens) - 1)
    if tokens[-1] == rules.eot:
        del tokens[-1]
    return Speculation(Candidate(tuple(tokens), total), drafted, accepted)


class _Reader:
    """A decoder, and how many of the sampled tokens it has read."""

    def __init__(self, decoder: TokenDecoder) -> None:
        self._decoder = decoder
        self._count = 0

    def read(self, written: list[int], guesses: mx.array) -> mx.array:
        """Read what is new in ``written``, and the guesses after it.

        Returns:
            Logits [1 + guesses, vocab] after the last written token and each guess.
        """
        new = written[self._count :]
        fed = mx.concatenate([mx.array(new, mx.int32), guesses])
        self._count = len(written) + guesses.size
        found = [] if written else [self._decoder.first_logits]
        if fed.size:
            # There is always something new, unless nothing was written yet.
            logits = self._decoder.read(fed[None])[0]
            found.append(logits[len(new) - 1 :] if new else logits)
        return mx.concatenate(found)

    def keep(self, count: int) -> None:
        """Forget all but the first ``count`` tokens, where more were read."""
        if self._count > count:
            self._decoder.forget(self._count - count)
            self._count = count

    def step(self, token: mx.array) -> mx.array:
        """Read one more guess [1]; give the logits [1, vocab] after it."""
        self._count += 1
        return self._decoder.step(token)


def _guess(
    guesser: _Reader,
    rules: LogitRules,
    history: RowHistory,
    written: list[int],
    count: int,
) -> tuple[mx.array, RowHistory]:
    """Guess ``count`` tokens.

    Returns:
        The guesses [count], and what was sampled before each of them and after the
        last, [count + 1].
    """
    histories = [history]
    guesses = [mx.zeros((0,), mx.int32)]
    for index in range(count):
        if index == 0:
            logits = guesser.read(written, guesses[0])
            logits = _apply(rules, logits, history, first=not written)
        else:
            logits = rules.apply(guesser.step(guesses[-1]), histories[-1])
        guesses.append(mx.argmax(logits, axis=-1).astype(mx.int32))
        histories.append(rules.extend(histories[-1], guesses[-1]))
    return mx.concatenate(guesses), RowHistory.joined(histories)


def _apply(
    rules: LogitRules, logits: mx.array, histories: RowHistory, first: bool
) -> mx.array:
    """Mask the logits of consecutive places, the first of which may begin the text."""
    if not first:
        return rules.apply(logits, histories)
    begin = rules.apply_first(logits[:1])
    if logits.shape[0] == 1:
        return begin
    later = histories.take(mx.arange(1, logits.shape[0]))
    return mx.concatenate([begin, rules.apply(logits[1:], later)])


def _agreed(chosen: np.ndarray, guesses: np.ndarray) -> int:
    """Guesses before the first that was not chosen."""
    wrong = np.flatnonzero(chosen[: len(guesses)] != guesses)
    return int(wrong[0]) if len(wrong) else len(guesses)


def _until_end(tokens: list[int], eot: int) -> list[int]:
    """The tokens up to the end of the text, that included."""
    return tokens[: tokens.index(eot) + 1] if eot in tokens else tokens


def _equal_encoders(model: Whisper, draft: Whisper) -> bool:
    ours, theirs = (flatten_parameters(each.encoder) for each in (model, draft))
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape
        and bool(mx.array_equal(ours[name], theirs[name]))
        for name in ours
    )
