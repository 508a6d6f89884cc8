"""How much faster the chosen way of computing a convolution is than MLX's own.

The shapes are those of a VITS training step: batch 4, segments of 8192 samples,
200 frames in the posterior encoder. Times are processor time, which a busy machine
disturbs less than the clock's; ratios within one run are the thing to trust.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx

from mlx_speech.nn.conv import (
    ConvShape,
    Mode,
    choose,
    conv1d,
    conv_transpose1d,
    current_device,
    period_conv,
)

# A slow case is measured once only when it takes longer than this, in seconds.
_PATIENCE_S = 0.5


@dataclass(frozen=True)
class ConvCase:
    """One layer to measure: its name, the batch, and the shape of its work.

    Attributes:
        name: where in VITS the layer is.
        batch: sequences; their length is ``shape.rows`` by batch and period.
        shape: the convolution.
        period: width of the period discriminator's second axis, else 1.
    """

    name: str
    batch: int
    shape: ConvShape
    period: int = 1


@dataclass(frozen=True)
class ConvTiming:
    """Processor time of one layer, in milliseconds.

    Attributes:
        case: what was measured.
        way: how the chosen way is called.
        native_forward_ms: forward pass by MLX's operation.
        native_training_ms: forward pass and gradients of input and weight.
        chosen_forward_ms: forward pass by the chosen way.
        chosen_training_ms: forward pass and gradients by the chosen way.
    """

    case: ConvCase
    way: str
    native_forward_ms: float
    native_training_ms: float
    chosen_forward_ms: float
    chosen_training_ms: float

    @property
    def forward_gain(self) -> float:
        """How many times faster the chosen forward pass is."""
        return self.native_forward_ms / self.chosen_forward_ms

    @property
    def training_gain(self) -> float:
        """How many times faster the chosen forward and backward pass is."""
        return self.native_training_ms / self.chosen_training_ms


def _plain(name: str, time_: int, *layer: int) -> ConvCase:
    return ConvCase(name, 4, ConvShape("plain", 4 * time_, *layer))


def _up(name: str, time_: int, *layer: int) -> ConvCase:
    return ConvCase(name, 4, ConvShape("transposed", 4 * time_, *layer))


def _period(name: str, frames: int, *layer: int) -> ConvCase:
    return ConvCase(name, 4, ConvShape("period", 4 * frames * 2, *layer), 2)


VITS_CASES = (
    _plain("text encoder, feed-forward", 80, 192, 768, 3),
    _plain("posterior WaveNet", 200, 192, 384, 5),
    _plain("posterior WaveNet, one tap", 200, 192, 384, 1),
    _plain("WaveNet, dilation 2", 200, 192, 384, 5, 1, 2),
    _plain("duration, depthwise, dilation 3", 80, 192, 192, 3, 1, 3, 192),
    _up("generator, up 8", 32, 512, 256, 16, 8),
    _up("generator, up 10", 32, 512, 256, 16, 10),
    _up("generator, second up 8", 256, 256, 128, 16, 8),
    _up("generator, up 2", 2048, 128, 64, 4, 2),
    _up("generator, last up 2", 4096, 64, 32, 4, 2),
    _plain("resblock 256, kernel 3", 256, 256, 256, 3),
    _plain("resblock 128, kernel 11, dilation 5", 2048, 128, 128, 11, 1, 5),
    _plain("resblock 64, kernel 7, dilation 3", 4096, 64, 64, 7, 1, 3),
    _plain("resblock 32, kernel 11, dilation 5", 8192, 32, 32, 11, 1, 5),
    _plain("resblock 32, kernel 3", 8192, 32, 32, 3),
    _plain("generator, last", 8192, 32, 1, 7),
    _period("period 2, first", 4096, 1, 32, 5, 3),
    _period("period 2, second", 1366, 32, 128, 5, 3),
    _period("period 2, third", 456, 128, 512, 5, 3),
    _period("period 2, fourth", 152, 512, 1024, 5, 3),
    _period("period 2, fifth", 51, 1024, 1024, 5, 1),
    _plain("scale, first", 8192, 1, 16, 15),
    _plain("scale, 4 groups", 8192, 16, 64, 41, 4, 1, 4),
    _plain("scale, 16 groups", 2048, 64, 256, 41, 4, 1, 16),
    _plain("scale, 64 groups", 512, 256, 1024, 41, 4, 1, 64),
    _plain("scale, 256 groups", 128, 1024, 1024, 41, 4, 1, 256),
    _plain("scale, last but one", 32, 1024, 1024, 5),
)


def measure(
    cases: Sequence[ConvCase] = VITS_CASES, repeats: int = 5
) -> list[ConvTiming]:
    """Time every case both ways on the current device.

    Args:
        cases: what to time; one minute in all for ``VITS_CASES`` on a CPU.
        repeats: the best of so many runs counts; slow cases run once.

    Returns:
        One row per case, in order.
    """
    return [_measure_one(case, repeats) for case in cases]


def as_table(rows: Sequence[ConvTiming]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| layer | way | native ms: forward, training | chosen ms: forward, training "
        "| gain: forward, training |",
        "|---|---|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.case.name} | {row.way} "
            f"| {row.native_forward_ms:.1f}, {row.native_training_ms:.1f} "
            f"| {row.chosen_forward_ms:.1f}, {row.chosen_training_ms:.1f} "
            f"| {row.forward_gain:.1f}, {row.training_gain:.1f} |"
        )
    return "\n".join(lines)


def _measure_one(case: ConvCase, repeats: int) -> ConvTiming:
    shape = case.shape
    frames = shape.rows // case.batch // case.period
    widths = (case.period,) if shape.kind == "period" else ()
    ones = (1,) if shape.kind == "period" else ()
    key_x, key_w = mx.random.split(mx.random.key(0))
    x = mx.random.normal((case.batch, frames, *widths, shape.channels), key=key_x)
    w_shape = (shape.out, shape.kernel, *ones, shape.channels // shape.groups)
    w = mx.random.normal(w_shape, key=key_w) * 0.05
    mx.eval(x, w)
    times: list[float] = []
    modes: tuple[Mode, ...] = ("native", "auto")
    for mode in modes:
        function = _layer(shape, mode)
        times.append(_best_ms(partial(function, x, w), repeats))
        training = _with_gradients(function)
        times.append(_best_ms(partial(training, x, w), repeats))
    return ConvTiming(case, choose(shape, current_device(), "auto"), *times)


def _layer(shape: ConvShape, mode: Mode) -> Callable[[mx.array, mx.array], mx.array]:
    kernel, stride = shape.kernel, shape.stride
    if shape.kind == "transposed":
        cut = (kernel - stride) // 2
        return lambda x, w: conv_transpose1d(x, w, stride, cut, mode=mode)
    if shape.kind == "period":
        return lambda x, w: period_conv(x, w, stride, kernel // 2, mode=mode)
    padding = shape.dilation * (kernel - 1) // 2
    return lambda x, w: conv1d(
        x, w, stride, padding, shape.dilation, shape.groups, mode=mode
    )


def _with_gradients(
    function: Callable[[mx.array, mx.array], mx.array],
) -> Callable[[mx.array, mx.array], object]:
    def loss(x: mx.array, w: mx.array) -> mx.array:
        return mx.square(function(x, w)).sum()

    return mx.value_and_grad(loss, argnums=(0, 1))


def _best_ms(run: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        mx.eval(run())
        best = min(best, time.process_time() - start)
        if best > _PATIENCE_S:
            break
    return 1000 * best
