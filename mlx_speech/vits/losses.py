"""The losses of a VITS training.

Least-squares adversarial losses (Mao et al. 2017, arXiv 1611.04076), feature matching
(Larsen et al. 2016, arXiv 1512.09300) and the mel L1 loss as HiFi-GAN uses them
(Kong et al. 2020, arXiv 2010.05646), and the divergence of posterior and prior of VITS
(Kim et al. 2021, arXiv 2106.06103).

Every function returns a float32 scalar without its weight, except that feature
matching takes its factor as an argument, as the papers count it inside the loss. A
``mask`` holds 1 where an entry counts and 0 elsewhere. It has the leading axes of what
it masks: [batch] keeps whole items, [batch, frames] keeps frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

# HiFi-GAN's weight of feature matching, which VITS keeps inside the loss.
FEATURE_MATCHING_FACTOR = 2.0


def masked_mean(x: mx.array, mask: mx.array | None = None) -> mx.array:
    """Mean of the entries of ``x`` that ``mask`` keeps.

    Args:
        x: any shape.
        mask: 0 or 1, with the leading axes of ``x``; None for all. At least one entry
            must be kept, or the mean is not a number.

    Raises:
        ValueError: the mask's axes are not the first ones of ``x``.
    """
    if mask is not None and mask.shape != x.shape[: mask.ndim]:
        raise ValueError(f"a mask of {mask.shape} does not fit values of {x.shape}")
    # Axis by axis: MLX's sum of a whole array adds one number after the other on a
    # CPU, which is wrong by 4e-3 for four million entries.
    while x.ndim > (0 if mask is None else mask.ndim):
        x = x.mean(axis=-1)
    return x if mask is None else (x * mask).sum() / mask.sum()


def discriminator_losses(
    real_scores: Sequence[mx.array],
    fake_scores: Sequence[mx.array],
    mask: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """Least-squares losses of the discriminators: recordings are 1, generated audio 0.

    Args:
        real_scores, fake_scores: one array [batch, n] per discriminator.
        mask: [batch] or None.

    Returns:
        The loss on recordings and the loss on generated audio; the discriminators'
        loss is their sum.
    """
    return _distance(real_scores, 1.0, mask), _distance(fake_scores, 0.0, mask)


def generator_loss(
    fake_scores: Sequence[mx.array], mask: mx.array | None = None
) -> mx.array:
    """Least-squares loss of the generator: the discriminators should say 1.

    Args:
        fake_scores: one array [batch, n] per discriminator.
        mask: [batch] or None.
    """
    return _distance(fake_scores, 1.0, mask)


def _distance(
    scores: Sequence[mx.array], target: float, mask: mx.array | None
) -> mx.array:
    """Mean squared distance from ``target``, summed over discriminators."""
    total = mx.array(0.0)
    for score in scores:
        total = total + masked_mean(mx.square(target - score), mask)
    return total


def feature_matching_loss(
    real_features: Sequence[Sequence[mx.array]],
    fake_features: Sequence[Sequence[mx.array]],
    mask: mx.array | None = None,
    factor: float = FEATURE_MATCHING_FACTOR,
) -> mx.array:
    """Mean absolute difference of the discriminators' activations, summed over layers.

    Args:
        real_features, fake_features: for each discriminator its layers' activations,
            [batch, ...]. No gradient flows into the real ones.
        mask: [batch] or None.
        factor: on the sum.
    """
    total = mx.array(0.0)
    for real_layers, fake_layers in zip(real_features, fake_features, strict=True):
        for real, fake in zip(real_layers, fake_layers, strict=True):
            gap = mx.abs(mx.stop_gradient(real) - fake)
            total = total + masked_mean(gap, mask)
    return factor * total


def kl_loss(
    z_p: mx.array,
    logs_q: mx.array,
    m_p: mx.array,
    logs_p: mx.array,
    mask: mx.array,
) -> mx.array:
    """Divergence of the posterior from the prior, in nats per frame.

    One sample estimates it: ``z_p`` was drawn from the posterior and went through the
    flow, whose volume does not change.

    Args:
        z_p: posterior sample after the flow, [batch, frames, channels].
        logs_q: the posterior's log standard deviation, same shape.
        m_p, logs_p: the prior's mean and log standard deviation, same shape.
        mask: [batch, frames].

    Returns:
        Sum over channels, mean over the frames that ``mask`` keeps.
    """
    entries = logs_p - logs_q - 0.5
    entries = entries + 0.5 * mx.square(z_p - m_p) * mx.exp(-2.0 * logs_p)
    return masked_mean(entries.sum(axis=-1), mask)


def mel_l1_loss(
    target: mx.array, predicted: mx.array, mask: mx.array | None = None
) -> mx.array:
    """Mean absolute difference of two log-mel spectrograms [batch, frames, bands].

    Args:
        target: of the recording; no gradient flows into it.
        predicted: of the generated audio.
        mask: [batch, frames] or None.
    """
    return masked_mean(mx.abs(mx.stop_gradient(target) - predicted), mask)


def duration_loss(per_item: mx.array, item_mask: mx.array | None = None) -> mx.array:
    """Sum over the batch of the duration predictor's losses.

    The reference adds the items' losses, so this loss grows with the batch.

    Args:
        per_item: [batch], each already divided by the batch's number of symbols.
        item_mask: [batch] or None.
    """
    return (per_item if item_mask is None else per_item * item_mask).sum()
