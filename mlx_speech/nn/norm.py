"""Normalisation of activations and of weights.

``ChannelLayerNorm`` is layer normalisation (Ba et al., "Layer Normalization",
2016) over the channels of one frame. ``weight_norm`` splits a weight into a
direction and a length (Salimans and Kingma, "Weight Normalization", 2016), and
``conv_from_torch`` reads every spelling in which PyTorch stores such a weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.errors import SpeechError

# PyTorch's spellings of a convolution's weight: fused, and as (g, v).
FUSED = ("weight",)
WEIGHT_G_V = ("weight_g", "weight_v")
PARAMETRIZED = (
    "parametrizations.weight.original0",
    "parametrizations.weight.original1",
)
_SPELLINGS: tuple[tuple[str, ...], ...] = (FUSED, WEIGHT_G_V, PARAMETRIZED)
_NAMES = {name for names in _SPELLINGS for name in names} | {"bias"}

# torch's layout to MLX's, by the number of axes of the weight.
_PLAIN_AXES: dict[int, tuple[int, ...]] = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
_TRANSPOSED_AXES: dict[int, tuple[int, ...]] = {3: (1, 2, 0)}


class ChannelLayerNorm(nn.Module):
    """Layer normalisation over the last axis.

    Args:
        channels: size of the last axis.
        eps: added to the variance.

    The parameters are called ``gamma`` and ``beta``, each [channels], as in VITS.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma = mx.ones((channels,))
        self.beta = mx.zeros((channels,))
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.gamma.shape[0]}, eps={self.eps}"

    def __call__(self, x: mx.array) -> mx.array:
        """Normalise ``x`` [..., channels]; shape and dtype are kept.

        Raises:
            SpeechError: another number of channels.
        """
        if x.shape[-1] != self.gamma.shape[0]:
            raise SpeechError(
                f"the layer norm has {self.gamma.shape[0]} channels and the input "
                f"{x.shape[-1]}",
                "pass the input as [batch, time, channels]",
            )
        return mx.fast.layer_norm(x, self.gamma, self.beta, self.eps)


def weight_length(v: mx.array, axis: int) -> mx.array:
    """Euclidean length of ``v`` along all axes but ``axis``, which keeps its size."""
    others = [i for i in range(v.ndim) if i != axis % v.ndim]
    return mx.sqrt(mx.sum(mx.square(v), axis=others, keepdims=True))


def weight_norm(v: mx.array, g: mx.array, axis: int) -> mx.array:
    """The weight ``g * v / ||v||``.

    Args:
        v: direction, any shape; a slice of zeros has no direction and gives NaN.
        g: length, the shape of ``v`` with every axis but ``axis`` equal to 1.
        axis: the axis along which each slice has its own length. It is the axis
            that is first in PyTorch's layout: 0 for a convolution [O, K, C], 2 for
            a transposed one [O, K, C].

    Returns:
        The weight in the shape and dtype of ``v``.
    """
    return v * (g / weight_length(v, axis))


def conv_from_torch(
    entries: Mapping[str, mx.array], *, transposed: bool, weight_norm: bool
) -> dict[str, mx.array]:
    """Translate one convolution's entries of a PyTorch checkpoint.

    Args:
        entries: the module's arrays by the rest of their name, in PyTorch's layout:
            Conv1d [O, C/groups, K], Conv2d [O, C/groups, K, 1], ConvTranspose1d
            [C, O, K]. The weight may be spelled ``weight``, ``weight_g`` and
            ``weight_v``, or ``parametrizations.weight.original0`` and
            ``parametrizations.weight.original1``.
        transposed: whether it is a ConvTranspose1d. The key names do not say.
        weight_norm: whether the module to fill was made with ``weight_norm=True``.
            A plain ``weight`` then becomes ``weight_v``, with its own length as
            ``weight_g``; without it, a normalised pair is multiplied out.

    Returns:
        ``bias`` if there is one, and ``weight`` or ``weight_g`` and ``weight_v``,
        in the layout of :mod:`mlx_speech.nn.layers`.

    Raises:
        SpeechError: when a name is unknown, the weight is absent, incomplete or
            there twice, or has another number of axes.
    """
    spelling = _spelling(entries)
    axis = 2 if transposed else 0
    parts = [_permute(name, entries[name], transposed, False) for name in spelling]
    found = {"bias": entries["bias"]} if "bias" in entries else {}
    if weight_norm:
        v = parts[-1]
        g = parts[0] if len(parts) == 2 else weight_length(v, axis)
        return found | {"weight_g": g, "weight_v": v}
    return found | {
        "weight": parts[0] if len(parts) == 1 else _fuse(parts[0], parts[1], axis)
    }


def conv_to_torch(
    entries: Mapping[str, mx.array], *, transposed: bool, spelling: Sequence[str]
) -> dict[str, mx.array]:
    """The inverse of :func:`conv_from_torch`.

    Args:
        entries: ``weight``, or ``weight_g`` and ``weight_v``, and perhaps ``bias``,
            as a module of :mod:`mlx_speech.nn.layers` holds them.
        transposed: whether it is a ConvTranspose1d.
        spelling: one of ``FUSED``, ``WEIGHT_G_V`` and ``PARAMETRIZED``.

    Returns:
        The arrays in PyTorch's layout under PyTorch's names.
    """
    axis = 2 if transposed else 0
    parts = [entries[name] for name in _spelling(entries)]
    if len(spelling) == 1 and len(parts) == 2:
        parts = [_fuse(parts[0], parts[1], axis)]
    elif len(spelling) == 2 and len(parts) == 1:
        parts = [weight_length(parts[0], axis), parts[0]]
    found = {"bias": entries["bias"]} if "bias" in entries else {}
    for name, part in zip(spelling, parts, strict=True):
        found[name] = _permute(name, part, transposed, True)
    return found


def _fuse(g: mx.array, v: mx.array, axis: int) -> mx.array:
    """:func:`weight_norm`, whose name is that of a setting above."""
    return weight_norm(v, g, axis)


def _spelling(entries: Mapping[str, mx.array]) -> tuple[str, ...]:
    """Which of ``_SPELLINGS`` the entries use, having checked that it is one."""
    unknown = sorted(set(entries) - _NAMES)
    if unknown:
        raise SpeechError(
            f"a convolution has no entry called {', '.join(unknown)}",
            f"known are {', '.join(sorted(_NAMES))}",
        )
    begun = [names for names in _SPELLINGS if any(name in entries for name in names)]
    if len(begun) != 1:
        raise SpeechError(
            f"a convolution's weight is there {len(begun)} times "
            f"among {', '.join(sorted(entries)) or 'no entries'}",
            "give it once: weight, weight_g and weight_v, or the two parametrizations",
        )
    missing = [name for name in begun[0] if name not in entries]
    if missing:
        raise SpeechError(
            f"a convolution's {missing[0]} is missing beside "
            f"{', '.join(sorted(entries))}",
            "the checkpoint is incomplete; fetch or convert it again",
        )
    return begun[0]


def _permute(name: str, array: mx.array, transposed: bool, to_torch: bool) -> mx.array:
    axes = (_TRANSPOSED_AXES if transposed else _PLAIN_AXES).get(array.ndim)
    if axes is None:
        raise SpeechError(
            f"{name} has {array.ndim} axes, which no "
            f"{'transposed ' if transposed else ''}convolution here has",
            "pass 3 axes for one dimension, 4 for the period discriminator's",
        )
    if to_torch:
        axes = tuple(axes.index(i) for i in range(array.ndim))
    return array.transpose(axes)
