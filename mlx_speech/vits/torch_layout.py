"""From PyTorch's layout of a VITS checkpoint to MLX's, and back, by key name.

The names are those of the reference implementation (our modules have the same). What
changes is the order of a convolution's axes and the spelling of its weight norm; which
module is which stands here as rules on names, never on shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.hub.load import load_strict, refuse_difference
from mlx_speech.nn.norm import (
    FUSED,
    PARAMETRIZED,
    WEIGHT_G_V,
    conv_from_torch,
    conv_to_torch,
)

WEIGHT_NORMED = re.compile(
    r"(enc_q|flow\.flows\.\d+)\.enc\.(cond_layer|(in|res_skip)_layers\.\d+)"
    r"|dec\.ups\.\d+"
    r"|dec\.resblocks\.\d+\.convs[12]?\.\d+"
    r"|discriminators\.\d+\.(convs\.\d+|conv_post)"
)
TRANSPOSED = re.compile(r"dec\.ups\.\d+")
EMBEDDING = re.compile(r"enc_p\.emb|emb_g")
NORM = re.compile(r".*\.norms?_(layers_)?[12](\.\d+)?")
# The affine layer of the duration flows: [channels, 1] there, [1, channels] here.
AFFINE_LEAVES = ("m", "logs")
CONVOLUTION_LEAVES = ("weight", "bias", *WEIGHT_G_V, *PARAMETRIZED)


def split_key(key: str) -> tuple[str, str]:
    """Module and parameter; the two parametrizations count as parameters."""
    for leaf in PARAMETRIZED:
        if key.endswith(f".{leaf}"):
            return key[: -len(leaf) - 1], leaf
    module, _, leaf = key.rpartition(".")
    return module, leaf


def is_convolution(module: str, leaf: str) -> bool:
    """Whether the parameter belongs to a convolution."""
    return leaf in CONVOLUTION_LEAVES and not EMBEDDING.fullmatch(module)


def from_torch(arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Parameters of our modules from arrays of the reference's names and layout.

    Raises:
        SpeechError: a convolution whose weight is incomplete, there twice, or of
            another number of axes, named.
    """
    convolutions, found = _grouped(arrays)
    for module, entries in convolutions.items():
        with _naming(module):
            converted = conv_from_torch(
                entries,
                transposed=bool(TRANSPOSED.fullmatch(module)),
                weight_norm=bool(WEIGHT_NORMED.fullmatch(module)),
            )
        found |= {f"{module}.{leaf}": array for leaf, array in converted.items()}
    return found


def to_torch(
    arrays: Mapping[str, mx.array], spelling: Callable[[str], Sequence[str]]
) -> dict[str, mx.array]:
    """The inverse of :func:`from_torch`.

    Args:
        arrays: parameters of our modules by name.
        spelling: for the name of a weight-normed module, one of ``FUSED``,
            ``WEIGHT_G_V`` and ``PARAMETRIZED`` of :mod:`mlx_speech.nn.norm`.
    """
    convolutions, found = _grouped(arrays)
    for module, entries in convolutions.items():
        normed = WEIGHT_NORMED.fullmatch(module)
        converted = conv_to_torch(
            entries,
            transposed=bool(TRANSPOSED.fullmatch(module)),
            spelling=spelling(module) if normed else FUSED,
        )
        found |= {f"{module}.{leaf}": array for leaf, array in converted.items()}
    return found


def load_from_torch(
    module: nn.Module,
    arrays: Mapping[str, mx.array],
    source: str,
    unknown: Sequence[str] = (),
) -> None:
    """Give a module the arrays of a PyTorch checkpoint, each used exactly once.

    Args:
        module: ours, whose parameters have the reference's names.
        arrays: by the reference's names, in PyTorch's layout.
        source: for the message.
        unknown: names of arrays for which there was no place.

    Raises:
        SpeechError: names or shapes differ; the message names up to ten of each.
    """
    own = {_common_name(name) for name in dict(tree_flatten(module.parameters()))}
    given = {_common_name(name) for name in arrays}
    # Names first: a foreign checkpoint should fail by its names, not by the layout of
    # the first array that is no convolution of ours.
    refuse_difference(source, sorted(own - given), sorted([*(given - own), *unknown]))
    load_strict(module, from_torch(arrays), source)


def _common_name(name: str) -> str:
    module, leaf = split_key(name)
    normed = leaf in (*WEIGHT_G_V, *PARAMETRIZED)
    return f"{module}.weight" if normed else name


def _grouped(
    arrays: Mapping[str, mx.array],
) -> tuple[dict[str, dict[str, mx.array]], dict[str, mx.array]]:
    """Convolutions by module, and all others in the other layout."""
    convolutions: dict[str, dict[str, mx.array]] = {}
    others: dict[str, mx.array] = {}
    for key, array in arrays.items():
        module, leaf = split_key(key)
        if is_convolution(module, leaf):
            convolutions.setdefault(module, {})[leaf] = array
        else:
            others[key] = array.T if leaf in AFFINE_LEAVES else array
    return convolutions, others


@contextmanager
def _naming(module: str) -> Iterator[None]:
    try:
        yield
    except SpeechError as error:
        raise SpeechError(f"`{module}`: {error.message}", error.hint) from error
