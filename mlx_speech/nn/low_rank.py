"""Low-rank updates of linear layers: LoRA.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021: a weight stays as
it is, and the product of two thin matrices is learned beside it. Merged, it costs
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_speech.errors import SpeechError


class LowRankLinear(nn.Module):
    """A linear layer that stays, and a low-rank update of it that is learned.

    The update begins as zero, so that the layer begins as what it was.

    Args:
        linear: the layer; its parameters are frozen.
        rank: of the update.
        alpha: the update is scaled by alpha / rank.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = linear.weight.shape
        self.linear = linear
        self.linear.freeze()
        self.scale = alpha / rank
        bound = 1 / math.sqrt(inputs)
        self.down = mx.random.uniform(-bound, bound, (inputs, rank))
        self.up = mx.zeros((rank, outputs))

    @property
    def weight(self) -> mx.array:
        """What a plain layer would need to be this one, [outputs, inputs]."""
        return self.linear.weight + self.scale * (self.down @ self.up).T

    @property
    def bias(self) -> mx.array | None:
        """The layer's bias; None when it has none."""
        return self.linear.bias if "bias" in self.linear else None

    def __call__(self, x: mx.array) -> mx.array:
        """[..., inputs] to [..., outputs]."""
        return self.linear(x) + self.scale * ((x @ self.down) @ self.up)


def add_low_rank(
    module: nn.Module, names: Sequence[str], rank: int, alpha: float
) -> int:
    """Freeze ``module`` and give its linear layers updates to learn.

    Args:
        module: changed in place.
        names: last parts of the paths of the layers.
        rank, alpha: see :class:`LowRankLinear`.

    Returns:
        How many layers were changed.

    Raises:
        SpeechError: none of these layers is there, or they are quantised.
    """
    found = [
        (path, layer)
        for path, layer in module.named_modules()
        if path.rsplit(".", 1)[-1] in names
    ]
    if not found:
        raise SpeechError(f"there are no layers {', '.join(names)} to update")
    for path, layer in found:
        if not isinstance(layer, nn.Linear):
            raise SpeechError(
                f"the layer {path} is quantised, so an update cannot be merged into it",
                "start from the model that was not quantised",
            )
    module.freeze()
    replaced = [(path, LowRankLinear(layer, rank, alpha)) for path, layer in found]
    module.update_modules(tree_unflatten(replaced))
    return len(found)


def merged_parameters(module: nn.Module) -> dict[str, mx.array]:
    """All parameters by dotted name, as if every update were part of its layer."""
    updated = {
        path: layer
        for path, layer in module.named_modules()
        if isinstance(layer, LowRankLinear)
    }
    merged = {
        name: array
        for name, array in dict(tree_flatten(module.parameters())).items()
        if not any(name.startswith(f"{path}.") for path in updated)
    }
    for path, layer in updated.items():
        merged[f"{path}.weight"] = layer.weight.astype(layer.linear.weight.dtype)
        if layer.bias is not None:
            merged[f"{path}.bias"] = layer.bias
    return merged
