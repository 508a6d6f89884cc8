"""The grammar of times, against a plain reading of it, and where others go wrong."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper.logit_rules import LogitRules, RowHistory, log_sum_exp
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

# Bytes, and 21 times: small enough to look at every token.
RANKS = {bytes([value]): value for value in range(256)}
SPECIAL = SpecialTokens.following(256, ("en", "de"), timestamps=21)
TOKENIZER = Tokenizer(Vocabulary(RANKS, SPECIAL, multilingual=True))
SIZE, TIME, EOT = SPECIAL.size, SPECIAL.timestamp_begin, SPECIAL.eot


def expected(logits: np.ndarray, sampled: list[int], initial: int | None) -> np.ndarray:
    """The rules of times as openai-whisper's read, for one row, on the host."""
    logits = logits.astype(np.float64)
    logits[SPECIAL.no_timestamps] = -np.inf
    last = bool(sampled) and sampled[-1] >= TIME
    before = len(sampled) < 2 or sampled[-2] >= TIME
    if last and before:
        logits[TIME:] = -np.inf
    elif last:
        logits[:EOT] = -np.inf
    times = [token for token in sampled if token >= TIME]
    if times:
        logits[TIME : times[-1] + (0 if last and not before else 1)] = -np.inf
    if not sampled:
        logits[:TIME] = -np.inf
        if initial is not None:
            logits[TIME + initial + 1 :] = -np.inf
    with np.errstate(divide="ignore"):
        mass = np.log(np.exp(logits[TIME:]).sum())
    if mass > logits[:TIME].max():
        logits[:TIME] = -np.inf
    return logits


def apply(rules: LogitRules, logits: np.ndarray, rows: list[list[int]]) -> np.ndarray:
    """Mask logits of rows that sampled equally many tokens."""
    if not rows[0]:
        return np.array(rules.apply_first(mx.array(logits)))
    return np.array(rules.apply(mx.array(logits), history(rules, rows)))


def history(rules: LogitRules, rows: list[list[int]]) -> RowHistory:
    found = rules.start(len(rows))
    for tokens in zip(*rows, strict=True):
        found = rules.extend(found, mx.array(tokens))
    return found


def rules(**settings: object) -> LogitRules:
    return LogitRules(TOKENIZER, SIZE, **{"suppress_blank": False, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("initial", [None, 5])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 6])
def test_masks_equal_a_plain_reading(length: int, initial: int | None) -> None:
    draw = np.random.default_rng(length)
    compared = set()
    for scale in (0.5, 2.0, 6.0):
        rows = [
            [
                int(draw.integers(TIME, SIZE) if draw.random() < 0.5 else token)
                for token in draw.integers(0, TIME, length)
            ]
            for _ in range(40)
        ]
        logits = (scale * draw.standard_normal((40, SIZE))).astype(np.float32)
        found = apply(rules(max_initial_index=initial), logits, rows)
        for row, sampled in enumerate(rows):
            wanted = expected(logits[row], sampled, initial)
            np.testing.assert_array_equal(found[row], wanted.astype(np.float32))
            compared.add((np.isinf(wanted[:TIME]).all(), np.isinf(wanted[TIME:]).all()))
    if length > 1:
        assert len(compared) == 3, "not all sorts of masks were met"


def test_times_that_are_forbidden_have_no_mass() -> None:
    # After the first time come words, however likely another time looks. Counting
    # the mass of times before forbidding them leaves nothing at all: NaN, token 0.
    logits = np.zeros((1, SIZE), np.float32)
    logits[0, TIME:] = 9.0
    logits[0, 65] = 3.0
    found = apply(rules(), logits, [[TIME]])
    assert np.isinf(found[0, TIME:]).all()
    assert found[0].argmax() == 65
    logprob = found[0, 65] - np.array(log_sum_exp(mx.array(found)))[0]
    assert np.isfinite(logprob)


def test_times_never_run_backwards() -> None:
    # Compared by id: by index in the row, nothing would ever be forbidden.
    logits = np.zeros((1, SIZE), np.float32)
    logits[0, TIME + 3] = 9.0
    text_then = apply(rules(), logits, [[TIME, 65, TIME + 8, TIME + 8, 65]])[0]
    assert np.isinf(text_then[TIME : TIME + 9]).all()
    assert np.isfinite(text_then[TIME + 9 :]).all()
    closing = apply(rules(), logits, [[TIME, 65, TIME + 8]])[0]
    assert np.isinf(closing[TIME : TIME + 8]).all()
    assert np.isfinite(closing[TIME + 8 :]).all()


def test_text_wins_when_it_is_likelier_than_all_times_together() -> None:
    logits = np.full((2, SIZE), -20.0, np.float32)
    logits[:, TIME + 5 : TIME + 15] = 0.0
    logits[0, 65] = np.log(10) + 0.01
    logits[1, 65] = np.log(10) - 0.01
    found = apply(rules(), logits, [[TIME, 66], [TIME, 66]])
    assert np.isfinite(found[0, 65])
    assert np.isinf(found[1, :TIME]).all()


def test_without_times_only_suppression_is_left() -> None:
    logits = np.zeros((1, SIZE), np.float32)
    found = apply(rules(timestamps=False, suppress=(3, 70)), logits, [[65, 66]])
    assert np.flatnonzero(np.isinf(found[0])).tolist() == [3, 70]


def test_rows_of_the_table_that_are_no_tokens_never_come() -> None:
    # Tables are padded to round sizes; nobody trained what is behind the last token.
    logits = np.zeros((1, SIZE + 5), np.float32)
    made = LogitRules(TOKENIZER, SIZE + 5, suppress_blank=False, timestamps=False)
    for sampled in ([], [65, 66]):
        found = apply(made, logits, [sampled])
        assert np.flatnonzero(np.isinf(found[0])).tolist() == list(
            range(SIZE, SIZE + 5)
        )


def test_blanks_are_refused_only_at_the_start() -> None:
    logits = np.zeros((1, SIZE), np.float32)
    made = LogitRules(TOKENIZER, SIZE, timestamps=False)
    assert np.flatnonzero(np.isinf(apply(made, logits, [[]])[0])).tolist() == [32, EOT]
    assert np.isfinite(apply(made, logits, [[65]])).all()


def test_rows_can_be_reordered_and_repeated() -> None:
    made = rules()
    rows = [[TIME, 65], [65, TIME + 3], [65, 66]]
    order = [2, 0, 0, 1]
    taken = history(made, rows).take(mx.array(order))
    again = history(made, [rows[i] for i in order])
    for name in ("last_is_time", "one_before_is_time", "latest_time"):
        assert getattr(taken, name).tolist() == getattr(again, name).tolist()


@pytest.mark.parametrize("size", [3, 256, 1000, 51865])
def test_log_sum_exp_is_exact(size: int) -> None:
    logits = 3 * np.random.default_rng(size).standard_normal((2, size))
    logits[1, : size // 2] = -np.inf
    logits = logits.astype(np.float32)
    exact = np.log(np.exp(logits.astype(np.float64)).sum(axis=-1))
    found = np.array(log_sum_exp(mx.array(logits)))
    np.testing.assert_allclose(found, exact, rtol=0, atol=3e-6)
