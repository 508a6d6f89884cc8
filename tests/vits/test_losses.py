"""Each loss equals a NumPy computation, with and without a mask."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.vits.losses import (
    FEATURE_MATCHING_FACTOR,
    discriminator_losses,
    duration_loss,
    feature_matching_loss,
    generator_loss,
    kl_loss,
    masked_mean,
    mel_l1_loss,
)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_masked_mean_ignores_what_is_masked() -> None:
    x = draw(2, 4, 3)
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    kept = np.concatenate([x[0, :2].ravel(), x[1, :1].ravel()])
    x[0, 2:] = 1e6
    found = masked_mean(mx.array(x), mx.array(mask))
    assert found.item() == pytest.approx(kept.mean(), rel=1e-5)


def test_masked_mean_of_whole_items() -> None:
    x = draw(3, 5, 2)
    found = masked_mean(mx.array(x), mx.array([1.0, 0.0, 1.0]))
    assert found.item() == pytest.approx(x[[0, 2]].mean(), rel=1e-5)


def test_masked_mean_of_millions_of_entries_is_exact() -> None:
    x = draw(4, 1024, 1024) ** 2
    expected = x.astype(np.float64).mean()
    assert masked_mean(mx.array(x)).item() == pytest.approx(expected, rel=1e-5)


def test_masked_mean_refuses_a_mask_of_other_axes() -> None:
    # Broadcasting would give a plausible wrong number.
    with pytest.raises(ValueError, match="does not fit"):
        masked_mean(mx.zeros((2, 5)), mx.ones((2,))[:, None])


def test_masked_mean_without_mask_is_the_mean() -> None:
    x = draw(3, 5, 2)
    assert masked_mean(mx.array(x)).item() == pytest.approx(x.mean(), rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_adversarial_losses(masked: bool) -> None:
    real, fake = [draw(2, 7), draw(2, 9)], [draw(2, 7, seed=1), draw(2, 9, seed=2)]
    mask = mx.array([1.0, 0.0]) if masked else None
    items = slice(0, 1) if masked else slice(None)
    expected_real = sum(((1 - r[items]) ** 2).mean() for r in real)
    expected_fake = sum((f[items] ** 2).mean() for f in fake)
    expected_g = sum(((1 - f[items]) ** 2).mean() for f in fake)
    ours_real, ours_fake = [mx.array(r) for r in real], [mx.array(f) for f in fake]
    found_real, found_fake = discriminator_losses(ours_real, ours_fake, mask)
    found_g = generator_loss(ours_fake, mask)
    assert found_real.item() == pytest.approx(expected_real, rel=1e-5)
    assert found_fake.item() == pytest.approx(expected_fake, rel=1e-5)
    assert found_g.item() == pytest.approx(expected_g, rel=1e-5)


def test_feature_matching_counts_its_factor_inside() -> None:
    real = [[draw(2, 3, 4), draw(2, 5)], [draw(2, 3, 2, 2)]]
    fake = [[draw(2, 3, 4, seed=1), draw(2, 5, seed=2)], [draw(2, 3, 2, 2, seed=3)]]
    gaps = [
        np.abs(r - f).mean()
        for rs, fs in zip(real, fake, strict=True)
        for r, f in zip(rs, fs, strict=True)
    ]
    ours = [[[mx.array(a) for a in layers] for layers in side] for side in (real, fake)]
    assert FEATURE_MATCHING_FACTOR == 2.0
    assert feature_matching_loss(*ours).item() == pytest.approx(2 * sum(gaps), rel=1e-5)
    assert feature_matching_loss(*ours, factor=1.0).item() == pytest.approx(
        sum(gaps), rel=1e-5
    )


def test_no_gradient_reaches_the_real_side() -> None:
    real, fake = mx.array(draw(1, 4, 3)), mx.array(draw(1, 4, 3, seed=1))
    for loss in (
        lambda r, f: feature_matching_loss([[r]], [[f]]),
        lambda r, f: mel_l1_loss(r, f),
    ):
        to_real, to_fake = mx.grad(loss, argnums=(0, 1))(real, fake)
        assert mx.abs(to_real).max().item() == 0
        assert mx.abs(to_fake).min().item() > 0


def test_kl_is_the_analytic_divergence_on_average() -> None:
    # One sample per entry estimates it; the mean over many entries is the closed form.
    shape = (4, 500, 8)
    eps = draw(*shape)
    m_q, logs_q, m_p, logs_p = 0.3, -0.4, -0.2, 0.25
    z = m_q + np.exp(logs_q) * eps
    variance_ratio = np.exp(2 * (logs_q - logs_p))
    closed = logs_p - logs_q - 0.5
    closed += 0.5 * (variance_ratio + (m_q - m_p) ** 2 * np.exp(-2 * logs_p))
    found = kl_loss(
        mx.array(z),
        mx.full(shape, logs_q),
        mx.full(shape, m_p),
        mx.full(shape, logs_p),
        mx.ones(shape[:2]),
    )
    assert found.item() == pytest.approx(8 * closed, rel=2e-2)


def test_kl_sums_channels_and_averages_valid_frames() -> None:
    z, logs_q, m_p, logs_p = (draw(2, 5, 3, seed=i) for i in range(4))
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.float32)
    entries = logs_p - logs_q - 0.5 + 0.5 * (z - m_p) ** 2 * np.exp(-2 * logs_p)
    expected = (entries * mask[..., None]).sum() / mask.sum()
    found = kl_loss(*(mx.array(a) for a in (z, logs_q, m_p, logs_p, mask)))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_mel_and_duration_losses() -> None:
    target, predicted = draw(2, 4, 3), draw(2, 4, 3, seed=1)
    mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], np.float32)
    gap = np.abs(target - predicted)
    found = mel_l1_loss(mx.array(target), mx.array(predicted), mx.array(mask))
    expected = np.concatenate([gap[0].ravel(), gap[1, 0]]).mean()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert duration_loss(mx.array([2.0, 3.0])).item() == 5.0
    assert duration_loss(mx.array([2.0, 3.0]), mx.array([0.0, 1.0])).item() == 3.0
