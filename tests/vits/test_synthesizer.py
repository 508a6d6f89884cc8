"""Properties of the synthesiser that hold for any weights, on a tiny model."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from mlx_speech.errors import SpeechError
from mlx_speech.vits.config import VitsConfig
from mlx_speech.vits.duration import DurationPredictor, StochasticDurationPredictor
from mlx_speech.vits.flow import ResidualCouplingBlock
from mlx_speech.vits.masks import sequence_mask, slice_segments
from mlx_speech.vits.model import SynthesizerTrn

SYMBOLS, FRAMES, BINS, INTER = 7, 20, 17, 8


def _config(**changes: Any) -> VitsConfig:
    sizes: dict[str, Any] = {
        "n_vocab": 11,
        "spec_channels": BINS,
        "inter_channels": INTER,
        "hidden_channels": 12,
        "filter_channels": 16,
        "n_layers": 2,
        "posterior_layers": 3,
        "flow_layers": 2,
        "upsample_rates": (4, 2),
        "upsample_kernel_sizes": (8, 4),
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": (3,),
        "resblock_dilation_sizes": ((1, 3),),
        "resblock": "2",
    }
    return VitsConfig(**{**sizes, **changes})


def _model(**changes: Any) -> SynthesizerTrn:
    """A model without any zero-initialised layer, so that nothing is the identity."""
    mx.random.seed(0)
    model = SynthesizerTrn(_config(**changes))
    model.update(
        tree_map(lambda p: p + 0.05 * mx.random.normal(p.shape), model.parameters())
    )
    model.eval()
    return model


def _batch(extra_symbols: int = 0, extra_frames: int = 0) -> dict[str, mx.array]:
    """Two items; the extra symbols and frames are padding with rubbish in it."""
    rng = np.random.default_rng(0)
    text = rng.integers(0, 11, (2, SYMBOLS))
    spec = rng.random((2, FRAMES, BINS))
    eps = rng.standard_normal((2, FRAMES, INTER))
    noise = rng.standard_normal((2, SYMBOLS, 2))

    def padded(value: np.ndarray, extra: int) -> np.ndarray:
        rubbish = value[:, :1].repeat(extra, axis=1)
        return np.concatenate([value, rubbish], axis=1)

    return {
        "text_bl": mx.array(padded(text, extra_symbols)),
        "text_lengths_b": mx.array([SYMBOLS, 4]),
        "spec_btf": mx.array(padded(spec, extra_frames).astype(np.float32)),
        "spec_lengths_b": mx.array([FRAMES, 11]),
        "eps": mx.array(padded(eps, extra_frames).astype(np.float32)),
        "duration_noise": mx.array(padded(noise, extra_symbols).astype(np.float32)),
    }


@pytest.mark.parametrize("use_sdp", [True, False])
def test_padding_changes_nothing_in_training(use_sdp: bool) -> None:
    model = _model(use_sdp=use_sdp)
    short = model.forward(**_batch())
    long = model.forward(**_batch(extra_symbols=5, extra_frames=9))
    for name in ("z", "z_p", "m_p", "logs_p", "m_q", "logs_q"):
        value, padded = np.array(getattr(short, name)), np.array(getattr(long, name))
        np.testing.assert_allclose(padded[:, :FRAMES], value, atol=2e-6)
        np.testing.assert_array_equal(padded[:, FRAMES:], 0)
        np.testing.assert_array_equal(padded[1, 11:], 0)
    np.testing.assert_array_equal(
        np.array(long.path)[:, :FRAMES, :SYMBOLS], np.array(short.path)
    )
    np.testing.assert_allclose(
        np.array(long.duration_loss), np.array(short.duration_loss), rtol=1e-5
    )


@pytest.mark.parametrize("use_sdp", [True, False])
def test_a_batch_speaks_as_its_items_do(use_sdp: bool) -> None:
    model = _model(use_sdp=use_sdp)
    text, lengths = _batch()["text_bl"], mx.array([SYMBOLS, 4])
    silent = {"noise_scale": 0.0, "noise_scale_w": 0.0, "length_scale": 2.0}
    both = model.infer_latent(text, lengths, **silent)
    alone = model.infer_latent(text[1:, :4], lengths[1:], **silent)
    frames = alone.z.shape[1]
    assert int(both.mask[1].sum().item()) == frames
    np.testing.assert_array_equal(
        np.array(both.durations)[1, :4], np.array(alone.durations)[0]
    )
    np.testing.assert_allclose(
        np.array(both.z)[1, :frames], np.array(alone.z)[0], atol=5e-6
    )
    np.testing.assert_array_equal(np.array(both.z)[1, frames:], 0)


def test_lengths_of_speech() -> None:
    model = _model()
    speech = model.infer(
        _batch()["text_bl"], mx.array([SYMBOLS, 4]), key=mx.random.key(0)
    )
    frames = np.array(speech.durations).sum(axis=1)
    np.testing.assert_array_equal(np.array(speech.lengths), 8 * frames)
    assert speech.audio.shape == (2, 8 * frames.max())
    slow = model.infer_latent(
        _batch()["text_bl"],
        mx.array([SYMBOLS, 4]),
        length_scale=3.0,
        key=mx.random.key(0),
    )
    assert np.array(slow.durations).sum() > 2 * frames.sum()


def test_same_key_same_speech() -> None:
    model, text, lengths = _model(), _batch()["text_bl"], mx.array([SYMBOLS, 4])
    first = model.infer(text, lengths, key=mx.random.key(1)).audio
    again = model.infer(text, lengths, key=mx.random.key(1)).audio
    np.testing.assert_array_equal(np.array(first), np.array(again))
    other = model.infer_latent(text, lengths, key=mx.random.key(2)).log_durations
    same = model.infer_latent(text, lengths, key=mx.random.key(1)).log_durations
    assert not np.array_equal(np.array(other), np.array(same))


def test_forward_draws_its_noise_from_the_key() -> None:
    model, batch = _model(), _batch()
    del batch["eps"], batch["duration_noise"]
    first = model.forward(**batch, key=mx.random.key(3))
    again = model.forward(**batch, key=mx.random.key(3))
    np.testing.assert_array_equal(np.array(first.z), np.array(again.z))
    np.testing.assert_array_equal(
        np.array(first.duration_loss), np.array(again.duration_loss)
    )


@pytest.mark.parametrize("gin_channels", [0, 5])
def test_flow_is_inverted(gin_channels: int) -> None:
    mx.random.seed(1)
    config = _config(n_speakers=3 if gin_channels else 0, gin_channels=gin_channels)
    flow = ResidualCouplingBlock(config)
    flow.update(
        tree_map(lambda p: p + 0.2 * mx.random.normal(p.shape), flow.parameters())
    )
    mask = sequence_mask(mx.array([FRAMES, 11]), FRAMES)
    z = mx.random.normal((2, FRAMES, INTER)) * mask
    g = mx.random.normal((2, 1, gin_channels)) if gin_channels else None
    z_p = flow(z, mask, g)
    assert float(mx.abs(z_p - z).max().item()) > 0.1
    np.testing.assert_allclose(
        np.array(flow.reverse(z_p, mask, g)), np.array(z), atol=1e-5
    )


def test_untrained_flow_only_reorders() -> None:
    flow = ResidualCouplingBlock(_config(n_flows=3))
    z = mx.random.normal((1, FRAMES, INTER))
    mask = mx.ones((1, FRAMES, 1))
    np.testing.assert_array_equal(np.array(flow(z, mask)), np.array(z)[..., ::-1])


def test_duration_flows_are_inverted() -> None:
    predictor = _model().dp
    assert isinstance(predictor, StochasticDurationPredictor)
    mask = sequence_mask(mx.array([SYMBOLS, 4]), SYMBOLS)
    condition = mx.random.normal((2, SYMBOLS, 12)) * mask
    z = 2 * mx.random.normal((2, SYMBOLS, 2)) * mask
    y = z
    for flow in predictor.flows:
        y = flow(y, mask, condition)
        y = y[0] if isinstance(y, tuple) else y
    for flow in reversed(predictor.flows):
        y = flow.reverse(y, mask, condition)
    np.testing.assert_allclose(np.array(y), np.array(z), atol=1e-4)


def test_text_encoder_hears_nothing_from_the_durations() -> None:
    for use_sdp in (True, False):
        model, batch = _model(use_sdp=use_sdp), _batch()

        def loss(
            model: SynthesizerTrn = model, batch: dict[str, mx.array] = batch
        ) -> mx.array:
            return model.forward(**batch).duration_loss.sum()

        _, gradients = nn.value_and_grad(model, loss)()
        sizes = {
            name: float(mx.abs(value).sum().item())
            for name, value in tree_flatten(gradients)
        }
        heard = {name for name, size in sizes.items() if size > 0}
        assert {name.split(".")[0] for name in heard} == {"dp"}
        assert {name for name in sizes if name.startswith("dp.")} - heard == set()


def test_deterministic_duration_loss() -> None:
    predictor = DurationPredictor(_config())
    predictor.eval()
    mask = sequence_mask(mx.array([SYMBOLS, 4]), SYMBOLS)
    x = mx.random.normal((2, SYMBOLS, 12))
    durations = mx.random.randint(1, 9, (2, SYMBOLS)) * mask[..., 0]
    valid, frames = np.array(mask)[..., 0] > 0, np.array(durations)
    gap = np.array(predictor.predict(x, mask)) - np.log(frames + 1e-6)
    expected = np.where(valid, gap**2, 0).sum(axis=1) / valid.sum()
    loss = predictor.loss(x, mask, durations)
    np.testing.assert_allclose(np.array(loss), expected, rtol=1e-5)


def test_dropout_is_active_in_training_only() -> None:
    model, batch = _model(use_sdp=False), _batch()
    model.train()
    noisy = [np.array(model.forward(**batch).duration_loss) for _ in range(2)]
    assert not np.array_equal(*noisy)
    model.eval()
    quiet = [np.array(model.forward(**batch).duration_loss) for _ in range(2)]
    np.testing.assert_array_equal(*quiet)


@pytest.mark.parametrize("use_sdp", [True, False])
def test_speakers_sound_different(use_sdp: bool) -> None:
    model = _model(n_speakers=3, gin_channels=5, use_sdp=use_sdp)
    batch, lengths = _batch(), mx.array([SYMBOLS, 4])
    forward = model.forward(**batch, speaker_ids=mx.array([0, 2]))
    assert forward.z.shape == (2, FRAMES, INTER)
    latents = [
        model.infer_latent(
            batch["text_bl"],
            lengths,
            0.0,
            1.0,
            0.0,
            speaker_ids=mx.array([speaker, speaker]),
        )
        for speaker in (0, 1)
    ]
    assert not np.array_equal(
        np.array(latents[0].log_durations), np.array(latents[1].log_durations)
    )
    audio = model.decode(forward.z, mx.array([0, 2]))
    other = model.decode(forward.z, mx.array([1, 2]))
    assert audio.shape == (2, FRAMES * 8)
    difference = np.abs(np.array(audio - other)).max(axis=1)
    assert difference[0] > 1e-4 and difference[1] == 0


def test_conversion_to_the_same_voice_is_reconstruction() -> None:
    model, batch = _model(n_speakers=3, gin_channels=5), _batch()
    spec, lengths = batch["spec_btf"], batch["spec_lengths_b"]
    ids, others = mx.array([0, 1]), mx.array([2, 2])
    audio, samples = model.reconstruct(spec, lengths, ids, eps=batch["eps"])
    same, _ = model.convert_voice(spec, lengths, ids, ids, eps=batch["eps"])
    other, _ = model.convert_voice(spec, lengths, ids, others, eps=batch["eps"])
    np.testing.assert_array_equal(np.array(samples), [8 * FRAMES, 8 * 11])
    assert audio.shape == (2, 8 * FRAMES)
    np.testing.assert_allclose(np.array(same), np.array(audio), atol=1e-5)
    assert np.abs(np.array(other - audio)).max() > 1e-4


def test_reconstruction_without_noise_is_repeatable() -> None:
    model, batch = _model(), _batch()
    spec, lengths = batch["spec_btf"], batch["spec_lengths_b"]
    first, _ = model.reconstruct(spec, lengths, noise_scale=0)
    again, _ = model.reconstruct(spec, lengths, eps=mx.zeros((2, FRAMES, INTER)))
    np.testing.assert_allclose(np.array(first), np.array(again), atol=1e-6)


def test_slices_are_cut_where_told() -> None:
    x = mx.random.normal((3, 12, 4))
    cut = slice_segments(x, mx.array([0, 7, 3]), 5)
    expected = np.stack([np.array(x)[i, s : s + 5] for i, s in enumerate([0, 7, 3])])
    np.testing.assert_array_equal(np.array(cut), expected)
    np.testing.assert_array_equal(
        np.array(slice_segments(x[..., 0], mx.array([0, 7, 3]), 5)), expected[..., 0]
    )


def test_bad_requests_are_refused() -> None:
    model, text = _model(), _batch()["text_bl"]
    lengths = mx.array([SYMBOLS, 4])
    with pytest.raises(SpeechError, match="the text is empty"):
        model.infer(mx.zeros((1, 0), dtype=mx.int32), mx.array([0]))
    with pytest.raises(SpeechError, match="the text is empty"):
        model.infer(text, mx.array([SYMBOLS, 0]))
    with pytest.raises(SpeechError, match=r"symbol id 11 .* 11 symbols"):
        model.infer(text * 0 + 11, lengths)
    with pytest.raises(SpeechError, match="more than the 3"):
        model.infer(text, lengths, max_frames=3)
    with pytest.raises(SpeechError, match="frames, more than"):
        model.infer(text, lengths, length_scale=float("nan"))
    with pytest.raises(SpeechError, match="one voice"):
        model.infer(text, lengths, speaker_ids=mx.array([0, 0]))
    with pytest.raises(SpeechError, match="one voice"):
        batch = _batch()
        model.convert_voice(
            batch["spec_btf"], batch["spec_lengths_b"], lengths * 0, lengths * 0
        )
    many = _model(n_speakers=3, gin_channels=5)
    with pytest.raises(SpeechError, match="3 speakers"):
        many.infer(text, lengths)
    with pytest.raises(SpeechError, match="speaker 3"):
        many.infer(text, lengths, speaker_ids=mx.array([0, 3]))
