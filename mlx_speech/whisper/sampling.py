"""The likeliest token at every step, or drawn ones, for many rows at once.

While the device works on one step, the next is already built: whether all rows have
ended is computed on the device and read one step late, so no step waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from mlx_speech.whisper.logit_rules import LogitRules, log_sum_exp
from mlx_speech.whisper.token_decoder import Candidate, TokenDecoder

# Logits over temperature, [rows, vocab], to ids [rows].
Sampler = Callable[[mx.array], mx.array]


def sample_tokens(
    decoder: TokenDecoder,
    rules: LogitRules,
    temperature: float,
    sampler: Sampler = mx.random.categorical,
) -> list[list[Candidate]]:
    """Decode every row to its end, or to the limit.

    Args:
        decoder: holds the prompts.
        rules: what may come next.
        temperature: 0 takes the likeliest token; else logits are divided by it.
        sampler: draws from logits; the default follows ``mx.random.seed``.

    Returns:
        For each window, one candidate per row of its group.
    """
    rows = decoder.rows
    history = rules.start(rows)
    ended = mx.zeros((rows,), dtype=mx.bool_)
    total = mx.zeros((rows,))
    all_ended: mx.array | None = None
    steps: list[mx.array] = []
    logits = rules.apply_first(decoder.first_logits)
    for index in range(decoder.limit):
        if index > 0:
            logits = rules.apply(decoder.step(steps[-1]), history)
        if temperature == 0:
            drawn = mx.argmax(logits, axis=-1)
        else:
            drawn = sampler(logits / temperature)
        drawn = drawn.astype(mx.int32)
        chosen = mx.take_along_axis(logits, drawn[:, None], axis=-1)[:, 0]
        logprob = chosen - log_sum_exp(logits)
        total = total + mx.where(ended, 0.0, logprob)
        tokens = mx.where(ended, rules.eot, drawn)
        ended = tokens == rules.eot
        history = rules.extend(history, tokens)
        steps.append(tokens)
        before, all_ended = all_ended, ended.all()
        mx.async_eval(tokens, total, all_ended)
        if before is not None and before.item():
            break
    sampled = np.array(mx.stack(steps, axis=1))
    sums = np.array(total)
    found = [
        Candidate(_until(row, rules.eot), float(score))
        for row, score in zip(sampled, sums, strict=True)
    ]
    return [found[i : i + decoder.group] for i in range(0, rows, decoder.group)]


def _until(row: np.ndarray, end: int) -> tuple[int, ...]:
    """The ids before the first ``end``, all of them when there is none."""
    ends = np.flatnonzero(row == end)
    return tuple(row[: ends[0]].tolist() if len(ends) else row.tolist())
