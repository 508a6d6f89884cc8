"""Beam search with patience, for many windows at once, on the device.

Patience: Kasai et al. 2022, "A Call for Clarity in Beam Search". Every step ranks the
continuations of all beams of a window; those that end are set aside until there are
enough. The device keeps only the live beams and a count: who descends from whom is
noted step by step and followed back on the host once, when everything is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_speech.whisper.logit_rules import BLOCK, LogitRules, in_blocks, log_sum_exp
from mlx_speech.whisper.token_decoder import Candidate, TokenDecoder


@dataclass
class _Step:
    """What one step decided, for each window.

    Args:
        parents, tokens, sums: [windows, beams] of the beams that go on: whom they
            continue, with what, and their log-probabilities.
        ends: [windows, ranked] bool, which of the ranked continuations end.
        end_parents, end_sums: [windows, ranked], best first.
        done: whether every window has its candidates.
    """

    parents: mx.array
    tokens: mx.array
    sums: mx.array
    ends: mx.array
    end_parents: mx.array
    end_sums: mx.array
    done: mx.array


def search_beams(
    decoder: TokenDecoder, rules: LogitRules, patience: float = 1.0
) -> list[list[Candidate]]:
    """Find the likeliest transcripts.

    Args:
        decoder: holds the prompts; its group is the number of beams.
        rules: what may come next.
        patience: finished transcripts to wait for, as a multiple of the beams.

    Returns:
        For each window the candidates, finished ones first, in order of finishing;
        unfinished ones complete them to the number of beams.
    """
    windows, beams = decoder.windows, decoder.group
    wanted = round(beams * patience)
    history = rules.start(decoder.rows)
    # All beams of a window begin alike: only one may be continued at first.
    sums = mx.where(mx.arange(beams) == 0, 0.0, -mx.inf)
    sums = mx.broadcast_to(sums, (windows, beams))
    finished = mx.zeros((windows,), dtype=mx.int32)
    first_row = mx.arange(windows)[:, None] * beams
    steps: list[_Step] = []
    logits = rules.apply_first(decoder.first_logits)
    for index in range(decoder.limit):
        if index > 0:
            rows = (first_row + steps[-1].parents).reshape(-1)
            tokens = steps[-1].tokens.reshape(-1)
            decoder.reorder(rows)
            history = rules.extend(history.take(rows), tokens)
            logits = rules.apply(decoder.step(tokens), history)
        step = _rank(logits, sums, rules.eot)
        sums = step.sums
        finished = finished + step.ends.sum(axis=-1)
        step.done = (finished >= wanted).all()
        steps.append(step)
        mx.async_eval(list(vars(step).values()), finished)
        if index > 0 and steps[-2].done.item():
            steps.pop()  # it was begun before the end was known
            break
    return [_collect(steps, window, beams, wanted) for window in range(windows)]


def _rank(logits: mx.array, sums: mx.array, eot: int) -> _Step:
    """Continue all beams; keep the best that go on and those that end before them."""
    windows, beams = sums.shape
    # One more than there are beams: the end may be among them.
    width = beams + 1
    best = _largest(logits, width)
    logprobs = mx.take_along_axis(logits, best, axis=-1) - log_sum_exp(logits)[:, None]
    scores = sums[:, :, None] + logprobs.reshape(windows, beams, width)
    scores = scores.reshape(windows, -1)
    tokens = best.reshape(windows, -1)
    parents = mx.repeat(mx.arange(beams), width)[None]

    order = mx.argsort(-scores, axis=-1)
    scores = mx.take_along_axis(scores, order, axis=-1)
    tokens = mx.take_along_axis(tokens, order, axis=-1)
    parents = mx.take_along_axis(mx.broadcast_to(parents, order.shape), order, axis=-1)
    is_end = tokens == eot
    live_before = mx.cumsum((~is_end).astype(mx.int32), axis=-1, inclusive=False)
    # Continuations that cannot happen only fill up: ends among them do not count.
    ends = is_end & (live_before < beams) & (scores > -mx.inf)

    ranked = scores.shape[-1]
    place = mx.arange(ranked) + mx.where(is_end, ranked, 0)
    kept = mx.argsort(place, axis=-1)[:, :beams]
    return _Step(
        parents=mx.take_along_axis(parents, kept, axis=-1),
        tokens=mx.take_along_axis(tokens, kept, axis=-1),
        sums=mx.take_along_axis(scores, kept, axis=-1),
        ends=ends,
        end_parents=parents,
        end_sums=scores,
        done=mx.array(False),
    )


def _largest(values: mx.array, count: int) -> mx.array:
    """Ids [rows, count] of the largest ``values`` [rows, vocab], in any order.

    They lie in the ``count`` blocks with the largest maxima: one pass over the
    vocabulary and two small sorts, where sorting all of it would cost more than a
    step of the model.
    """
    rows, size = values.shape
    blocks = in_blocks(values)
    kept = min(count, blocks.shape[1])
    top = mx.argpartition(-blocks.max(axis=-1), kth=kept - 1, axis=-1)[:, :kept]
    inside = mx.take_along_axis(blocks, top[:, :, None], axis=1).reshape(rows, -1)
    best = mx.argpartition(-inside, kth=count - 1, axis=-1)[:, :count]
    ids = mx.take_along_axis(top, best // BLOCK, axis=-1) * BLOCK + best % BLOCK
    # Padding is among them only when fewer tokens are allowed: stay in the table.
    return mx.minimum(ids, size - 1).astype(mx.int32)


def _collect(
    steps: list[_Step], window: int, beams: int, wanted: int
) -> list[Candidate]:
    """Follow the notes of one window back to its transcripts."""
    parents = [np.array(step.parents[window]) for step in steps]
    tokens = [np.array(step.tokens[window]) for step in steps]

    def trace(last: int, beam: int) -> tuple[int, ...]:
        """Tokens of a beam up to step ``last``."""
        found = []
        for index in range(last, -1, -1):
            found.append(int(tokens[index][beam]))
            beam = int(parents[index][beam])
        return tuple(reversed(found))

    candidates: list[Candidate] = []
    last = 0
    for last, step in enumerate(steps):
        sums = np.array(step.end_sums[window])
        sources = np.array(step.end_parents[window])
        for rank in np.flatnonzero(np.array(step.ends[window])):
            if len(candidates) < wanted:
                history = trace(last - 1, int(sources[rank]))
                candidates.append(Candidate(history, float(sums[rank])))
        if len(candidates) >= wanted:
            break  # the other windows of the batch may go on
    sums = np.array(steps[last].sums[window])
    for beam in np.argsort(sums)[::-1]:
        if len(candidates) >= beams:
            break
        history = trace(last, int(beam))
        candidates.append(Candidate(history, float(sums[beam])))
    return candidates
