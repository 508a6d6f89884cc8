"""Linear layers that are quick for a few rows, as decoding token by token needs them.

On a CPU, MLX leaves every product to the BLAS. OpenBLAS copies the weight into a layout
of its own first, which pays for many rows; for a few it takes two to five times as long
as the product. Only small products do without the copy. So a weight is cut into slabs
of rows that are small enough, and one batched product multiplies them all: nothing is
copied, and the results are the same to rounding. Elsewhere, and for many rows, MLX's
own product runs.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_speech.nn.conv import current_device

# What OpenBLAS multiplies without a copy: outputs, and multiplications, of a product.
_MOST_OUTPUTS = 1200
_MOST_MULTIPLICATIONS = 1_000_000
# With narrower slabs, calling the BLAS takes longer than the copy.
_NARROWEST = 16


class Linear(nn.Linear):
    """``nn.Linear``, quick for few rows on a CPU."""

    def __call__(self, x: mx.array) -> mx.array:
        """[..., in] to [..., out]."""
        if slab_size(x, self.weight) is None:
            return super().__call__(x)
        y = multiply(x, self.weight)
        return y + self.bias if "bias" in self else y


class Embedding(nn.Embedding):
    """``nn.Embedding``, whose use as a linear layer is quick for few rows on a CPU."""

    def as_linear(self, x: mx.array) -> mx.array:
        """[..., channels] to [..., rows of the table]."""
        return multiply(x, self.weight)


def multiply(x: mx.array, weight: mx.array) -> mx.array:
    """Multiply by the transposed weight.

    Args:
        x: [..., in].
        weight: [out, in].

    Returns:
        [..., out].
    """
    size = slab_size(x, weight)
    if size is None:
        return x @ weight.T
    outputs, inputs = weight.shape
    rows = x.reshape(-1, inputs)
    whole = outputs // size * size
    slabs = weight[:whole].reshape(-1, size, inputs).swapaxes(1, 2)
    y = (rows[None] @ slabs).swapaxes(0, 1).reshape(-1, whole)
    if whole < outputs:
        y = mx.concatenate([y, rows @ weight[whole:].T], axis=-1)
    return y.reshape(*x.shape[:-1], outputs)


def slab_size(x: mx.array, weight: mx.array) -> int | None:
    """Outputs of one slab of ``weight`` [out, in]; None: it is multiplied whole."""
    if x.dtype != mx.float32 or weight.dtype != mx.float32:
        return None
    if current_device() != "cpu":
        return None
    outputs, inputs = weight.shape
    return slab_of(outputs, x.size // inputs, inputs)


def slab_of(outputs: int, rows: int, inputs: int) -> int | None:
    """Outputs of one slab, so that products of ``rows`` by it are small enough.

    Slabs of equal size are preferred. None: the whole product is small, or no slab
    that is wide enough makes it so.
    """
    most = min(_MOST_OUTPUTS // rows, _MOST_MULTIPLICATIONS // (rows * inputs))
    if outputs <= most or most < _NARROWEST:
        return None
    fewest = -(-outputs // most)
    for count in range(fewest, 2 * fewest):
        if outputs % count == 0 and outputs // count >= _NARROWEST:
            return outputs // count
    return most
