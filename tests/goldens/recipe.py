"""PyTorch goldens without weights: rebuild every weight from its name, then compare.

A golden file holds inputs, outputs and a JSON `meta`, but no weights. Each weight is
drawn from a random generator seeded with the checksum of its PyTorch state-dict name
and scaled by the rule of `recipe_value`, so any implementation can rebuild the same
model from the list of names and shapes. `Golden` reads one model of such a file, loads
the rebuilt weights into our modules and compares our tensors, losses, gradients and
parameter changes with the stored ones.

Arrays given to `Golden.check` are in PyTorch's order of axes, [batch, channels, time].
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

Arrays = dict[str, np.ndarray]

# Gain on 1 / sqrt(fan-in): first pattern found in the name, else 1.
GAINS = (
    (r"^enc_q\.pre\.weight$", 0.5),
    (r"^enc_p\.proj\.weight$", 0.3),
    (r"^enc_q\.proj\.weight$", 0.2),
    (r"^dec\.ups\.", 1.4),
    (r"^dec\.conv_post\.", 0.25),
    (r"^discriminators\.", 1.4),
)
# Standard deviation of tables and of other weights that have no fan-in.
TABLES = (
    (r"^enc_p\.emb\.weight$", 0.1),
    (r"^emb_g\.weight$", 0.5),
    (r"emb_rel_[kv]$", 0.3),
    (r"flows\.0\.(m|logs)$", 0.1),
)
# (field, strict, loose). Relative to the largest value of a tensor, to the value of a
# loss, to the norm of the parameter's own gradient or change.
TOLERANCES = (
    (r"^stft\.logmel0$", 3e-4, 3e-3),
    (r"^(stft|fwd|mel|inf|d0)\.", 3e-5, 5e-4),
    (r"^(d1|fmap)\.", 3e-3, 2e-2),
    (r"^loss0\.(disc|disc_r|disc_g|mel|kl|dur)$", 1e-5, 2e-4),
    (r"^loss0\.total$", 1e-4, 1e-3),
    (r"^loss0\.(gen|gen_i|fm)$", 5e-4, 5e-3),
    (r"^loss0\.grad_norm", 1e-3, 1e-2),
    (r"^loss1\.", 3e-3, 2e-2),
    (r"^lossI\.", 1e-5, 2e-4),
    (r"^[GD]\.grad_(norm|dot|samp)$", 3e-3, 2e-2),
    (r"^[GD]\.delta_norm$", 5e-3, 2e-2),
    (r"^[GD]\.delta_samp$", 3e-3, 5e-3),
)
SAMPLES_PER_PARAMETER = 8


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 standard normal numbers that depend on the name alone."""
    generator = np.random.default_rng(zlib.crc32(name.encode("utf-8")))
    return generator.standard_normal(shape).astype(np.float32)


def recipe_value(
    name: str, shape: tuple[int, ...], other: Callable[[str], np.ndarray]
) -> np.ndarray:
    """The value of one PyTorch state-dict entry, float32.

    Args:
        name: state-dict name.
        shape: PyTorch shape.
        other: gives the value of another entry; a `weight_g` needs its `weight_v`.
    """
    one, leaf = np.float32(1), name.rsplit(".", 1)[-1]
    draw = normal(name, shape)
    if leaf == "weight_g":
        direction = other(name[: -len(leaf)] + "weight_v").astype(np.float64)
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
        norm = np.sqrt((direction * direction).sum(axis=axes, keepdims=True))
        return (norm * (1.0 + 0.1 * draw.astype(np.float64))).astype(np.float32)
    if leaf == "gamma":
        return one + np.float32(0.1) * draw
    if leaf == "beta":
        return np.float32(0.1) * draw
    if leaf == "bias":
        return np.float32(0.01) * draw
    for pattern, deviation in TABLES:
        if re.search(pattern, name):
            return np.float32(deviation) * draw
    if leaf not in ("weight", "weight_v"):
        raise ValueError(f"the recipe has no rule for `{name}`")
    # A transposed convolution [in, out, kernel] with stride = kernel / 2 adds two taps
    # of every input channel.
    fan_in = 2 * shape[0] if ".ups." in name else math.prod(shape[1:])
    gain = next((gain for pattern, gain in GAINS if re.search(pattern, name)), 1.0)
    return np.float32(gain / math.sqrt(fan_in)) * draw


