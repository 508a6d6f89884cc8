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
# Outputs of a slab of a table: of 32 to 192, the quickest for 1 to 16 rows.
_TABLE_SLAB = 64
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
    """``nn.Embedding``, whose use as a linear layer is quick for few rows on a CPU.

    A vocabulary's table does not fit in any cache. So a second copy of it is kept, once
    it is used like this, in which each slab lies transposed, the order that it is read
    in: twice as quick, for as much memory as the table.
    """

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__(num_embeddings, dims)
        self._table = _TableSlabs()

    def as_linear(self, x: mx.array) -> mx.array:
        """[..., channels] to [..., rows of the table]."""
        channels = x.shape[-1]
        rows = x.size // channels
        small = rows * channels * _TABLE_SLAB <= _MOST_MULTIPLICATIONS
        if slab_size(x, self.weight) is None or not small:
            return multiply(x, self.weight)
        slabs, rest = self._table.of(self.weight)
        flat = x.reshape(rows, channels)
        y = (flat[None] @ slabs).swapaxes(0, 1).reshape(rows, -1)
        y = mx.concatenate([y, flat @ rest.T], axis=-1)
        return y.reshape(*x.shape[:-1], y.shape[-1])


class _TableSlabs:
    """The slabs of the table that was used last, each of them transposed."""

    def __init__(self) -> None:
        self._weight: mx.array | None = None
        self._parts: tuple[mx.array, mx.array] | None = None

    def of(self, weight: mx.array) -> tuple[mx.array, mx.array]:
        """Slabs [slabs, in, out] of a table [rows, in], and the rows that are left."""
        if self._parts is None or self._weight is not weight:
            whole = weight.shape[0] // _TABLE_SLAB * _TABLE_SLAB
            slabs = weight[:whole].reshape(-1, _TABLE_SLAB, weight.shape[1])
            self._parts = mx.contiguous(slabs.swapaxes(1, 2)), weight[whole:]
            self._weight = weight
        return self._parts


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
