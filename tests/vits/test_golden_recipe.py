"""The recipe rebuilds the reference's weights, and the comparison can fail."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("model", ["high", "medium"])
def test_rebuilt_weights_match_the_probe(
    model: str, recipe: ModuleType, request: pytest.FixtureRequest
) -> None:
    golden = request.getfixturevalue(model)
    ours = {**golden.weights("G"), **golden.weights("D")}
    assert golden.probe
    for name, expected in golden.probe.items():
        np.testing.assert_allclose(recipe.probe(ours[name]), expected, rtol=1e-6)


def test_layouts_return_to_torch(recipe: ModuleType, high: Any) -> None:
    for net in "GD":
        for name, shape in high.shapes[net].items():
            if np.prod(shape) > 300_000:
                continue
            value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            back = recipe.to_torch(name, recipe.to_mlx(name, value))
            np.testing.assert_array_equal(back, value)
            assert name.endswith(("m", "logs")) or (
                (recipe.layout(name) is not None)
                == (len(shape) > 2 and "emb_rel" not in name)
            )


def test_check_sees_a_small_error_and_a_wrong_order(high: Any) -> None:
    stored = high.arrays["fwd.z"]
    high.check("fwd.z", stored, strict=True)
    with pytest.raises(AssertionError, match="error"):
        high.check("fwd.z", stored + 1e-2)
    with pytest.raises(AssertionError, match="error"):
        high.check("fwd.z", stored[::-1])
    with pytest.raises(AssertionError, match="shape"):
        high.check("fwd.z", stored.swapaxes(1, 2))


def test_check_of_integers_is_exact(high: Any) -> None:
    stored = high.arrays["fwd.mas_durations"]
    high.check("fwd.mas_durations", stored)
    with pytest.raises(AssertionError, match="error"):
        high.check("fwd.mas_durations", stored + 1)


def test_parameter_check_needs_every_name(high: Any) -> None:
    with pytest.raises(AssertionError, match="parameters differ"):
        high.check_parameters("D", "grad", {"nothing": mx.zeros(1)})
