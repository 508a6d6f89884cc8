"""Linear layers and embeddings with quantised weights, on any device.

The layout is MLX's affine one: groups of a row share a scale and an offset, and the
integers lie packed in 32-bit words. MLX's product with such a matrix is meant for GPUs;
on a CPU it beats unpacking for one row only (measured: 40 times slower at 256 rows), so
there more rows are multiplied by the unpacked matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_speech.errors import SpeechError
from mlx_speech.nn.conv import current_device

GROUP_SIZES = (32, 64, 128)
BITS = (2, 3, 4, 5, 6, 8)


class QuantizedLinear(nn.QuantizedLinear):
    """``nn.QuantizedLinear`` that unpacks its weight where that is quicker."""

    def __call__(self, x: mx.array) -> mx.array:
        """[..., in] to [..., out]."""
        y = _product(self, x)
        return y + self.bias if "bias" in self else y


class QuantizedEmbedding(nn.QuantizedEmbedding):
    """``nn.QuantizedEmbedding`` that unpacks its table where that is quicker."""

    def as_linear(self, x: mx.array) -> mx.array:
        """[..., channels] to [..., rows of the table]."""
        return _product(self, x)


def quantization_layout(
    name: str, packed: mx.array, scales: mx.array, columns: int
) -> tuple[int, int]:
    """Bits and group size of a packed matrix, from its shapes.

    Args:
        name: of the matrix, for the message.
        packed: [rows, words], unsigned 32-bit.
        scales: [rows, groups].
        columns: of the matrix.

    Raises:
        SpeechError: no layout that MLX knows has these shapes.
    """
    groups = scales.shape[-1]
    bits, rest = divmod(packed.shape[-1] * 32, columns)
    fits = packed.dtype == mx.uint32 and rest == 0 and groups and columns % groups == 0
    group_size = columns // groups if fits else 0
    if bits not in BITS or group_size not in GROUP_SIZES:
        raise SpeechError(
            f"`{name}` {list(packed.shape)} with scales {list(scales.shape)} is no "
            f"quantised matrix of {columns} columns",
            f"known are {', '.join(map(str, BITS))} bits in groups of "
            f"{', '.join(map(str, GROUP_SIZES))}",
        )
    return bits, group_size


def use_quantized_layers(module: nn.Module, weights: Mapping[str, mx.array]) -> None:
    """Replace the layers whose weights are quantised by layers that hold such weights.

    Args:
        module: its ``nn.Linear`` and ``nn.Embedding`` layers are candidates. The new
            layers have the right shapes, not yet the values.
        weights: arrays by parameter name; a layer is quantised when it has ``scales``.

    Raises:
        SpeechError: scales without offsets, or shapes that no layout has.
    """
    replaced = []
    for path, layer in _layers(module).items():
        if f"{path}.scales" not in weights or not _can_be_quantized(layer):
            continue
        for leaf in ("weight", "biases"):
            if f"{path}.{leaf}" not in weights:
                raise SpeechError(
                    f"`{path}` has `scales` but no `{leaf}`",
                    "only MLX's affine quantisation can be read",
                )
        bits, group_size = quantization_layout(
            path,
            weights[f"{path}.weight"],
            weights[f"{path}.scales"],
            layer.weight.shape[-1],
        )
        replaced.append((path, _quantized(layer, bits, group_size)))
    module.update_modules(tree_unflatten(replaced))


def quantize(module: nn.Module, bits: int = 4, group_size: int = 64) -> int:
    """Quantise the linear layers and embeddings of a module in place.

    Args:
        module: layers whose inputs are no multiple of ``group_size`` stay as they are.
        bits: 2, 3, 4, 5, 6 or 8 for each weight.
        group_size: 32, 64 or 128 weights share a scale and an offset.

    Returns:
        How many layers were quantised.

    Raises:
        SpeechError: other numbers, or no layer that can be quantised.
    """
    if bits not in BITS or group_size not in GROUP_SIZES:
        raise SpeechError(
            f"there is no quantisation to {bits} bits in groups of {group_size}",
            f"choose from {', '.join(map(str, BITS))} bits and groups of "
            f"{', '.join(map(str, GROUP_SIZES))}",
        )
    replaced = []
    for path, layer in _layers(module).items():
        if _can_be_quantized(layer) and layer.weight.shape[-1] % group_size == 0:
            replaced.append((path, _quantized(layer, bits, group_size)))
    if not replaced:
        raise SpeechError(
            f"no layer of this model can be quantised in groups of {group_size}",
            "choose smaller groups; a quantised model cannot be quantised again",
        )
    module.update_modules(tree_unflatten(replaced))
    return len(replaced)


def quantized_layers(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Bits and group size of each quantised layer by its path."""
    return {
        path: (layer.bits, layer.group_size)
        for path, layer in _layers(module).items()
        if isinstance(layer, QuantizedLinear | QuantizedEmbedding)
    }


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    return dict(tree_flatten(module.leaf_modules(), is_leaf=nn.Module.is_module))


def _can_be_quantized(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Embedding)


def _quantized(layer: nn.Module, bits: int, group_size: int) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return QuantizedLinear.from_linear(layer, group_size, bits)
    return QuantizedEmbedding.from_embedding(layer, group_size, bits)


def _product(layer: nn.Module, x: mx.array) -> mx.array:
    """x times the transposed matrix of a quantised layer."""
    weight, scales, offsets = layer.weight, layer.scales, layer.biases
    bits, group_size = layer.bits, layer.group_size
    if current_device() == "cpu" and x.size > x.shape[-1]:
        unpacked = mx.dequantize(weight, scales, offsets, group_size, bits)
        return x @ unpacked.astype(x.dtype).T
    return mx.quantized_matmul(
        x, weight, scales, offsets, transpose=True, group_size=group_size, bits=bits
    )
