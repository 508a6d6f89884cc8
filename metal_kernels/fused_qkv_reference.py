"""What the fused projection of self-attention means, by MLX operations.

Layer norm (where one is given), one product with the rows of the three projections
below each other, bias, and a split into heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from mlx_speech.errors import SpeechError
from mlx_speech.metal_kernels.launch import dtype_name

HeadArrays = tuple[mx.array, mx.array, mx.array]


@dataclass(frozen=True)
class LayerNormWeights:
    """What a layer norm in front of the projection needs.

    Attributes:
        weight, bias: [channels].
        epsilon: is added to the variance.
    """

    weight: mx.array
    bias: mx.array
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Projection:
    """The weights of queries, keys and values as one matrix, perhaps quantised.

    Attributes:
        weights: one matrix [3 * heads * head channels, channels], its rows those of the
            queries, of the keys, of the values; or, quantised in MLX's affine way, the
            packed words, the scales and the offsets (MLX calls them biases).
        n_heads: of each of the three.
        bias: [3 * heads * head channels].
        norm: of the input.
        bits, group_size: of the quantisation; 0 without one.
    """

    weights: tuple[mx.array, ...]
    n_heads: int
    bias: mx.array | None = None
    norm: LayerNormWeights | None = None
    bits: int = 0
    group_size: int = 0

    @property
    def n_outputs(self) -> int:
        """Rows of the matrix."""
        return self.weights[0].shape[0]

    @property
    def channels(self) -> int:
        """Columns of the matrix."""
        words = self.weights[0].shape[1]
        return words * 32 // self.bits if self.bits else words

    @property
    def optional(self) -> list[mx.array]:
        """Bias, and weight and bias of the norm: those that are there."""
        given = [] if self.bias is None else [self.bias]
        return given + ([self.norm.weight, self.norm.bias] if self.norm else [])

    def check(self, x_blc: mx.array) -> None:
        """Refuse an input, or weights, that do not fit.

        Raises:
            SpeechError: they do not, or the input is not of floating point.
        """
        if x_blc.ndim != 3:
            raise SpeechError(
                f"attention projects [batch, length, channels], not {list(x_blc.shape)}"
            )
        if not mx.issubdtype(x_blc.dtype, mx.floating):
            raise SpeechError(
                f"attention projects floating point, not {dtype_name(x_blc.dtype)}",
                "convert the input with astype",
            )
        if any(array.ndim != 2 for array in self.weights):
            raise SpeechError(
                "a projection's weights have two axes, not "
                f"{[array.ndim for array in self.weights]}"
            )
        if self.channels != x_blc.shape[2]:
            raise SpeechError(
                f"a weight {list(self.weights[0].shape)} for {self.channels} channels "
                f"does not fit an input of {x_blc.shape[2]}"
            )
        if self.n_heads < 1 or self.n_outputs % (3 * self.n_heads):
            raise SpeechError(
                f"{self.n_outputs} rows of a weight cannot be split into queries, keys "
                f"and values of {self.n_heads} heads",
                "give 3 * heads * head channels rows",
            )
        if self.bits:
            self._check_quantisation()
        if self.bias is not None and self.bias.shape != (self.n_outputs,):
            raise SpeechError(
                f"a bias {list(self.bias.shape)} does not fit {self.n_outputs} rows of "
                "a weight"
            )
        if self.norm is not None:
            for name in ("weight", "bias"):
                shape = getattr(self.norm, name).shape
                if shape != (self.channels,):
                    raise SpeechError(
                        f"the {name} {list(shape)} of a layer norm does not fit "
                        f"{self.channels} channels"
                    )

    def _check_quantisation(self) -> None:
        packed, *tables = self.weights
        if packed.dtype != mx.uint32:
            raise SpeechError(
                f"packed weights are of dtype uint32, not {dtype_name(packed.dtype)}"
            )
        expected = (self.n_outputs, self.channels // self.group_size)
        if [table.shape for table in tables] != [expected] * 2:
            raise SpeechError(
                f"scales and offsets {[list(table.shape) for table in tables]} do not "
                f"fit {self.n_outputs} rows of {self.channels} channels in groups of "
                f"{self.group_size}"
            )


def fused_qkv_reference(x_blc: mx.array, projection: Projection) -> HeadArrays:
    """Queries, keys and values, each [batch, heads, length, head channels].

    Args:
        x_blc: [batch, length, channels].
        projection: that fits ``x``.
    """
    norm, bias = projection.norm, projection.bias
    if norm is not None:
        x_blc = mx.fast.layer_norm(x_blc, norm.weight, norm.bias, norm.epsilon)
    if projection.bits:
        packed, scales, offsets = projection.weights
        projected = mx.quantized_matmul(
            x_blc,
            packed,
            scales,
            offsets,
            transpose=True,
            group_size=projection.group_size,
            bits=projection.bits,
        )
        projected = projected if bias is None else projected + bias
    elif bias is None:
        projected = x_blc @ projection.weights[0].T
    else:
        projected = mx.addmm(bias, x_blc, projection.weights[0].T)
    return split_parts(projected, projection.n_heads)


def split_parts(projected: mx.array, n_heads: int) -> HeadArrays:
    """[batch, length, 3 * channels] to three [batch, heads, length, head channels]."""
    q, k, v = (split_heads(part, n_heads) for part in mx.split(projected, 3, axis=-1))
    return q, k, v


def split_heads(x_blc: mx.array, n_heads: int) -> mx.array:
    """[batch, length, channels] to [batch, heads, length, head channels]."""
    batch, length, channels = x_blc.shape
    return x_blc.reshape(batch, length, n_heads, channels // n_heads).swapaxes(1, 2)