def recipe_state(shapes: Mapping[str, list[int]]) -> Arrays:
    """All weights of a model, by PyTorch name, in PyTorch's layout."""
    state: Arrays = {}

    def value(name: str) -> np.ndarray:
        if name not in state:
            state[name] = recipe_value(name, tuple(shapes[name]), value)
        return state[name]

    return {name: value(name) for name in shapes}


def probe(value: np.ndarray) -> list[float]:
    """First value, last value and sum of absolute values of a weight."""
    total = np.abs(value.astype(np.float64)).sum()
    return [float(value.flat[0]), float(value.flat[-1]), float(total)]


def layout(name: str) -> tuple[int, ...] | None:
    """The transposition from PyTorch's layout to ours, by key name; None for none."""
    if re.search(r"^dec\.ups\.\d+\.weight", name):
        return (1, 2, 0)  # [in, out, kernel] -> [out, kernel, in]
    if re.search(r"^discriminators\.[1-9]\d*\..*weight", name):
        return (0, 2, 3, 1)  # [out, in, kernel, 1] -> [out, kernel, 1, in]
    if re.search(r"flows\.0\.(m|logs)$", name) and "dp." in name:
        return (1, 0)  # [channels, 1] -> [1, channels]
    if name in ("enc_p.emb.weight", "emb_g.weight"):
        return None
    if re.search(r"\.weight(_[gv])?$", name):
        return (0, 2, 1)  # [out, in, kernel] -> [out, kernel, in]
    return None


def to_mlx(name: str, array: np.ndarray) -> mx.array:
    """One weight in our layout, float32."""
    axes = layout(name)
    return mx.array(array if axes is None else array.transpose(axes))


def to_torch(name: str, array: mx.array) -> np.ndarray:
    """One weight, gradient or change in PyTorch's layout."""
    axes, value = layout(name), np.array(array)
    return value if axes is None else value.transpose(np.argsort(axes))


def flat(tree: Any) -> dict[str, mx.array]:
    """A tree of parameters or gradients by dotted name."""
    return dict(tree_flatten(tree))


def channels_first(x: mx.array) -> np.ndarray:
    """[batch, time, channels] -> [batch, channels, time]."""
    return np.array(x).swapaxes(1, 2)


