"""Fused attention equals attention with separate projections, in numpy."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.nn.attention import CrossAttention, KeyValueCache, SelfAttention

CHANNELS, HEADS = 24, 3


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def linear(x: np.ndarray, projection: dict[str, np.ndarray]) -> np.ndarray:
    return x @ projection["weight"].T + projection.get("bias", 0)


def reference(
    x: np.ndarray,
    context: np.ndarray,
    parts: dict[str, dict[str, np.ndarray]],
    causal: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Output and scores of attention, head by head, in double precision."""
    q, k, v = (
        linear(source, parts[name])
        for name, source in (("q", x), ("k", context), ("v", context))
    )
    width = CHANNELS // HEADS
    outputs, scores = [], []
    for head in range(HEADS):
        at = slice(head * width, (head + 1) * width)
        score = q[..., at] @ k[..., at].swapaxes(-1, -2) / np.sqrt(width)
        scores.append(score)
        if causal:
            hidden = np.triu(np.ones(score.shape[-2:]), 1)
            score = np.where(hidden, -np.inf, score)
        share = np.exp(score - score.max(-1, keepdims=True))
        outputs.append(share / share.sum(-1, keepdims=True) @ v[..., at])
    merged = np.concatenate(outputs, -1)
    return linear(merged, parts["out"]), np.stack(scores, 1)


def projections(biased: str) -> dict[str, dict[str, np.ndarray]]:
    """Weights of q, k, v and out; those named in ``biased`` have biases."""
    parts = {}
    for seed, name in enumerate(("q", "k", "v", "out")):
        parts[name] = {"weight": draw(CHANNELS, CHANNELS, seed=seed) / 5}
        if name[0] in biased:
            parts[name]["bias"] = draw(CHANNELS, seed=10 + seed)
    return parts


def fill(
    module: SelfAttention | CrossAttention, parts: dict[str, dict[str, np.ndarray]]
) -> None:
    fused = {"qkv_proj": "qkv", "kv_proj": "kv", "q_proj": "q"}
    for name, array in tree_flatten(module.parameters()):
        projection, leaf = name.split(".")
        names = ["out"] if projection == "out_proj" else list(fused[projection])
        none = np.zeros(CHANNELS)
        value = np.concatenate([parts[n].get(leaf, none) for n in names])
        assert value.shape == array.shape
        module.load_weights([(name, mx.array(value, mx.float32))], strict=False)


def assert_near(ours: mx.array, theirs: np.ndarray, limit: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    gap = np.abs(np.array(ours.astype(mx.float32)) - theirs).max()
    assert gap / np.abs(theirs).max() < limit


@pytest.mark.parametrize("biased", ["", "qvo", "qkvo"])
@pytest.mark.parametrize("causal", [False, True])
def test_fused_self_attention_equals_separate_projections(
    biased: str, causal: bool
) -> None:
    parts = projections(biased)
    module = SelfAttention(CHANNELS, HEADS, bias=bool(biased))
    assert ("bias" in module.qkv_proj) == bool(biased)
    fill(module, parts)
    x = draw(2, 7, CHANNELS, seed=20)
    expected, _ = reference(x, x, parts, causal)
    ours = module(mx.array(x, mx.float32), "causal" if causal else None)
    assert_near(ours, expected)


@pytest.mark.parametrize("biased", ["", "qvo", "qkvo"])
def test_fused_cross_attention_equals_separate_projections(biased: str) -> None:
    parts = projections(biased)
    module = CrossAttention(CHANNELS, HEADS, bias=bool(biased))
    fill(module, parts)
    x, context = draw(2, 5, CHANNELS, seed=21), draw(2, 9, CHANNELS, seed=22)
    expected, scores = reference(x, context, parts)
    key_values = module.key_values(mx.array(context, mx.float32))
    x_mx = mx.array(x, mx.float32)
    assert_near(module(x_mx, key_values), expected)
    assert_near(module.scores(x_mx, key_values, [2, 0]), scores[:, [2, 0]])


@pytest.mark.parametrize(("dtype", "limit"), [(mx.float16, 5e-3), (mx.bfloat16, 5e-2)])
def test_half_precision_keeps_its_tolerance(dtype: mx.Dtype, limit: float) -> None:
    parts = projections("qvo")
    x, context = draw(2, 5, CHANNELS, seed=21), draw(2, 9, CHANNELS, seed=22)
    own, cross = SelfAttention(CHANNELS, HEADS), CrossAttention(CHANNELS, HEADS)
    for module in (own, cross):
        fill(module, parts)
        module.set_dtype(dtype)
    x_mx, context_mx = mx.array(x).astype(dtype), mx.array(context).astype(dtype)
    assert own(x_mx).dtype == dtype
    assert_near(own(x_mx), reference(x, x, parts)[0], limit)
    ours = cross(x_mx, cross.key_values(context_mx))
    assert_near(ours, reference(x, context, parts)[0], limit)


@pytest.mark.parametrize("dropped", ["q", "v", "out"])
def test_a_dropped_bias_shows(dropped: str) -> None:
    """The comparison above would notice: it is no test of nothing."""
    parts = projections("qvo")
    module = SelfAttention(CHANNELS, HEADS)
    x = draw(2, 7, CHANNELS, seed=20)
    expected, _ = reference(x, x, parts)
    del parts[dropped]["bias"]
    fill(module, parts)
    with pytest.raises(AssertionError):
        assert_near(module(mx.array(x, mx.float32)), expected, 1e-2)


def test_a_bias_of_the_keys_has_no_effect() -> None:
    with_bias, without = projections("qkvo"), projections("qvo")
    x = draw(2, 7, CHANNELS, seed=20)
    one, other = reference(x, x, with_bias)[0], reference(x, x, without)[0]
    assert np.abs(one - other).max() < 1e-12


def test_cache_gives_what_the_whole_sequence_gives() -> None:
    module = SelfAttention(CHANNELS, HEADS)
    x = mx.array(draw(3, 8, CHANNELS), mx.float32)
    cache = KeyValueCache(8)
    pieces = [module(x[:, a:b], "causal", cache) for a, b in ((0, 3), (3, 4), (4, 8))]
    assert cache.length == 8
    whole = np.array(module(x, "causal"))
    assert_near(mx.concatenate(pieces, axis=1), whole)


def test_cache_refuses_more_tokens_or_other_rows() -> None:
    module = SelfAttention(CHANNELS, HEADS)
    cache = KeyValueCache(4)
    module(mx.zeros((2, 3, CHANNELS)), None, cache)
    with pytest.raises(SpeechError, match="5 tokens do not fit in a cache for 4"):
        module(mx.zeros((2, 2, CHANNELS)), None, cache)
    with pytest.raises(SpeechError, match="holds 2 rows, not 3"):
        module(mx.zeros((3, 1, CHANNELS)), None, cache)
    assert cache.length == 3


@pytest.mark.parametrize("kind", [SelfAttention, CrossAttention])
def test_heads_that_do_not_divide_the_channels_are_refused(kind: type) -> None:
    with pytest.raises(SpeechError, match="24 channels cannot be split into 5 heads"):
        kind(24, 5)
