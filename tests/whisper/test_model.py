"""Whisper's network against transformers and openai-whisper, and its caches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.whisper.model import CrossKeyValues, Whisper

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
NAMES = ("multilingual", "english", "v3", "distilled")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "whisper.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def small(tiny_whisper: Callable[[str], Whisper]) -> Whisper:
    return tiny_whisper("distilled")


@pytest.fixture(scope="module")
def windows(small: Whisper, recipe: ModuleType) -> CrossKeyValues:
    return small.cross_key_values(small.encode(mx.array(recipe.mel("distilled"))))


def relative(ours: mx.array | np.ndarray, theirs: mx.array | np.ndarray) -> float:
    ours, theirs = np.array(ours), np.array(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def decode_in_steps(
    model: Whisper, tokens: mx.array, cross: CrossKeyValues
) -> mx.array:
    cache = model.new_cache(tokens.shape[1])
    pieces = [model.decode(tokens[:, :4], cross, cache)]
    for at in range(4, tokens.shape[1]):
        pieces.append(model.decode(tokens[:, at : at + 1], cross, cache))
    return mx.concatenate(pieces, axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_network_equals_both_references(
    name: str,
    tiny_whisper: Callable[[str], Whisper],
    recipe: ModuleType,
    golden: dict[str, np.ndarray],
) -> None:
    model = tiny_whisper(name)
    tokens = mx.array(recipe.tokens(name))
    features = model.encode(mx.array(recipe.mel(name)))
    cross = model.cross_key_values(features)
    logits, scores = model.decode_with_alignment(tokens, cross)
    ours = {
        "encoder": features,
        "logits": model.decode(tokens, cross),
        "logits_cached": decode_in_steps(model, tokens, cross),
        "scores": scores,
    }
    assert relative(logits, ours["logits"]) < 1e-6
    compared = 0
    for field, value in ours.items():
        for reference in ("hf", "openai"):
            key = f"{name}/{reference}/{field}"
            if key in golden:
                compared += 1
                got = recipe.sample(field, np.array(value))
                assert relative(got, golden[key]) < TOLERANCE, key
    assert compared == (3 if name == "distilled" else 7)


def test_every_parameter_has_an_influence(
    tiny_whisper: Callable[[str], Whisper], recipe: ModuleType
) -> None:
    """A dropped bias, norm or weight would show; the keys' bias cannot."""
    model = tiny_whisper("distilled")
    mel, tokens = (
        mx.array(recipe.mel("distilled")),
        mx.array(recipe.tokens("distilled")),
    )

    def logits() -> mx.array:
        return model.decode(tokens, model.cross_key_values(model.encode(mel)))

    before = logits()
    width = model.config.n_text_state
    for name, array in tree_flatten(model.parameters()):
        pieces = {"": slice(None)}
        if name.endswith("qkv_proj.bias"):
            pieces = {"q": slice(0, width), "v": slice(2 * width, None)}
        elif name.endswith("kv_proj.bias"):
            pieces = {"v": slice(width, None)}
        for part, rows in pieces.items():
            changed = mx.array(array)
            changed[rows] = 0
            model.load_weights([(name, changed)], strict=False)
            assert relative(logits(), before) > 1e-4, f"{name} {part}"
        model.load_weights([(name, array)], strict=False)
    assert relative(logits(), before) == 0


def test_rows_that_share_a_window_equal_rows_with_windows_of_their_own(
    small: Whisper, windows: CrossKeyValues, recipe: ModuleType
) -> None:
    tokens = mx.random.randint(0, 97, (6, 5), key=mx.random.key(1))
    repeated = [(mx.repeat(k, 3, 0), mx.repeat(v, 3, 0)) for k, v in windows]
    shared, shared_scores = small.decode_with_alignment(tokens, windows)
    own, own_scores = small.decode_with_alignment(tokens, repeated)
    assert relative(shared, own) < 1e-6
    assert relative(shared_scores, own_scores) < 1e-6
    with pytest.raises(SpeechError, match=r"5 rows cannot share .* 2 contexts"):
        small.decode(tokens[:5], windows)


def test_reordered_cache_goes_on_with_the_chosen_rows(
    small: Whisper, windows: CrossKeyValues
) -> None:
    tokens = mx.random.randint(0, 97, (6, 6), key=mx.random.key(2))
    # Beams never leave their window: rows 0-2 hear the first one, 3-5 the second.
    order = mx.array([1, 1, 0, 5, 3, 3])
    cache = small.new_cache(8)
    small.decode(tokens[:, :4], windows, cache)
    cache.reorder(order)
    after = small.decode(tokens[:, 4:5], windows, cache)
    chosen = mx.concatenate([tokens[order, :4], tokens[:, 4:5]], axis=1)
    assert relative(after, small.decode(chosen, windows, keep=[4])) < TOLERANCE


def test_trimmed_cache_forgets_the_tokens_behind(
    small: Whisper, windows: CrossKeyValues
) -> None:
    tokens = mx.random.randint(0, 97, (2, 8), key=mx.random.key(3))
    cache = small.new_cache()
    small.decode(tokens, windows, cache)
    cache.trim(3)
    assert cache.length == 3
    again = small.decode(tokens[:, 3:6], windows, cache)
    straight = small.decode(tokens[:, :6], windows, keep=[3, 4, 5])
    assert relative(again, straight) < TOLERANCE
    with pytest.raises(SpeechError, match="a cache of 6 tokens cannot be cut to 7"):
        cache.trim(7)


def test_kept_logits_are_those_of_the_chosen_tokens(
    small: Whisper, windows: CrossKeyValues
) -> None:
    tokens = mx.random.randint(0, 97, (2, 6), key=mx.random.key(5))
    every = small.decode(tokens, windows)
    assert (
        relative(small.decode(tokens, windows, keep=[0, -1]), every[:, [0, -1]]) < 1e-6
    )


