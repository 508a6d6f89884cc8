"""Fused projections hold every row and bias, and come apart again."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.errors import SpeechError
from mlx_speech.nn.projections import fuse, split

STEM = "audio_tower.layers.3.self_attn"


def entries(stem: str, parts: str, biased: str) -> dict[str, mx.array]:
    found = {}
    for seed, part in enumerate(parts):
        draw = np.random.default_rng(seed)
        weight = draw.standard_normal((32, 32)).astype(np.float32)
        found[f"{stem}.{part}_proj.weight"] = mx.array(weight)
        if part in biased:
            bias = draw.standard_normal(32).astype(np.float32)
            found[f"{stem}.{part}_proj.bias"] = mx.array(bias)
    return found


def same(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
    return one.keys() == other.keys() and all(
        mx.array_equal(value, other[name]) for name, value in one.items()
    )


def test_rows_and_biases_lie_in_order_with_zeros_for_an_absent_bias() -> None:
    parts = entries(STEM, "qkv", "qv")
    fused = fuse(parts, 32)
    assert fused.keys() == {f"{STEM}.qkv_proj.weight", f"{STEM}.qkv_proj.bias"}
    weights = [parts[f"{STEM}.{part}_proj.weight"] for part in "qkv"]
    assert mx.array_equal(fused[f"{STEM}.qkv_proj.weight"], mx.concatenate(weights))
    q, v = (parts[f"{STEM}.{part}_proj.bias"] for part in "qv")
    expected = mx.concatenate([q, mx.zeros(32), v])
    assert mx.array_equal(fused[f"{STEM}.qkv_proj.bias"], expected)
    assert same(split(fused), parts)


def test_without_biases_there_is_none() -> None:
    parts = entries(STEM, "qkv", "")
    fused = fuse(parts, 32)
    assert fused.keys() == {f"{STEM}.qkv_proj.weight"}
    assert same(split(fused), parts)


def test_what_no_projection_has_stays_for_strict_loading_to_name() -> None:
    parts = entries(STEM, "qkv", "qv") | {f"{STEM}.q_proj.mask": mx.ones((32, 32))}
    assert f"{STEM}.q_proj.mask" in fuse(parts, 32)


def test_a_bias_of_the_keys_is_fused_and_left_out_when_split() -> None:
    fused = fuse(entries(STEM, "qkv", "qkv"), 32)
    assert mx.abs(fused[f"{STEM}.qkv_proj.bias"][32:64]).min() > 0
    assert f"{STEM}.k_proj.bias" not in split(fused)


def test_only_keys_and_values_of_a_context_are_fused() -> None:
    stem = "decoder.layers.0.encoder_attn"
    parts = entries(stem, "qkv", "qv")
    others = {
        f"{stem}.out_proj.weight": mx.ones((2, 2)),
        "decoder.layer_norm.weight": mx.ones(2),
    }
    fused = fuse(parts | others, 32)
    assert fused.keys() == others.keys() | {
        f"{stem}.{name}"
        for name in ("q_proj.weight", "q_proj.bias", "kv_proj.weight", "kv_proj.bias")
    }
    assert same(split(fused), parts | others)


def test_positions_are_plain_arrays() -> None:
    for prefix in ("", "encoder.", "audio_tower."):
        table = {f"{prefix}embed_positions.weight": mx.ones((4, 2))}
        assert fuse(table, 2).keys() == {f"{prefix}embed_positions"}
        assert same(split(fuse(table, 2)), table)


@pytest.mark.parametrize("leaf", ["scales", "biases", "weight"])
def test_quantised_rows_are_fused_as_they_are(leaf: str) -> None:
    parts = {}
    for name, array in entries(STEM, "qkv", "").items():
        stem = name.removesuffix(".weight")
        leaves = mx.quantize(array, 32, 8)
        for kind, value in zip(("weight", "scales", "biases"), leaves, strict=True):
            parts[f"{stem}.{kind}"] = value
    fused = fuse(parts, 32)
    pieces = [parts[f"{STEM}.{part}_proj.{leaf}"] for part in "qkv"]
    assert mx.array_equal(fused[f"{STEM}.qkv_proj.{leaf}"], mx.concatenate(pieces))
    assert same(split(fused), parts)


def test_an_incomplete_attention_is_left_as_it_is() -> None:
    parts = entries(STEM, "qv", "q")
    assert same(fuse(parts, 32), parts)


def test_a_strange_quantised_projection_is_named() -> None:
    parts = entries(STEM, "qkv", "")
    parts[f"{STEM}.v_proj.scales"] = mx.ones((32, 1))
    with pytest.raises(SpeechError, match=r"self_attn.v_proj` .* is no quantised"):
        fuse(parts, 32)
