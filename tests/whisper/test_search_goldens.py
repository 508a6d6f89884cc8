"""Beams, greedy tokens, draws, ranking and guesses as in openai-whisper.

In made-up languages: transcripts of a batch end at different steps, lists of candidates
fill up or have to be completed, and a draft may be right never, often or always.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper.beam import search_beams
from mlx_speech.whisper.decoding import rank
from mlx_speech.whisper.logit_rules import LogitRules
from mlx_speech.whisper.sampling import sample_tokens
from mlx_speech.whisper.speculative import speculate
from mlx_speech.whisper.token_decoder import Candidate
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
GOLDEN: dict[str, dict[str, Any]] = json.loads(
    lzma.decompress((GOLDENS / "whisper_search.json.xz").read_bytes())
)
RANKS = {bytes([value]): value for value in range(256)}
# The sums are stored with so many digits.
TOLERANCE = 2e-5


class Language:
    """Stands in for a decoder: logits that depend on what was sampled in each row."""

    def __init__(
        self,
        logits: Callable[[int, list[int]], np.ndarray],
        windows: range,
        group: int,
        limit: int,
    ) -> None:
        self._logits = logits
        self._sampled = [(window, []) for window in windows for _ in range(group)]
        self.windows, self.group, self.limit = len(windows), group, limit
        self.rows = len(self._sampled)
        self.steps = 0
        self.first_logits = self._now()

    def _now(self) -> mx.array:
        return mx.array(np.stack([self._logits(w, past) for w, past in self._sampled]))

    def step(self, tokens: mx.array) -> mx.array:
        self.steps += 1
        return self.read(tokens[:, None])[:, 0]

    def read(self, tokens: mx.array) -> mx.array:
        found = []
        for column in np.array(tokens).T.tolist():
            self._sampled = [
                (window, [*past, token])
                for (window, past), token in zip(self._sampled, column, strict=True)
            ]
            found.append(self._now())
        return mx.stack(found, axis=1)

    def forget(self, count: int) -> None:
        self._sampled = [(w, past[: len(past) - count]) for w, past in self._sampled]

    def reorder(self, rows: mx.array) -> None:
        self._sampled = [self._sampled[row] for row in rows.tolist()]


@pytest.fixture(scope="module")
def rules(search_recipe: ModuleType) -> Callable[[int], LogitRules]:
    """The rules of a case."""
    special = SpecialTokens.following(256, ("en", "de"), search_recipe.TIMES)
    assert special.size == search_recipe.SIZE
    tokenizer = Tokenizer(Vocabulary(RANKS, special, multilingual=True))

    def make(number: int) -> LogitRules:
        return LogitRules(
            tokenizer,
            special.size,
            timestamps=search_recipe.case(number)["timestamps"],
            max_initial_index=search_recipe.LATEST_FIRST,
        )

    return make


def cases(recipe: ModuleType) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    for key, golden in GOLDEN.items():
        yield int(key), recipe.case(int(key)), golden


def assert_same(
    found: list[list[Candidate]],
    golden: list[dict[str, Any]],
    penalty: float | None,
    number: int,
) -> None:
    """The same candidates in the same order, and the same choice."""
    assert len(found) == len(golden)
    for candidates, wanted in zip(found, golden, strict=True):
        assert [list(each.tokens) for each in candidates] == wanted["tokens"], number
        sums = [each.sum_logprob for each in candidates]
        np.testing.assert_allclose(sums, wanted["sums"], atol=TOLERANCE)
        if "best" in wanted:
            assert rank(candidates, penalty) is candidates[wanted["best"]], number


def language(
    recipe: ModuleType, number: int, group: int, window: int | None = None
) -> Any:
    chosen = recipe.case(number)
    windows = range(chosen["windows"]) if window is None else range(window, window + 1)
    return Language(
        lambda at, past: recipe.logits(number, at, past),
        *(windows, group, chosen["limit"]),
    )


def test_beams_find_the_same_candidates(
    search_recipe: ModuleType, rules: Callable[[int], LogitRules]
) -> None:
    for number, chosen, golden in cases(search_recipe):
        decoder = language(search_recipe, number, chosen["beams"])
        found = search_beams(decoder, rules(number), chosen["patience"])
        assert_same(found, golden["beams"], chosen["penalty"], number)


def test_beams_that_have_all_ended_take_one_step_more_at_most(
    rules: Callable[[int], LogitRules], search_recipe: ModuleType
) -> None:
    def soon_over(window: int, past: list[int]) -> np.ndarray:
        found = np.zeros(search_recipe.SIZE, np.float32)
        found[[70, 71]] = 5.0
        found[search_recipe.EOT] = 9.0
        return found

    untimed = next(n for n, c, _ in cases(search_recipe) if not c["timestamps"])
    decoder: Any = Language(soon_over, range(2), 2, 20)
    found = search_beams(decoder, rules(untimed), 1.0)
    assert [len(each) for each in found] == [2, 2]
    # Both beams end at the second token; a third was begun before that was known.
    assert decoder.steps == 2


def test_the_likeliest_tokens_are_the_same(
    search_recipe: ModuleType, rules: Callable[[int], LogitRules]
) -> None:
    for number, chosen, golden in cases(search_recipe):
        decoder = language(search_recipe, number, 1)
        found = sample_tokens(decoder, rules(number), 0.0)
        assert_same(found, golden["greedy"], chosen["penalty"], number)


def test_the_same_draws_give_the_same_samples(
    search_recipe: ModuleType, rules: Callable[[int], LogitRules]
) -> None:
    for number, chosen, golden in cases(search_recipe):
        step = 0

        def replay(logits: mx.array, draws: Any = golden["draws"]) -> mx.array:
            nonlocal step
            # What a window draws after its end does not count.
            rows = [
                row for window in draws for row in window[min(step, len(window) - 1)]
            ]
            step += 1
            return mx.array(rows)

        decoder = language(search_recipe, number, chosen["samples"])
        found = sample_tokens(decoder, rules(number), chosen["temperature"], replay)
        assert_same(found, golden["drawn"], chosen["penalty"], number)


# The share of places where the draft thinks as the model; bounds of what is accepted.
@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.0, 0.0, 0.15), (0.7, 0.4, 0.8), (1.0, 1.0, 1.0)]
)
def test_guesses_change_nothing(
    share: float,
    least: float,
    most: float,
    search_recipe: ModuleType,
    rules: Callable[[int], LogitRules],
) -> None:
    drafted = accepted = 0
    for number, chosen, golden in list(cases(search_recipe))[::2]:
        for window, wanted in enumerate(golden["greedy"]):
            main = language(search_recipe, number, 1, window)
            draft: Any = Language(
                lambda at, past, n=number: search_recipe.guessed(n, at, past, share),
                *(range(window, window + 1), 1, chosen["limit"]),
            )
            found = speculate(main, draft, rules(number))
            assert_same([[found.candidate]], [wanted], chosen["penalty"], number)
            drafted += found.drafted
            accepted += found.accepted
    assert drafted > 250
    assert least <= accepted / drafted <= most


def test_the_languages_meet_everything(search_recipe: ModuleType) -> None:
    met: Counter[str] = Counter()
    for _, chosen, golden in cases(search_recipe):
        lengths = [len(each["tokens"][0]) for each in golden["greedy"]]
        met["windows that end apart"] += len(set(lengths)) > 1
        met["ends before the limit"] += min(lengths) < chosen["limit"]
        met["not the first is best"] += any(w.get("best") for w in golden["beams"])
        for window in golden["beams"]:
            many = len(window["tokens"]) > chosen["beams"]
            met["more candidates than beams"] += many
            whole = [len(tokens) == chosen["limit"] for tokens in window["tokens"]]
            met["filled up"] += any(whole) and not all(whole)
    assert min(met.values()) >= 10, met