def test_alignment_gives_the_heads_asked_for_in_their_order(
    tiny_whisper: Callable[[str], Whisper], recipe: ModuleType
) -> None:
    model = tiny_whisper("v3")
    cross = model.cross_key_values(model.encode(mx.array(recipe.mel("v3"))))
    tokens = mx.array(recipe.tokens("v3"))
    heads = [(1, 2), (0, 3), (1, 0)]
    _, scores = model.decode_with_alignment(tokens, cross, heads)
    assert scores.shape == (2, 3, recipe.TOKENS, 40)
    for index, head in enumerate(heads):
        _, single = model.decode_with_alignment(tokens, cross, [head], keep=[0])
        assert relative(single[:, 0], scores[:, index]) < 1e-6


def test_short_windows_are_encoded_and_decoded(
    small: Whisper, recipe: ModuleType
) -> None:
    mel = mx.array(recipe.mel("distilled"))[:, :20]
    features = small.encode(mel)
    assert features.shape == (2, 10, 32)
    logits = small.decode(mx.array([[3], [4]]), small.cross_key_values(features))
    assert logits.shape == (2, 1, 97)
    assert np.isfinite(np.array(logits)).all()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_near_and_gives_float32_logits(
    dtype: mx.Dtype,
    small: Whisper,
    windows: CrossKeyValues,
    tiny_whisper: Callable[[str], Whisper],
    recipe: ModuleType,
) -> None:
    model = tiny_whisper("distilled")
    model.set_dtype(dtype)
    features = model.encode(mx.array(recipe.mel("distilled")))
    assert features.dtype == dtype
    tokens = mx.array(recipe.tokens("distilled"))
    cross = model.cross_key_values(features)
    logits, scores = model.decode_with_alignment(tokens, cross)
    assert logits.dtype == scores.dtype == mx.float32
    tolerance = 0.01 if dtype == mx.float16 else 0.1
    assert relative(logits, small.decode(tokens, windows)) < tolerance


def test_gradients_reach_every_parameter_and_are_right(
    tiny_whisper: Callable[[str], Whisper], recipe: ModuleType
) -> None:
    model = tiny_whisper("distilled")
    mel = mx.array(recipe.mel("distilled"))
    tokens = mx.array(recipe.tokens("distilled"))

    def loss(model: Whisper) -> mx.array:
        cross = model.cross_key_values(model.encode(mel))
        return nn.losses.cross_entropy(
            model.decode(tokens[:, :-1], cross), tokens[:, 1:], reduction="mean"
        )

    _, gradients = nn.value_and_grad(model, loss)(model)
    flat = dict(tree_flatten(gradients))
    assert flat.keys() == dict(tree_flatten(model.trainable_parameters())).keys()
    for name in (
        "encoder.conv1.weight",
        "encoder.layers.0.self_attn.qkv_proj.bias",
        "encoder.layers.2.fc1.weight",
        "decoder.layers.0.encoder_attn.kv_proj.weight",
        "decoder.embed_tokens.weight",
        "decoder.embed_positions",
    ):
        before = dict(tree_flatten(model.parameters()))[name]
        direction = flat[name] / mx.linalg.norm(flat[name].reshape(-1))
        sides = []
        for step in (-0.01, 0.01):
            model.load_weights([(name, before + step * direction)], strict=False)
            sides.append(loss(model).item())
        model.load_weights([(name, before)], strict=False)
        slope = (sides[1] - sides[0]) / 0.02
        expected = mx.linalg.norm(flat[name].reshape(-1)).item()
        assert slope == pytest.approx(expected, rel=0.03), name
    assert all(mx.abs(array).max() > 0 for array in flat.values())


def test_norms_add_what_those_of_both_references_add(small: Whisper) -> None:
    """It shows in signals that are weaker than those of the goldens."""
    norms = [m for _, m in small.named_modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 3 * 2 + 1 + 3 + 1
    assert {norm.eps for norm in norms} == {1e-5}


def test_positions_of_the_encoder_are_not_trained(small: Whisper) -> None:
    trained = dict(tree_flatten(small.trainable_parameters()))
    every = dict(tree_flatten(small.parameters()))
    assert set(every) - set(trained) == {"encoder.embed_positions"}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 10, 80), r"takes \[batch, frames, 128\], not \[1, 10, 80\]"),
        ((10, 128), r"takes \[batch, frames, 128\]"),
        ((1, 68, 128), "an even number of frames up to 66, not 68"),
        ((1, 7, 128), "an even number of frames up to 66, not 7"),
        ((1, 0, 128), "an even number of frames up to 66, not 0"),
    ],
)
def test_spectrogram_of_another_shape_is_refused(
    shape: tuple[int, ...], message: str, small: Whisper
) -> None:
    with pytest.raises(SpeechError, match=message):
        small.encode(mx.zeros(shape))


def test_more_tokens_than_fit_are_refused(
    small: Whisper, windows: CrossKeyValues
) -> None:
    with pytest.raises(SpeechError, match="21 tokens are more than the 20"):
        small.decode(mx.zeros((2, 21), mx.int32), windows)
    cache = small.new_cache()
    small.decode(mx.zeros((2, 20), mx.int32), windows, cache)
    with pytest.raises(SpeechError, match="21 tokens are more than the 20"):
        small.decode(mx.zeros((2, 1), mx.int32), windows, cache)
    small_cache = small.new_cache(4)
    with pytest.raises(SpeechError, match="5 tokens do not fit in a cache for 4"):
        small.decode(mx.zeros((2, 5), mx.int32), windows, small_cache)
