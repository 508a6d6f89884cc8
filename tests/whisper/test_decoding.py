"""Options, prompts, ranking, sampling and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech import whisper
from mlx_speech.errors import SpeechError
from mlx_speech.whisper import decoding
from mlx_speech.whisper.config import WhisperConfig
from mlx_speech.whisper.decoding import (
    DecodingOptions,
    compression_ratio,
    decode,
    detect_language,
    encode_windows,
    rank,
    tokenizer_of,
)
from mlx_speech.whisper.logit_rules import LogitRules
from mlx_speech.whisper.mel_windows import MelWindows
from mlx_speech.whisper.model import Whisper
from mlx_speech.whisper.prompts import initial_tokens, suppressed_tokens
from mlx_speech.whisper.token_decoder import Candidate
from mlx_speech.whisper.tokenizer import Tokenizer
from mlx_speech.whisper.vocabulary import (
    SpecialTokens,
    Vocabulary,
    write_vocabulary,
)

SMALL = Vocabulary(
    {bytes([value]): value for value in range(256)},
    SpecialTokens.following(256, ("en", "de", "ja"), timestamps=61),
    multilingual=True,
)
MULTILINGUAL = Tokenizer.for_size(51865)


@pytest.fixture(scope="module")
def small() -> Whisper:
    """A model with its own vocabulary of bytes, random but always the same."""
    mx.random.seed(3)
    config = WhisperConfig(
        **{"n_mels": 8, "n_audio_ctx": 10, "n_audio_state": 16, "n_audio_head": 2},
        **{"n_audio_layer": 1, "n_vocab": SMALL.size, "n_text_ctx": 32},
        **{"n_text_state": 16, "n_text_head": 2, "n_text_layer": 1},
    )
    model = Whisper(config)
    model.decoder.embed_positions = mx.random.normal((32, 16))
    return model


def windows(count: int = 2) -> mx.array:
    return mx.random.normal((count, 20, 8), key=mx.random.key(5))


def run(model: Whisper, audio: Any, **options: Any) -> list[Any]:
    return decode(model, audio, tokenizer=Tokenizer(SMALL), language="en", **options)


def test_the_encoder_runs_once_for_all_temperatures(
    small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = Whisper.encode
    monkeypatch.setattr(
        Whisper, "encode", lambda self, mel: calls.append(len(mel)) or encode(self, mel)
    )
    encoded = encode_windows(small, windows(3))
    for temperature in (0.0, 0.4, 0.8):
        run(small, encoded, temperature=temperature)
    run(small, encoded, beam_size=3)
    detect_language(small, encoded, Tokenizer(SMALL))
    # By itself each, which takes the least memory.
    assert calls == [1, 1, 1]


def test_the_package_offers_the_steps_of_a_window(small: Whisper) -> None:
    mel = MelWindows(np.zeros(800, np.float32), small.config).window(0, 20)
    (probabilities,) = whisper.detect_language(small, mel, Tokenizer(SMALL))
    language = max(probabilities, key=probabilities.__getitem__)
    options = whisper.DecodingOptions(sample_len=2)
    (result,) = whisper.decode(small, mel, options, tokenizer=Tokenizer(SMALL))
    assert (result.language, result.language_probs) == (language, probabilities)


def test_features_and_spectrograms_give_the_same(small: Whisper) -> None:
    mel = windows()
    features = small.encode(mel)
    from_mel, from_features = run(small, mel), run(small, features)
    assert [r.tokens for r in from_mel] == [r.tokens for r in from_features]
    assert run(small, mel[1])[0].tokens == from_mel[1].tokens
    np.testing.assert_array_equal(
        np.array(from_mel[1].audio_features), np.array(features[1])
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"beam_size": 4}, {"beam_size": 4, "patience": 0.5}],
    ids=str,
)
def test_windows_do_not_influence_each_other(
    small: Whisper, options: dict[str, Any]
) -> None:
    mel = windows(5)
    together = run(small, mel, **options)
    alone = [run(small, window, **options)[0] for window in mel]
    assert [r.tokens for r in together] == [r.tokens for r in alone]
    np.testing.assert_allclose(
        [r.avg_logprob for r in together], [r.avg_logprob for r in alone], atol=1e-5
    )


def test_one_beam_is_greedy_and_more_are_no_worse(small: Whisper) -> None:
    mel = windows(4)
    greedy = run(small, mel, sample_len=8)
    one = run(small, mel, sample_len=8, beam_size=1)
    assert [r.tokens for r in one] == [r.tokens for r in greedy]
    many = run(small, mel, sample_len=8, beam_size=8, length_penalty=0.0)
    for narrow, wide in zip(greedy, many, strict=True):
        total = narrow.avg_logprob * (len(narrow.tokens) + 1)
        assert wide.avg_logprob * (len(wide.tokens) + 1) >= total - 1e-4


def test_draws_differ_from_step_to_step(small: Whisper) -> None:
    # A compiled draw with its key built in repeats itself at every step.
    def flat(logits: mx.array) -> mx.array:
        return mx.random.categorical(mx.zeros_like(logits[:, :256]))

    mx.random.seed(0)
    options = {"without_timestamps": True, "suppress_tokens": None, "sample_len": 8}
    found = run(small, windows(1), temperature=1.0, sampler=flat, **options)
    assert len(set(found[0].tokens)) >= 6


def test_the_default_draws_follow_the_seed_and_differ(small: Whisper) -> None:
    def draw(seed: int) -> list[list[int]]:
        mx.random.seed(seed)
        return [r.tokens for r in run(small, windows(), temperature=1.0)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    tokens = draw(1)[0]
    assert max(tokens.count(token) for token in tokens) <= len(tokens) // 2


def test_the_best_sample_of_a_window_is_kept(small: Whisper) -> None:
    mx.random.seed(4)
    best = run(small, windows(1), temperature=1.0, best_of=8, length_penalty=0.0)[0]
    mx.random.seed(4)
    draws = [run(small, windows(1), temperature=1.0)[0] for _ in range(3)]
    total = best.avg_logprob * (len(best.tokens) + 1)
    assert total >= np.median([d.avg_logprob * (len(d.tokens) + 1) for d in draws])


def test_completion_is_read_a_step_late_but_costs_one_step_at_most(
    small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    whole = Whisper.decode

    def counted(self: Whisper, *args: Any, **keywords: Any) -> mx.array:
        steps.append(1)
        return whole(self, *args, **keywords)

    monkeypatch.setattr(Whisper, "decode", counted)
    ends = iter([70, 71, SMALL.special.eot])
    found = run(
        small,
        windows(1),
        temperature=1.0,
        without_timestamps=True,
        suppress_tokens=None,
        sampler=lambda logits: mx.array([next(ends, SMALL.special.eot)]),
    )
    assert found[0].tokens == [70, 71]
    # The prompt, 70, 71, and one that was begun before the end was known.
    assert len(steps) == 4


def test_probabilities_of_silence_and_languages(small: Whisper) -> None:
    tokenizer = Tokenizer(SMALL)
    found = decode(small, windows(), tokenizer=tokenizer)
    start = mx.full((2, 1), SMALL.special.sot)
    logits = small.decode(start, small.cross_key_values(small.encode(windows())))
    logits = np.array(logits[:, 0], np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row, result in enumerate(found):
        assert result.no_speech_prob == pytest.approx(
            probabilities[row, SMALL.special.no_speech], rel=1e-4
        )
        scores = {c: logits[row, t] for c, t in SMALL.special.languages.items()}
        assert result.language == max(scores, key=scores.__getitem__)
        assert result.language_probs is not None
        assert sum(result.language_probs.values()) == pytest.approx(1, abs=1e-5)


def test_only_the_language_may_be_asked_for(small: Whisper) -> None:
    found = decode(small, windows(), tokenizer=Tokenizer(SMALL), task="lang_id")
    rows = detect_language(small, windows(), Tokenizer(SMALL))
    assert [result.language_probs for result in found] == rows
    assert [result.tokens for result in found] == [[], []]


def test_a_model_brings_its_vocabulary(small: Whisper, tmp_path: Path) -> None:
    write_vocabulary(tmp_path, SMALL)
    small.folder = tmp_path
    assert tokenizer_of(small).special == SMALL.special
    larger = replace(SMALL.special, timestamps=62)
    write_vocabulary(tmp_path, Vocabulary(SMALL.ranks, larger, True))
    with pytest.raises(SpeechError, match=f"{SMALL.size + 1} tokens"):
        tokenizer_of(small)
    small.folder = None
    with pytest.raises(SpeechError, match="vocabulary of its own"):
        tokenizer_of(small)


def test_prompts_and_prefixes_are_cut_to_their_share() -> None:
    special = MULTILINGUAL.special
    start = MULTILINGUAL.sot_sequence("en")

    def initial(sample_len: int = 224, **options: Any) -> tuple[int, ...]:
        chosen = DecodingOptions(**options)
        return initial_tokens(MULTILINGUAL, chosen, "en", 448, sample_len)

    assert initial() == start
    assert initial(without_timestamps=True) == (*start, special.no_timestamps)
    hello = tuple(MULTILINGUAL.encode(" hello"))
    assert initial(prompt=" hello ") == (special.sot_prev, *hello, *start)
    assert initial(prefix="hello") == (*start, *hello)
    ids = list(range(1000))
    assert initial(prompt=ids) == (special.sot_prev, *ids[-223:], *start)
    assert initial(prefix=ids, sample_len=200) == (*start, *ids[-24:])


@pytest.mark.parametrize(
    ("seconds", "index"), [(1.0, 50), (0.58, 29), (0.14, 7), (0.033, 2), (0.0, None)]
)
def test_the_latest_first_time_is_rounded(
    seconds: float, index: int | None, small: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.58 / 0.02 is a little less than 29.
    given: list[Any] = []

    def noted(*arguments: Any) -> LogitRules:
        given.append(arguments[-1])
        return LogitRules(*arguments)

    monkeypatch.setattr(decoding, "LogitRules", noted)
    run(small, windows(1), max_initial_timestamp=seconds, sample_len=1)
    assert given == [index]


def test_suppressed_tokens() -> None:
    special = MULTILINGUAL.special
    always = {special.sot, special.sot_prev, special.sot_lm, special.no_speech}
    always |= {special.translate, special.transcribe}
    marks = set(MULTILINGUAL.non_speech_tokens)
    assert suppressed_tokens(MULTILINGUAL, None) == ()
    assert suppressed_tokens(MULTILINGUAL, "") == ()
    assert suppressed_tokens(MULTILINGUAL, "-1") == tuple(sorted(marks | always))
    assert suppressed_tokens(MULTILINGUAL, [5, 6]) == (5, 6, *sorted(always))
    assert set(suppressed_tokens(MULTILINGUAL, "-1, 5")) == marks | always | {5}


@pytest.mark.parametrize("wanted", ["a", "1,", "-2", [51865], "1.5"])
def test_tokens_that_are_none_cannot_be_suppressed(wanted: Any) -> None:
    with pytest.raises(SpeechError, match="suppress_tokens"):
        suppressed_tokens(MULTILINGUAL, wanted)


def test_ranking_by_length_and_penalty() -> None:
    short = Candidate((1,), -2.0)
    long = Candidate((1, 2, 3, 4), -4.0)
    assert rank([short, long], None) is long
    assert rank([short, long], 0.0) is short
    assert rank([short, Candidate((2,), -2.0)], None) is short
    assert rank([Candidate((), -1.0), short], None).tokens == ()


def test_compression_ratio() -> None:
    assert compression_ratio("la " * 100) > 10
    assert compression_ratio("") == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"task": "sing"}, "sing"),
        ({"temperature": -0.1}, "-0.1"),
        ({"beam_size": 2, "best_of": 2, "temperature": 1.0}, "beam_size and best_of"),
        ({"best_of": 2}, "best_of"),
        ({"patience": 1.0}, "patience"),
        ({"length_penalty": 1.5}, "1.5"),
        ({"sample_len": 0}, "sample_len"),
        ({"beam_size": 0}, "beam_size"),
        ({"best_of": 0, "temperature": 1.0}, "best_of"),
        ({"beam_size": 2, "patience": 0.1}, "patience"),
        ({"beam_size": 2, "patience": math.nan}, "patience"),
        ({"temperature": math.nan}, "nan"),
    ],
    ids=str,
)
def test_contradictory_options_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(SpeechError, match=named) as refused:
        DecodingOptions(**options)
    assert re.match("give |leave |choose ", refused.value.hint)


def test_a_prefix_longer_than_the_model_is_refused(small: Whisper) -> None:
    with pytest.raises(SpeechError, match="holds 32"):
        run(small, windows(1), prefix=list(range(40)))


def test_an_unknown_language_is_refused(small: Whisper) -> None:
    with pytest.raises(SpeechError, match="klingon"):
        decode(small, windows(1), tokenizer=Tokenizer(SMALL), language="klingon")
    with pytest.raises(SpeechError, match="french"):
        decode(small, windows(1), tokenizer=Tokenizer(SMALL), language="french")


def test_an_english_model_needs_and_detects_no_language(
    tiny_whisper: Callable[[str], Whisper], recipe: ModuleType
) -> None:
    model = tiny_whisper("english")
    mel = mx.array(recipe.mel("english"))
    found = decode(model, mel, sample_len=2)
    assert [result.language for result in found] == ["en", "en"]
    assert found[0].language_probs is None
    with pytest.raises(SpeechError, match="English-only"):
        detect_language(model, mel)