class Golden:
    """One model of a golden file.

    Attributes:
        config: the reference's configuration.
        names: parameter names of "G" and of "D" in the order of the stored statistics.
        arrays: every stored array of this model by field name.
    """

    def __init__(self, path: str | Path, model: str) -> None:
        with np.load(path) as archive:
            meta = json.loads(bytes(archive["meta"]).decode("utf-8"))["models"][model]
            prefix = f"{model}/"
            self.arrays: Arrays = {
                key[len(prefix) :]: archive[key]
                for key in archive.files
                if key.startswith(prefix)
            }
        self.config: dict[str, Any] = meta["config"]
        self.fields: dict[str, dict[str, Any]] = meta["fields"]
        self.shapes: dict[str, dict[str, list[int]]] = meta["shapes"]
        self.probe: dict[str, list[float]] = meta["recipe_probe"]
        self.names = {
            net: [str(name) for name in self.arrays[f"{net}.names"]] for net in "GD"
        }

    def input(self, name: str) -> np.ndarray:
        """An input such as `in.spec`, as stored; half precision becomes float32."""
        value = self.arrays[name]
        return value.astype(np.float32) if value.dtype == np.float16 else value

    def channels_last_input(self, name: str) -> mx.array:
        """A [batch, channels, time] input as [batch, time, channels]."""
        return mx.array(self.input(name).swapaxes(1, 2))

    def weights(self, net: str) -> Arrays:
        """The rebuilt weights of "G" or "D" by PyTorch name, in PyTorch's layout."""
        return recipe_state(self.shapes[net])

    def load(self, module: nn.Module, net: str, only: str = "") -> None:
        """Load rebuilt weights into a module; a missing or an extra key is an error.

        Args:
            module: its parameter names are PyTorch's, without `only`.
            net: "G" or "D".
            only: prefix of a part of the model, with its dot: "dec.".
        """
        shapes = {k: v for k, v in self.shapes[net].items() if k.startswith(only)}
        state = recipe_state(shapes)
        module.load_weights(
            [(name[len(only) :], to_mlx(name, value)) for name, value in state.items()],
            strict=True,
        )

    def errors(self, field: str, value: Any) -> list[float]:
        """Relative errors of a tensor, scalar or integer field: values, statistics."""
        if field not in self.fields:
            raise KeyError(f"no field `{field}`")
        shape, stride = self.fields[field]["shape"], self.fields[field]["stride"]
        ours = np.asarray(value)
        if list(ours.shape) != list(shape):
            raise AssertionError(f"{field}: shape {ours.shape}, expected {shape}")
        stored = self.arrays[field]
        picked = ours.reshape(-1)[::stride].reshape(stored.shape)
        if stored.dtype.kind in "iub":
            return [0.0 if np.array_equal(picked, stored) else math.inf]
        gap = np.abs(picked.astype(np.float64) - stored.astype(np.float64))
        found = [float(gap.max() / (np.abs(stored).max() + 1e-30))]
        if f"{field}@stat" in self.arrays:
            wide = ours.astype(np.float64)
            mean, deviation, total = self.arrays[f"{field}@stat"]
            size = total / ours.size + 1e-30
            found += [
                float(abs(wide.mean() - mean) / size),
                float(abs(wide.std() - deviation) / size),
                float(abs(np.abs(wide).sum() - total) / (total + 1e-30)),
            ]
        return [error if math.isfinite(error) else math.inf for error in found]

    def check(self, field: str, value: Any, strict: bool = False) -> None:
        """Assert that a field agrees: loose tolerance, or the strict one."""
        _assert_within(field, max(self.errors(field, value)), strict)

    def parameter_error(
        self, net: str, what: str, tree: Mapping[str, mx.array], statistic: str
    ) -> tuple[float, str]:
        """The largest relative error over parameters, and whose it is.

        Only entries that float32 noise leaves decided (`*_stable`) count. A parameter
        whose stored gradient or change is exactly zero must be exactly zero here.

        Args:
            net: "G" or "D".
            what: "grad" or "delta".
            tree: our gradients or changes by dotted name, in our layout.
            statistic: "norm", "dot" (projection on a recipe vector) or "samp".
        """
        names, field = self.names[net], f"{net}.{what}_{statistic}"
        if set(tree) != set(names):
            raise AssertionError(
                f"parameters differ: {sorted(set(tree) ^ set(names))[:6]}"
            )
        norms = self.arrays[f"{net}.{what}_norm"]
        stored = self.arrays[field].astype(np.float64)
        worst, owner = 0.0, ""
        for index, name in enumerate(names):
            ours = _statistic(name, to_torch(name, tree[name]), statistic)
            gap = np.abs(ours - stored[index])
            if norms[index] == 0.0:
                error = math.inf if gap.max() > 0 else 0.0
            elif field.endswith("delta_samp"):
                decided = self.arrays[f"{field}_stable"][index]
                relative = gap / (np.abs(stored[index]) + 1e-30)
                error = float(relative[decided].max(initial=0.0))
            elif self.arrays[f"{net}.{what}_stable"][index]:
                error = float(gap.max() / norms[index])
            else:
                continue
            if not error <= worst:
                worst, owner = error, name
        return worst, owner

    def check_parameters(
        self, net: str, what: str, tree: Mapping[str, mx.array], strict: bool = False
    ) -> None:
        """Assert that each parameter's gradient ("grad") or change ("delta") agrees."""
        statistics = ("norm", "dot", "samp") if what == "grad" else ("norm", "samp")
        for statistic in statistics:
            worst, owner = self.parameter_error(net, what, tree, statistic)
            _assert_within(f"{net}.{what}_{statistic}", worst, strict, f" ({owner})")


def _statistic(name: str, value: np.ndarray, statistic: str) -> np.ndarray:
    """One stored statistic of a gradient or change in PyTorch's layout, [n] float64."""
    values = value.astype(np.float64).ravel()
    if statistic == "norm":
        return np.sqrt((values * values).sum())[None]
    if statistic == "dot":
        probe = normal(f"probe:{name}", (values.size,)).astype(np.float64)
        return (values * probe).sum()[None]
    count, last = SAMPLES_PER_PARAMETER, values.size - 1
    return values[[round(i * last / (count - 1)) for i in range(count)]]


def _assert_within(field: str, error: float, strict: bool, owner: str = "") -> None:
    for pattern, tight, loose in TOLERANCES:
        if re.search(pattern, field):
            limit = tight if strict else loose
            assert error <= limit, f"{field}: error {error:.3g} > {limit:g}{owner}"
            return
    raise KeyError(f"no tolerance for `{field}`")
