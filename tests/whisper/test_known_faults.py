"""Three faults of a widely used MLX port of Whisper, restated, and that ours has none.

Each fault is written out here as a rule of a few lines; on the same inputs it must
fail, or the inputs show nothing, and this package's rule must not.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper.decoding import DecodingResult
from mlx_speech.whisper.logit_rules import LogitRules, RowHistory
from mlx_speech.whisper.sampling import Sampler, sample_tokens
from mlx_speech.whisper.token_decoder import TokenDecoder
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.transcription_options import TranscriptionOptions
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

RANKS = {bytes([value]): value for value in range(256)}
SPECIAL = SpecialTokens.following(256, ("en", "de"), timestamps=21)
TOKENIZER = Tokenizer(Vocabulary(RANKS, SPECIAL, multilingual=True))
SIZE, TIME, EOT = SPECIAL.size, SPECIAL.timestamp_begin, SPECIAL.eot
RULES = LogitRules(TOKENIZER, SIZE, suppress_blank=False)


class Recited:
    """Stands in for a decoder: logits that do not depend on what was sampled.

    Args:
        logits: [steps, vocab].
    """

    windows = group = rows = 1

    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits
        self.limit = len(logits)
        self.first_logits = mx.array(logits[:1])
        self._at = 0

    def step(self, tokens: mx.array) -> mx.array:
        self._at += 1
        return mx.array(self._logits[self._at][None])


def decode(
    logits: np.ndarray, rules: object, **draws: object
) -> tuple[list[int], float]:
    decoder: TokenDecoder = Recited(logits)  # type: ignore[assignment]
    temperature = 1.0 if draws else 0.0
    ((found,),) = sample_tokens(decoder, rules, temperature, **draws)
    return list(found.tokens), found.sum_logprob


class MassBeforeMask(LogitRules):
    """Times outweigh text by what they had before most of them were forbidden."""

    def apply(self, logits: mx.array, history: RowHistory) -> mx.array:
        allowed = super().apply(logits, history)
        outweigh = mx.logsumexp(logits[:, TIME:], axis=-1) > logits[:, :TIME].max(-1)
        text = mx.arange(SIZE) < TIME
        return mx.where(outweigh[:, None] & text, -mx.inf, allowed)


class IndexForId(LogitRules):
    """Forbids times before the last by its index in the row, where its id is meant."""

    def __init__(self) -> None:
        super().__init__(TOKENIZER, SIZE, suppress_blank=False)
        self._sampled: list[int] = []

    def extend(self, history: RowHistory, tokens: mx.array) -> RowHistory:
        self._sampled += tokens.tolist()
        kept = super().extend(history, tokens)
        places = [i for i, token in enumerate(self._sampled) if token >= TIME]
        # Ids from TIME up to this one are forbidden, which are none.
        latest = mx.array([min(places[-1] if places else 0, TIME - 1)])
        return RowHistory(kept.last_is_time, kept.one_before_is_time, latest)


def spoken(*tokens: int) -> np.ndarray:
    """Logits of which each step likes one token best, and other times next."""
    logits = np.zeros((len(tokens), SIZE), np.float32)
    logits[np.arange(len(tokens)), tokens] = 12.0
    return logits


def test_the_mass_of_forbidden_times_makes_no_number_of_the_probability() -> None:
    # After the first time comes text, but times look likelier.
    logits = spoken(TIME, 65, 66, EOT)
    logits[1, TIME:] = 14.0
    faulty, unlikely = decode(logits, MassBeforeMask(TOKENIZER, SIZE, (), False))
    assert np.isnan(unlikely)
    assert faulty[1] == 0, "all are forbidden, and the first of equals is taken"
    tokens, logprob = decode(logits, RULES)
    assert tokens == [TIME, 65, 66]
    assert np.isfinite(logprob)


@pytest.mark.parametrize(("logprob", "again"), [(float("nan"), False), (-9.0, True)])
def test_no_number_would_pass_for_a_success(logprob: float, again: bool) -> None:
    # Which is why the fault is worse than a wrong token: nothing is tried again.
    result = DecodingResult(
        mx.zeros((1, 1)), "en", avg_logprob=logprob, compression_ratio=1.0
    )
    assert TranscriptionOptions().failed(result) is again


def test_times_by_index_run_backwards() -> None:
    logits = spoken(TIME + 1, 65, TIME + 9, TIME + 9, 66, TIME + 4, EOT)
    logits[5, TIME + 12] = 10.0
    faulty, _ = decode(logits, IndexForId())
    times = [token - TIME for token in faulty if token >= TIME]
    assert times == [1, 9, 9, 4]
    tokens, _ = decode(logits, RULES)
    times = [token - TIME for token in tokens if token >= TIME]
    assert times == [1, 9, 9, 12]


def test_a_draw_with_its_key_built_in_repeats_itself() -> None:
    rules = LogitRules(TOKENIZER, SIZE, suppress_blank=False, timestamps=False)
    logits = np.full((24, SIZE), -np.inf, np.float32)
    logits[:, :256] = 0.0  # any byte is as likely as any other
    key = mx.random.key(7)

    def with_key(logits: mx.array) -> mx.array:
        return mx.random.categorical(logits, key=key)

    def draw(sampler: Sampler) -> list[int]:
        return decode(logits, rules, sampler=sampler)[0]

    assert len(set(draw(with_key))) == 1
    mx.random.seed(7)
    assert len(set(draw(mx.random.categorical))) > 15


def test_the_draws_of_every_step_differ_with_compilation_on() -> None:
    # The tests switch it off, and with it what builds a key into a draw: a sampler
    # that is compiled without its random state shows here alone.
    rules = LogitRules(TOKENIZER, SIZE, suppress_blank=False, timestamps=False)
    logits = np.full((24, SIZE), -np.inf, np.float32)
    logits[:, :256] = 0.0
    decoder: TokenDecoder = Recited(logits)  # type: ignore[assignment]
    mx.random.seed(7)
    mx.enable_compile()
    try:
        ((found,),) = sample_tokens(decoder, rules, 1.0)
    finally:
        mx.disable_compile()
    assert len(set(found.tokens)) > 15
