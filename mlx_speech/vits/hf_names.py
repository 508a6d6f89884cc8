"""Hugging Face's names for the modules of VITS, and their layout where it differs.

transformers renames every module of the reference implementation, leaves out the
channel flips between the flows, holds the attention's projections as linear layers,
and keeps the decoder without weight norm. The table below is made for one
configuration, so that a name is either in it or foreign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx

from mlx_speech.nn.norm import FUSED, PARAMETRIZED
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.torch_layout import NORM, split_key, to_torch

DDS_LAYERS = 3
DURATION_FLOWS = 4
# Ours -> theirs, for parameters whose name differs.
NORM_LEAVES = {"gamma": "weight", "beta": "bias"}
AFFINE_LEAVES = {"m": "translate", "logs": "log_scale"}


def hf_modules(config: VitsConfig) -> dict[str, str]:
    """Our name of every module with parameters -> Hugging Face's."""
    table = {
        "enc_p.emb": "text_encoder.embed_tokens",
        "enc_p.proj": "text_encoder.project",
        "enc_q.pre": "posterior_encoder.conv_pre",
        "enc_q.proj": "posterior_encoder.conv_proj",
        "emb_g": "embed_speaker",
    }
    for layer in range(config.n_layers):
        table |= _encoder_layer(layer)
    table |= _wavenet("enc_q.enc", "posterior_encoder.wavenet", config.posterior_layers)
    for flow in range(config.n_flows):
        # Ours counts the flips.
        ours, theirs = f"flow.flows.{2 * flow}", f"flow.flows.{flow}"
        table |= {f"{ours}.{p}": f"{theirs}.conv_{p}" for p in ("pre", "post")}
        table |= _wavenet(f"{ours}.enc", f"{theirs}.wavenet", config.flow_layers)
    return table | _decoder(config) | _duration_predictor(config.use_sdp)


def to_hf(arrays: Mapping[str, mx.array], config: VitsConfig) -> dict[str, mx.array]:
    """Parameters of our model as transformers' ``VitsModel`` names and holds them."""
    table = hf_modules(config)
    torch_arrays = to_torch(
        arrays, lambda module: FUSED if module.startswith("dec.") else PARAMETRIZED
    )
    found = {}
    for key, array in torch_arrays.items():
        module, leaf = split_key(key)
        if NORM.fullmatch(module):
            leaf = NORM_LEAVES[leaf]
        elif _is_projection(module) and leaf == "weight":
            array = array[..., 0]
        found[f"{table[module]}.{AFFINE_LEAVES.get(leaf, leaf)}"] = array
    return found


def from_hf(
    arrays: Mapping[str, mx.array], config: VitsConfig
) -> tuple[dict[str, mx.array], list[str]]:
    """The inverse of :func:`to_hf`, but still in PyTorch's layout.

    Returns:
        Arrays by the reference implementation's names, and the names for which there
        is no place.
    """
    table = {theirs: ours for ours, theirs in hf_modules(config).items()}
    norm_leaves = {theirs: ours for ours, theirs in NORM_LEAVES.items()}
    affine_leaves = {theirs: ours for ours, theirs in AFFINE_LEAVES.items()}
    found, unknown = {}, []
    for key, array in arrays.items():
        hf_module, leaf = split_key(key)
        if hf_module not in table:
            unknown.append(key)
            continue
        module = table[hf_module]
        if NORM.fullmatch(module):
            leaf = norm_leaves.get(leaf, leaf)
        elif _is_projection(module) and leaf == "weight":
            array = array[..., None]
        found[f"{module}.{affine_leaves.get(leaf, leaf)}"] = array
    return found, unknown


def _is_projection(module: str) -> bool:
    return ".attn_layers." in module and ".conv_" in module


def _encoder_layer(layer: int) -> dict[str, str]:
    ours, theirs = "enc_p.encoder", f"text_encoder.encoder.layers.{layer}"
    attention = f"{ours}.attn_layers.{layer}"
    table = {
        attention: f"{theirs}.attention",
        f"{ours}.norm_layers_1.{layer}": f"{theirs}.layer_norm",
        f"{ours}.norm_layers_2.{layer}": f"{theirs}.final_layer_norm",
    }
    for short, long in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "out")):
        table[f"{attention}.conv_{short}"] = f"{theirs}.attention.{long}_proj"
    for number in (1, 2):
        table[f"{ours}.ffn_layers.{layer}.conv_{number}"] = (
            f"{theirs}.feed_forward.conv_{number}"
        )
    return table


def _wavenet(ours: str, theirs: str, n_layers: int) -> dict[str, str]:
    names = ["cond_layer"]
    for layer in range(n_layers):
        names += [f"in_layers.{layer}", f"res_skip_layers.{layer}"]
    return _same(ours, theirs, names)


def _decoder(config: VitsConfig) -> dict[str, str]:
    table = _same("dec", "decoder", ["conv_pre", "conv_post", "cond"])
    stages = len(config.upsample_rates)
    for stage in range(stages):
        table[f"dec.ups.{stage}"] = f"decoder.upsampler.{stage}"
    blocks_per_stage = len(config.resblock_kernel_sizes)
    for block in range(stages * blocks_per_stage):
        steps = len(config.resblock_dilation_sizes[block % blocks_per_stage])
        table |= _same(
            f"dec.resblocks.{block}",
            f"decoder.resblocks.{block}",
            [f"{name}.{i}" for name in ("convs1", "convs2") for i in range(steps)],
        )
    return table


def _duration_predictor(use_sdp: bool) -> dict[str, str]:
    theirs = "duration_predictor"
    if not use_sdp:
        names = ["conv_1", "norm_1", "conv_2", "norm_2", "proj", "cond"]
        return _same("dp", theirs, names)
    table = {"dp.cond": f"{theirs}.cond"}
    for post in ("", "post_"):
        table |= _spline_network(f"dp.{post}", f"{theirs}.{post}")
        # Ours counts the flips, which follow every spline but not the affine layer.
        table[f"dp.{post}flows.0"] = f"{theirs}.{post}flows.0"
        for flow in range(DURATION_FLOWS):
            table |= _spline_network(
                f"dp.{post}flows.{2 * flow + 1}.", f"{theirs}.{post}flows.{flow + 1}."
            )
    return table


def _spline_network(ours: str, theirs: str) -> dict[str, str]:
    table = {f"{ours}{p}": f"{theirs}conv_{p}" for p in ("pre", "proj")}
    for short, long in (
        ("convs_sep", "convs_dilated"),
        ("convs_1x1", "convs_pointwise"),
        ("norms_1", "norms_1"),
        ("norms_2", "norms_2"),
    ):
        for layer in range(DDS_LAYERS):
            table[f"{ours}convs.{short}.{layer}"] = f"{theirs}conv_dds.{long}.{layer}"
    return table


def _same(ours: str, theirs: str, names: Sequence[str]) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in names}
