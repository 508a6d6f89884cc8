"""Wrappers run unmodified: grid, template, vjp and training, on the emulator."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.metal_kernels import emulate, presence
from mlx_speech.metal_kernels.text import KernelText

SCALE = KernelText(
    "scale_rows",
    ("x", "w"),
    ("y",),
    "",
    "const uint2 at = thread_position_in_grid.xy;\n"
    "y[at.y * COLUMNS + at.x] = x[at.y * COLUMNS + at.x] * w[at.x];\n",
)
GRADIENT = KernelText(
    "scale_rows_gradient",
    ("x", "w", "g"),
    ("gx", "gw"),
    "",
    """\
const uint column = thread_position_in_grid.x;
T sum = T(0);
for (int row = 0; row < x_shape[0]; ++row) {
    const uint at = uint(row) * COLUMNS + column;
    gx[at] = g[at] * w[column];
    sum += g[at] * x[at];
}
gw[column] = sum;
""",
)


@mx.custom_function
def scale_rows(x: mx.array, w: mx.array) -> mx.array:
    rows, columns = x.shape
    return SCALE.build()(
        inputs=[x, w],
        template=[("COLUMNS", columns)],
        grid=(columns, rows, 1),
        threadgroup=(min(columns, 8), 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
    )[0]


@scale_rows.vjp
def scale_rows_vjp(
    primals: list[mx.array], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    x, w = primals
    gx, gw = GRADIENT.build()(
        inputs=[x, w, cotangent],
        template=[("T", x.dtype), ("COLUMNS", x.shape[1])],
        grid=(x.shape[1], 1, 1),
        threadgroup=(8, 1, 1),
        output_shapes=[x.shape, w.shape],
        output_dtypes=[x.dtype, w.dtype],
    )
    return gx, gw


def arrays() -> tuple[mx.array, mx.array, mx.array]:
    draw = np.random.default_rng(0)
    x, w, y = (draw.standard_normal(shape) for shape in ((5, 12), (12,), (5, 12)))
    return tuple(mx.array(a.astype(np.float32)) for a in (x, w, y))


def test_a_wrapper_and_its_gradient_run() -> None:
    x, w, y = arrays()
    with emulate.dropin() as launches:
        value, (gx, gw) = mx.value_and_grad(
            lambda x, w: mx.square(scale_rows(x, w) - y).sum(), argnums=(0, 1)
        )(x, w)
        mx.eval(value, gx, gw)
    expected, (hx, hw) = mx.value_and_grad(
        lambda x, w: mx.square(x * w - y).sum(), argnums=(0, 1)
    )(x, w)
    assert mx.allclose(value, expected, rtol=1e-6)
    assert mx.allclose(gx, hx, rtol=1e-5) and mx.allclose(gw, hw, rtol=1e-5)
    assert launches.names == ["scale_rows", "scale_rows_gradient"]
    assert launches.done[0].grid == (12, 5, 1)
    assert launches.done[0].outcome.counts["threads"] == 60


def test_training_through_kernels_gives_the_losses_of_plain_operations() -> None:
    x, w, y = arrays()

    def losses(scale) -> list[float]:
        trained, seen = w, []
        step = mx.value_and_grad(lambda w: mx.square(scale(x, w) - y).mean())
        for _ in range(5):
            loss, gradient = step(trained)
            trained = trained - 0.3 * gradient
            seen.append(float(loss))
        return seen

    with emulate.dropin(seed=3):
        emulated = losses(scale_rows)
    assert np.allclose(emulated, losses(lambda x, w: x * w), rtol=1e-5)
    assert emulated[-1] < emulated[0]


def test_metal_is_there_inside_the_block_only() -> None:
    real = mx.fast.metal_kernel
    with emulate.dropin():
        assert presence.metal_is_available()
        assert presence.device_name() == "emulated"
        assert mx.fast.metal_kernel is not real
    assert mx.fast.metal_kernel is real
    assert presence.metal_is_available() == mx.metal.is_available()


def test_all_dtypes_and_the_initial_value_pass_through() -> None:
    with emulate.dropin():
        kernel = mx.fast.metal_kernel(
            name="partly",
            input_names=["x"],
            output_names=["y"],
            source="uint i = thread_position_in_grid.x;\nif (i % 2) y[i] = x[i];\n",
        )
        for dtype in (mx.float32, mx.float16, mx.bfloat16, mx.int32, mx.uint8):
            x = (mx.arange(10) + 1).astype(dtype)
            (y,) = kernel(
                inputs=[x],
                output_shapes=[(10,)],
                output_dtypes=[dtype],
                grid=(10, 1, 1),
                threadgroup=(10, 1, 1),
                init_value=7,
            )
            assert y.dtype == dtype
            assert mx.array_equal(y, mx.where(mx.arange(10) % 2 == 1, x, 7))


def test_a_rewritten_kernel_is_what_runs() -> None:
    def broken(kernel: KernelText) -> KernelText:
        source = kernel.source.replace("* w[at.x]", "* w[at.x + 100]")
        return KernelText(kernel.name, ("x", "w"), ("y",), "", source)

    x, w, _ = arrays()
    with emulate.dropin(rewrite=broken), pytest.raises(emulate.KernelFault) as caught:
        mx.eval(scale_rows(x, w))
    assert caught.value.kinds == {"out of bounds"}
