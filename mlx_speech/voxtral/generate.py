"""Token after token: what Voxtral answers to a prompt.

While the device works on one token, the one before is read and handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech import backend
from mlx_speech.errors import SpeechError
from mlx_speech.voxtral.features import chunk_features
from mlx_speech.voxtral.model import Voxtral
from mlx_speech.voxtral.prompt import Prompt

# Spoken text has up to 7 tokens a second; where somebody talks faster, the answer is
# cut, and says so.
TOKENS_PER_SECOND = 12
LEAST_TOKENS = 64


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest; else logits are divided by it.
        top_p: the likeliest tokens that have this much probability together are drawn
            from.
        seed: of the draws.

    Raises:
        SpeechError: numbers that make no sense.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        backend.check_seed(self.seed)
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise SpeechError(
                f"nothing can be drawn at temperature {self.temperature} of top_p "
                f"{self.top_p}",
                "choose a temperature from 0 on, and 0 < top_p <= 1",
            )


@dataclass(frozen=True)
class Generated:
    """What was answered.

    Attributes:
        tokens: ids, without the one that ends the answer.
        avg_logprob: mean log-probability of the tokens, the end included.
        truncated: the limit was reached before the end.
    """

    tokens: list[int]
    avg_logprob: float
    truncated: bool


def token_limit(seconds: float) -> int:
    """Tokens that an answer about so many seconds of speech may have."""
    return LEAST_TOKENS + round(TOKENS_PER_SECOND * seconds)


def generate(
    model: Voxtral,
    prompt: Prompt,
    limit: int,
    end: int,
    sampling: Sampling | None = None,
    on_token: Callable[[int], object] | None = None,
) -> Generated:
    """Answer a prompt.

    Args:
        model: the model.
        prompt: tokens and recordings.
        limit: most tokens of the answer.
        end: the token that ends it.
        sampling: how tokens are chosen; None: the likeliest.
        on_token: is told each token as soon as it is known.

    Raises:
        SpeechError: recordings that are no sound, or more tokens than the model can
            hold.
    """
    sampling = sampling or Sampling()
    most = model.config.text.max_position_embeddings
    if len(prompt.tokens) + limit > most:
        raise SpeechError(
            f"a prompt of {len(prompt.tokens)} tokens and an answer of {limit} are "
            f"more than the {most} that this model can hold",
            "shorten the recording, or ask for fewer tokens",
        )
    audio = None
    if prompt.clips:
        parts = [
            model.encode(chunk_features(clip, model.config.audio))
            for clip in prompt.clips
        ]
        audio = mx.concatenate(parts)
    caches = model.new_caches()
    embedded = model.embed(mx.array(prompt.tokens), audio)
    logits = model.prefill(embedded, caches)
    choose = Chooser(sampling)
    token, logprob = choose(logits)
    mx.async_eval(token, logprob)
    tokens: list[int] = []
    logprobs: list[mx.array] = []
    truncated = True
    for index in range(limit + 1):
        known, its_logprob = token, logprob
        if index < limit:
            token, logprob = choose(model.step(known, caches))
            mx.async_eval(token, logprob)
        value = int(np.array(known)[0])
        truncated = value != end
        if truncated and index == limit:
            break
        logprobs.append(its_logprob)
        if value == end:
            break
        tokens.append(value)
        if on_token is not None:
            on_token(value)
    return Generated(tokens, _mean(logprobs), truncated)


def _mean(values: list[mx.array]) -> float:
    """The mean of arrays [1]; 0 when there are none."""
    return float(np.array(mx.concatenate(values)).mean()) if values else 0.0


class Chooser:
    """Chooses tokens by logits, all on the device."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._key = mx.random.key(sampling.seed)

    def __call__(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        """Logits [1, vocabulary] to an id [1] and its log-probability [1]."""
        sampling = self._sampling
        if sampling.temperature == 0:
            token = mx.argmax(logits, axis=-1)
        else:
            self._key, key = mx.random.split(self._key)
            kept = within_top_p(logits / sampling.temperature, sampling.top_p)
            token = mx.random.categorical(kept, key=key)
        chosen = mx.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
        return token, chosen - mx.logsumexp(logits, axis=-1)


def within_top_p(logits: mx.array, top_p: float) -> mx.array:
    """Logits [rows, vocabulary] with those outside of the likeliest at -inf.

    The fewest tokens stay that have the probability ``top_p`` together.
    """
    if top_p == 1:
        return logits
    order = mx.argsort(-logits, axis=-1)
    probabilities = mx.take_along_axis(mx.softmax(logits, axis=-1), order, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    ordered = mx.take_along_axis(logits, order, axis=-1)
    kept = mx.where(before < top_p, ordered, -mx.inf)
    back = mx.argsort(order, axis=-1)
    return mx.take_along_axis(kept, back, axis=-1)
