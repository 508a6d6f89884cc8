"""The loops over tokens wait for the device once a step, for one truth value."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.whisper import beam, logit_rules, sampling, token_decoder
from mlx_speech.whisper.logit_rules import LogitRules
from mlx_speech.whisper.sampling import sample_tokens
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.vocabulary import SpecialTokens, Vocabulary

SPECIAL = SpecialTokens.following(256, ("en",), timestamps=21)
RANKS = {bytes([value]): value for value in range(256)}
WAITING = {"item", "tolist", "eval", "synchronize"}


class Endless:
    """Stands in for a decoder of three rows that like one token for ever."""

    windows = rows = 3
    group = 1

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.first_logits = mx.zeros((3, SPECIAL.size)).at[:, 65].add(9.0)

    def step(self, tokens: mx.array) -> mx.array:
        return self.first_logits


def waits(code: ast.AST) -> list[str]:
    """What a piece of code calls that waits for the device."""
    names = []
    for node in ast.walk(code):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_numpy = ast.unparse(node.func.value) == "np"
            if node.func.attr in WAITING or of_numpy:
                names.append(ast.unparse(node.func))
    return names


def loop_of(module: ModuleType) -> ast.For:
    """The loop over the steps of decoding."""
    loops = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.For) and "decoder.limit" in ast.unparse(node.iter)
    ]
    assert len(loops) == 1
    return loops[0]


@pytest.mark.parametrize("module", [sampling, beam], ids=lambda m: m.__name__)
def test_a_step_waits_for_one_truth_value_of_the_step_before(
    module: ModuleType,
) -> None:
    found = waits(loop_of(module))
    assert len(found) == 1 and found[0].endswith(".item")


def test_rules_and_decoder_never_wait() -> None:
    for function in (
        *(logit_rules.LogitRules.apply, logit_rules.LogitRules.apply_first),
        *(logit_rules.LogitRules.extend, logit_rules.LogitRules._apply_times),
        *(token_decoder.TokenDecoder.step, token_decoder.TokenDecoder.read),
    ):
        code = ast.parse(inspect.getsource(function).replace("    def", "def", 1))
        assert waits(code) == []


@pytest.mark.parametrize("limit", [5, 40])
def test_what_is_brought_to_the_host_does_not_grow_with_the_steps(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = LogitRules(Tokenizer(Vocabulary(RANKS, SPECIAL, True)), SPECIAL.size)
    calls = []
    for owner, name in ((np, "array"), (mx, "async_eval"), (mx, "eval")):
        whole = getattr(owner, name)

        def counted(*given: object, whole: Any = whole, name: str = name) -> object:
            calls.append(name)
            return whole(*given)

        monkeypatch.setattr(owner, name, counted)
    found = sample_tokens(Endless(limit), rules, 0.0)  # type: ignore[arg-type]
    assert [len(row[0].tokens) for row in found] == [limit] * 3
    assert calls.count("array") == 2
    assert calls.count("async_eval") == limit
    assert calls.count("eval") == 0
