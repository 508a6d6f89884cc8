"""AdamW with learning-rate groups, frozen parts and gradient norms.

AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. MLX's class leaves Adam's bias
correction off unless asked; everything here asks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import AdamW, Optimizer
from mlx.utils import tree_flatten, tree_map, tree_merge, tree_reduce, tree_unflatten

from mlx_speech.errors import SpeechError

DEFAULT_GROUP = "default"


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at their own rate.

    Attributes:
        name: shown in the logs and used in checkpoints; no dots.
        prefixes: dotted paths ("enc_p", "dec.ups"); whole components are compared,
            so "dec" does not take "decoder.weight".
        learning_rate: at epoch 0.
    """

    name: str
    prefixes: tuple[str, ...]
    learning_rate: float


class GroupedAdamW(Optimizer):
    """AdamW whose learning rate depends on the parameter's path.

    Each group is one MLX AdamW; a parameter belongs to the first group with a
    matching prefix, else to the group "default". Learning rates are arrays in the
    state, so they travel with checkpoints.

    Args:
        network: its trainable parameters are optimised; frozen ones are left out,
            weight decay included.
        learning_rate: of the default group at epoch 0.
        groups: parts with another rate.
        decay: factor per epoch, see :meth:`set_epoch`.
        betas, eps, weight_decay: as in the paper; the defaults are VITS's.

    Raises:
        SpeechError: a prefix that matches nothing, or nothing left to train.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        *,
        groups: Sequence[ParameterGroup] = (),
        decay: float = 1.0,
        betas: tuple[float, float] = (0.8, 0.99),
        eps: float = 1e-9,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__()
        names = [group.name for group in groups] + [DEFAULT_GROUP]
        if len(set(names)) < len(names) or any("." in name for name in names):
            raise SpeechError(
                f"learning-rate groups need different names without dots, not {names}"
            )
        for group in groups:
            _require_matches(network, group.prefixes)
        self.groups = tuple(groups)
        self.decay = decay
        self.base_rates = {group.name: group.learning_rate for group in groups}
        self.base_rates[DEFAULT_GROUP] = learning_rate
        self.members = {
            name: AdamW(
                rate,
                betas=list(betas),
                eps=eps,
                weight_decay=weight_decay,
                bias_correction=True,
            )
            for name, rate in self.base_rates.items()
        }
        parameters = network.trainable_parameters()
        if not tree_flatten(parameters):
            raise SpeechError(
                "every parameter is frozen, so there is nothing to train",
                "freeze fewer parts",
            )
        self.init(parameters)

    def set_epoch(self, epoch: int) -> None:
        """Learning rates become ``rate at epoch 0 * decay ** epoch``.

        A function of the epoch alone: calling it again changes nothing.
        """
        for name, member in self.members.items():
            rate = self.base_rates[name] * self.decay**epoch
            member.learning_rate = mx.array(rate, mx.float32)

    def set_factor(self, factor: float) -> None:
        """Learning rates become ``rate at epoch 0 * factor``, for rates by step."""
        for name, member in self.members.items():
            rate = self.base_rates[name] * factor
            member.learning_rate = mx.array(rate, mx.float32)

    @property
    def learning_rate(self) -> mx.array:
        """Present learning rate of the default group; the two setters above set it.

        MLX's own setter would change nothing here, without a word.
        """
        return self.members[DEFAULT_GROUP].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        raise AttributeError("groups have rates of their own; use set_factor")

    @property
    def step(self) -> mx.array:
        """Updates taken so far, 0 when there was none."""
        return mx.max(mx.stack([member.step for member in self.members.values()]))

    @property
    def learning_rates(self) -> dict[str, mx.array]:
        """Present learning rate of each group."""
        return {name: member.learning_rate for name, member in self.members.items()}

    def init(self, parameters: dict) -> None:
        for name, part in self._split(parameters).items():
            self.members[name].init(part)
        self._initialized = True

    def apply_gradients(self, gradients: dict, parameters: dict) -> dict:
        updated: dict = {}
        for name, part in self._split(gradients).items():
            if part:
                moved = self.members[name].apply_gradients(part, parameters)
                updated = tree_merge(updated, moved)
        return updated

    @property
    def state(self) -> dict[str, Any]:
        return {name: member.state for name, member in self.members.items()}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        for name, member in self.members.items():
            member.state = state[name]

    def _split(self, tree: dict) -> dict[str, dict]:
        parts: dict[str, list] = {name: [] for name in self.members}
        for path, value in dict(tree_flatten(tree)).items():
            parts[self._group_of(path)].append((path, value))
        return {
            name: tree_unflatten(part) if part else {} for name, part in parts.items()
        }

    def _group_of(self, path: str) -> str:
        for group in self.groups:
            if any(is_under(path, prefix) for prefix in group.prefixes):
                return group.name
        return DEFAULT_GROUP


def is_under(path: str, prefix: str) -> bool:
    """True when the dotted ``path`` is ``prefix`` or lies below it."""
    return path == prefix or path.startswith(f"{prefix}.")


def freeze_parts(network: nn.Module, prefixes: Iterable[str]) -> None:
    """Freeze every parameter under the dotted ``prefixes``.

    Raises:
        SpeechError: a prefix that matches no parameter, with the nearest that does.
    """
    prefixes = tuple(prefixes)
    _require_matches(network, prefixes)
    for module_path, module in network.named_modules():
        own = [
            key
            for key, value in module.items()
            if isinstance(value, mx.array)
            and any(
                is_under(f"{module_path}.{key}".lstrip("."), prefix)
                for prefix in prefixes
            )
        ]
        if own:
            module.freeze(recurse=False, keys=own)


def learning_rates(optimizers: Mapping[str, Optimizer]) -> dict[str, mx.array]:
    """Learning rates by "optimizer", or "optimizer.group" where there are groups."""
    rates = {}
    for name, optimizer in optimizers.items():
        if isinstance(optimizer, GroupedAdamW) and optimizer.groups:
            for group, rate in optimizer.learning_rates.items():
                rates[f"{name}.{group}"] = rate
        else:
            rates[name] = optimizer.learning_rate
    return rates


def gradient_norm(gradients: Any) -> mx.array:
    """Euclidean norm over a whole tree of gradients, a lazy float32 scalar."""
    squares = tree_reduce(
        # Rows first: one float32 sum over millions of entries is wrong by 0.6 %.
        lambda total, g: total + mx.sum(mx.sum(_squares(g), axis=-1)),
        gradients,
        mx.array(0.0, mx.float32),
    )
    return mx.sqrt(squares)


def clip_gradients(gradients: Any, most: float) -> tuple[Any, mx.array]:
    """Scale a tree of gradients down to a norm of at most ``most``; lazy.

    Returns:
        The gradients, and their norm before.
    """
    norm = gradient_norm(gradients)
    scale = mx.minimum(most / mx.maximum(norm, 1e-12), 1.0)
    return tree_map(lambda g: g * scale.astype(g.dtype), gradients), norm


def _squares(gradient: mx.array) -> mx.array:
    # One axis more, so that a scalar has a row too.
    return mx.square(gradient[None].astype(mx.float32))


def _require_matches(network: nn.Module, prefixes: Iterable[str]) -> None:
    paths = list(dict(tree_flatten(network.parameters())))
    for prefix in prefixes:
        if any(is_under(path, prefix) for path in paths):
            continue
        parts = {path.rsplit(".", depth)[0] for path in paths for depth in range(4)}
        near = difflib.get_close_matches(prefix, sorted(parts), n=1)
        top = sorted({path.split(".")[0] for path in paths})
        raise SpeechError(
            f"no parameter of the network lies under `{prefix}`",
            f"did you mean `{near[0]}`" if near else f"its parts are {top}",
        )
