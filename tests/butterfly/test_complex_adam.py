"""Why parameters are real pairs: MLX's Adam on complex64 parameters."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.optimizers as optim

from mlx_speech.butterfly.parameters import from_pairs

TARGET = mx.array([1 + 2j, -3 + 0.5j, 0.25 - 1j, 2 - 2j], dtype=mx.complex64)


def descend(parameters: mx.array, view: Callable[[mx.array], mx.array]) -> float:
    """Loss of a four-number quadratic after 500 steps of Adam."""

    def loss(tree: dict[str, mx.array]) -> mx.array:
        difference = view(tree["w"]) - TARGET
        return mx.sum(mx.real(difference) ** 2 + mx.imag(difference) ** 2)

    optimizer = optim.Adam(
        optim.cosine_decay(0.1, 500), bias_correction=True, eps=1e-12
    )
    tree = {"w": parameters}
    for _ in range(500):
        tree = optimizer.apply_gradients(mx.grad(loss)(tree), tree)
        mx.eval(tree, optimizer.state)
    return float(loss(tree).item())


def test_adam_is_right_on_real_pairs() -> None:
    assert descend(mx.zeros((4, 2)), from_pairs) < 1e-9


def test_adam_of_mlx_is_still_wrong_on_complex_parameters() -> None:
    """When this fails, MLX is repaired: complex parameters may be reconsidered."""
    final = descend(mx.zeros(4, dtype=mx.complex64), lambda w: w)
    assert not final < 1e-3
