"""Which tokens may come next: suppression lists and the grammar of times.

Times come in pairs around a segment, never run backwards, and are preferred to text
whenever together they are likelier than the likeliest text token (Radford et al.
2022, section 4.5). All of it happens on the device: the few facts about a row that
the rules need travel as small arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.nn import exponentials
from mlx_speech.whisper.tokenizer import Tokenizer

BLOCK = 256


def in_blocks(values: mx.array) -> mx.array:
    """Cut [rows, vocab] into [rows, blocks, BLOCK], filled up with -inf."""
    rows, size = values.shape
    padded = mx.pad(values, [(0, 0), (0, -size % BLOCK)], constant_values=-mx.inf)
    return padded.reshape(rows, -1, BLOCK)


def log_sum_exp(logits: mx.array) -> mx.array:
    """Give the logarithm of the sum of exponentials of each row.

    A CPU adds one after another, and 50,000 terms lose two digits: blocks are added
    first, then their sums.

    Args:
        logits: [rows, vocab], float32.

    Returns:
        [rows].
    """
    return mx.logsumexp(exponentials.log_sum_exp(in_blocks(logits)), axis=-1)


@dataclass(frozen=True)
class RowHistory:
    """What the rules must know of the tokens sampled so far, one entry per row.

    Args:
        last_is_time: [rows] bool; true as long as nothing was sampled.
        one_before_is_time: [rows] bool; true as long as there is none.
        latest_time: [rows] int32, the id of the latest time; one less than the id
            of the first time when there is none.
    """

    last_is_time: mx.array
    one_before_is_time: mx.array
    latest_time: mx.array

    def take(self, rows: mx.array) -> RowHistory:
        """Pick rows, possibly several times: beams that go on from others."""
        return RowHistory(
            self.last_is_time[rows],
            self.one_before_is_time[rows],
            self.latest_time[rows],
        )

    @classmethod
    def joined(cls, histories: Sequence[RowHistory]) -> RowHistory:
        """All rows of several histories, one after the other."""
        return cls(
            mx.concatenate([each.last_is_time for each in histories]),
            mx.concatenate([each.one_before_is_time for each in histories]),
            mx.concatenate([each.latest_time for each in histories]),
        )


class LogitRules:
    """Masks logits [rows, vocab]; forbidden tokens become -inf.

    Args:
        tokenizer: gives the special ids.
        size: the width of the logits; what the vocabulary lacks of it never comes.
        suppress: ids that never come.
        suppress_blank: forbid a space or the end as the first token.
        timestamps: whether the grammar of times holds.
        max_initial_index: the largest time that may come first, counted from that
            of 0.00 s; None for any.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        size: int,
        suppress: Sequence[int] = (),
        suppress_blank: bool = True,
        timestamps: bool = True,
        max_initial_index: int | None = 50,
    ) -> None:
        self.eot = tokenizer.eot
        self.time_begin = tokenizer.timestamp_begin
        self.timestamps = timestamps
        always = np.zeros(size, np.float32)
        always[list(suppress)] = -np.inf
        # Rows that pad the table of tokens to a round size are no tokens.
        always[tokenizer.vocabulary.size :] = -np.inf
        if timestamps:
            always[tokenizer.special.no_timestamps] = -np.inf
        first = always.copy()
        if suppress_blank:
            first[[*tokenizer.encode(" "), self.eot]] = -np.inf
        if timestamps:
            first[: self.time_begin] = -np.inf
            if max_initial_index is not None:
                first[self.time_begin + max_initial_index + 1 :] = -np.inf
        self._always = mx.array(always)
        self._first = mx.array(first)
        self._text_ids = mx.arange(self.time_begin, dtype=mx.int32)
        self._time_ids = mx.arange(self.time_begin, size, dtype=mx.int32)

    def start(self, rows: int) -> RowHistory:
        """Return the history of rows that nothing was sampled for."""
        yes = mx.ones((rows,), dtype=mx.bool_)
        return RowHistory(yes, yes, mx.full((rows,), self.time_begin - 1, mx.int32))

    def extend(self, history: RowHistory, tokens: mx.array) -> RowHistory:
        """Return the history after ``tokens`` [rows] were sampled."""
        is_time = tokens >= self.time_begin
        latest = mx.where(is_time, tokens.astype(mx.int32), history.latest_time)
        return RowHistory(is_time, history.last_is_time, latest)

    def apply_first(self, logits: mx.array) -> mx.array:
        """Mask the logits [rows, vocab] of the first sampled token, as float32."""
        return logits.astype(mx.float32) + self._first

    def apply(self, logits: mx.array, history: RowHistory) -> mx.array:
        """Mask the logits [rows, vocab] of any later token, as float32."""
        logits = logits.astype(mx.float32) + self._always
        return self._apply_times(logits, history) if self.timestamps else logits

    def _apply_times(self, logits: mx.array, history: RowHistory) -> mx.array:
        last, before = history.last_is_time, history.one_before_is_time
        # A time after text closes a segment: the next token opens another, with the
        # same time at the least, or ends. A pair, or the first time, precedes text.
        closing = last & ~before
        opened = last & before
        lowest_time = mx.where(closing, history.latest_time, history.latest_time + 1)
        lowest_time = mx.where(opened, logits.shape[-1], lowest_time)
        times = mx.where(
            self._time_ids >= lowest_time[:, None],
            logits[:, self.time_begin :],
            -mx.inf,
        )
        text = logits[:, : self.time_begin]
        special_best = text[:, self.eot :].max(axis=-1)
        text_best = mx.maximum(text[:, : self.eot].max(axis=-1), special_best)
        text_best = mx.where(closing, special_best, text_best)
        # The mass counts only what the grammar left: otherwise a row whose times
        # were all forbidden could lose its text as well.
        only_times = mx.logsumexp(times, axis=-1) > text_best
        lowest_text = mx.where(closing, self.eot, 0)
        lowest_text = mx.where(only_times, self.time_begin, lowest_text)
        text = mx.where(self._text_ids >= lowest_text[:, None], text, -mx.inf)
        return mx.concatenate([text, times], axis=-1)
