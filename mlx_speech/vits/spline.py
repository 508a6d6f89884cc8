"""Monotonic rational-quadratic splines with linear tails.

Durkan et al. 2019, "Neural Spline Flows" (arXiv 1906.04032, section 3.1 and appendix
A.1): between knots the map is a quotient of two quadratics, fixed by the knots and the
slopes at them; outside of the square [-bound, bound] it is the identity. Both the map
and its inverse have a closed form.
"""

from __future__ import annotations

import mlx.core as mx

MIN_BIN_WIDTH = 1e-3
MIN_BIN_HEIGHT = 1e-3
MIN_SLOPE = 1e-3


def rational_quadratic_spline(
    x: mx.array,
    widths: mx.array,
    heights: mx.array,
    slopes: mx.array,
    bound: float,
    inverse: bool = False,
) -> tuple[mx.array, mx.array]:
    """Apply one spline to each element of ``x``.

    Args:
        x: [...], any shape.
        widths: logits of the bins' widths, [..., bins].
        heights: logits of the bins' heights, [..., bins].
        slopes: slopes at the inner knots before their softplus, [..., bins - 1]. The
            outermost slopes are 1, so that the tails join smoothly.
        bound: half the side of the square in which the map is not the identity.
        inverse: whether to apply the inverse map.

    Returns:
        The image of ``x``, and the logarithm of the derivative of the applied map at
        ``x``, both in the shape of ``x``.
    """
    knots_x = _knots(widths, MIN_BIN_WIDTH, bound)
    knots_y = _knots(heights, MIN_BIN_HEIGHT, bound)
    one = mx.ones_like(slopes[..., :1])
    softplus = MIN_SLOPE + mx.logaddexp(slopes, 0.0)
    knot_slopes = mx.concatenate([one, softplus, one], axis=-1)

    inside = (x >= -bound) & (x <= bound)
    # Elements outside are computed somewhere harmless: no NaN reaches a gradient.
    clamped = mx.clip(x, -bound, bound)
    lower_edges = (knots_y if inverse else knots_x)[..., :-1]
    upper_edges = mx.concatenate(
        [lower_edges[..., 1:], mx.full(one.shape, mx.inf)], axis=-1
    )
    value = clamped[..., None]
    in_bin = ((value >= lower_edges) & (value < upper_edges)).astype(x.dtype)

    def pick(per_bin: mx.array) -> mx.array:
        return mx.sum(per_bin * in_bin, axis=-1)

    left, width = pick(knots_x[..., :-1]), pick(_differences(knots_x))
    bottom, height = pick(knots_y[..., :-1]), pick(_differences(knots_y))
    slope_0, slope_1 = pick(knot_slopes[..., :-1]), pick(knot_slopes[..., 1:])
    mean_slope = height / width
    bend = slope_0 + slope_1 - 2 * mean_slope

    if inverse:
        rise = clamped - bottom
        a = rise * bend + height * (mean_slope - slope_0)
        b = height * slope_0 - rise * bend
        c = -mean_slope * rise
        # Rounding may push the discriminant just below zero.
        discriminant = mx.maximum(mx.square(b) - 4 * a * c, 0)
        # This form of the root does not cancel for small a.
        position = 2 * c / (-b - mx.sqrt(discriminant))
        result = left + position * width
    else:
        position = (clamped - left) / width
    between = position * (1 - position)
    denominator = mean_slope + bend * between
    if not inverse:
        climb = mean_slope * mx.square(position) + slope_0 * between
        result = bottom + height * climb / denominator
    log_slope = (
        2 * mx.log(mean_slope)
        + mx.log(
            slope_1 * mx.square(position)
            + 2 * mean_slope * between
            + slope_0 * mx.square(1 - position)
        )
        - 2 * mx.log(denominator)
    )
    if inverse:
        log_slope = -log_slope
    return mx.where(inside, result, x), mx.where(inside, log_slope, 0.0)


def _knots(logits: mx.array, smallest: float, bound: float) -> mx.array:
    """[..., bins + 1] knots from -bound to bound, no two closer than ``smallest``.

    ``smallest`` is a share of the whole length, as in the reference.
    """
    bins = logits.shape[-1]
    shares = smallest + (1 - smallest * bins) * mx.softmax(logits, axis=-1)
    inner = 2 * bound * mx.cumsum(shares[..., :-1], axis=-1) - bound
    edge = mx.full((*logits.shape[:-1], 1), bound)
    return mx.concatenate([-edge, inner, edge], axis=-1)


def _differences(knots: mx.array) -> mx.array:
    return knots[..., 1:] - knots[..., :-1]
