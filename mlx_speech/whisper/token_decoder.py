"""The decoder at work on some windows: a prompt once, then one token after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_speech.whisper.model import CrossKeyValues, Whisper


@dataclass(frozen=True)
class Candidate:
    """One transcript that a search found.

    Args:
        tokens: what was sampled, without the prompt and the end of text.
        sum_logprob: natural log-probability of the tokens, and of the end when it
            came by itself.
    """

    tokens: tuple[int, ...]
    sum_logprob: float


class TokenDecoder:
    """Feeds tokens to a model and keeps its cache.

    Args:
        model: the model.
        cross: keys and values of the windows.
        prompts: tokens before the first sampled one, of each window; equally many.
        sot_index: where the start of the transcript is in them.
        group: rows for each window: beams, or independent samples.
        limit: the most tokens that will be sampled.

    Attributes:
        windows: how many there are.
        sot_logits: [windows, vocab] after the start of the transcript.
        first_logits: [windows * group, vocab] after the prompt.
    """

    def __init__(
        self,
        model: Whisper,
        cross: CrossKeyValues,
        prompts: Sequence[Sequence[int]],
        sot_index: int,
        group: int,
        limit: int,
    ) -> None:
        self._model = model
        self._cross = cross
        self._cache = model.new_cache(len(prompts[0]) + limit)
        self.windows = len(prompts)
        self.group = group
        self.limit = limit
        tokens = mx.array([list(prompt) for prompt in prompts])
        kept = (sot_index, tokens.shape[1] - 1)
        logits = model.decode(tokens, cross, self._cache, keep=kept)
        self.sot_logits = logits[:, 0]
        self.first_logits = logits[:, 1]
        if group > 1:
            # The rows of a window differ from here on; what was read is the same.
            rows = mx.repeat(mx.arange(self.windows), group)
            self.first_logits = self.first_logits[rows]
            self._cache.reorder(rows)

    @property
    def rows(self) -> int:
        """Sequences that are decoded at once."""
        return self.windows * self.group

    def step(self, tokens: mx.array) -> mx.array:
        """Add a token to each row; give the logits [rows, vocab] of the next."""
        return self.read(tokens[:, None])[:, 0]

    def read(self, tokens: mx.array) -> mx.array:
        """Add tokens [rows, n]; give the logits [rows, n, vocab] after each."""
        return self._model.decode(tokens, self._cross, self._cache)

    def forget(self, count: int) -> None:
        """Take the last ``count`` tokens of each row back."""
        self._cache.trim(self._cache.length - count)

    def reorder(self, rows: mx.array) -> None:
        """Go on from these rows, in this order."""
        self._cache.reorder(rows)
