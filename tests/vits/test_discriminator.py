"""The discriminators: shapes, folding, refusals, and scores of the PyTorch goldens."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_speech.errors import SpeechError
from mlx_speech.vits.config import DiscriminatorConfig
from mlx_speech.vits.discriminator import Discriminators, PeriodDiscriminator

HOP = 256
SEGMENT = 8192


def test_scores_and_features_match_pytorch(medium: Any) -> None:
    judges = Discriminators(DiscriminatorConfig())
    medium.load(judges, "D")
    wav = medium.arrays["in.wav"][:, 0].astype(np.float32) / 32768
    starts = medium.arrays["in.ids"] * HOP
    real = np.stack([w[s : s + SEGMENT] for w, s in zip(wav, starts, strict=True)])
    fake = medium.arrays["fwd.y_hat"][:, 0]
    for side, audio in (("real", real), ("fake", fake)):
        for index, (scores, _) in enumerate(judges(mx.array(audio))):
            medium.check(f"d0.{index}.{side}", scores, strict=True)


def test_paper_sizes() -> None:
    judges = Discriminators(DiscriminatorConfig())
    assert sum(v.size for _, v in tree_flatten(judges.parameters())) == 46_747_132


def test_features_are_all_activations_and_the_scores() -> None:
    judges = Discriminators(DiscriminatorConfig(channels_scale=1 / 16))
    audio = mx.random.normal((2, 500))
    judgements = judges(audio)
    assert [len(features) for _, features in judgements] == [7, 6, 6, 6, 6, 6]
    for scores, features in judgements:
        assert scores.shape == (2, features[-1].size // 2)
        assert mx.array_equal(scores.reshape(-1), features[-1].reshape(-1))
        assert all(f.shape[0] == 2 for f in features)
    periods = [features[0].shape[2] for _, features in judgements[1:]]
    assert periods == [2, 3, 5, 7, 11]


@pytest.mark.parametrize("scale", [0.03, 0.1, 0.3, 0.75, 1.5])
def test_every_scale_gives_whole_groups(scale: float) -> None:
    config = DiscriminatorConfig(periods=(3,), channels_scale=scale)
    (scores, _), _ = Discriminators(config)(mx.random.normal((1, 256)))
    assert np.isfinite(np.array(scores)).all()


def test_without_scale_discriminator_the_first_is_a_period_one() -> None:
    config = DiscriminatorConfig(periods=(5, 7), use_scale=False, channels_scale=0.05)
    judges = Discriminators(config)
    assert [d.period for d in judges.discriminators] == [5, 7]


@pytest.mark.parametrize("samples", [29, 30, 31])
def test_fold_reflects_the_end_to_whole_rows(samples: int) -> None:
    audio = np.arange(2 * samples, dtype=np.float32).reshape(2, samples)
    folded = np.array(PeriodDiscriminator(5, 0.05)._fold(mx.array(audio)))
    padded = np.pad(audio, [(0, 0), (0, -samples % 5)], mode="reflect")
    np.testing.assert_array_equal(folded[..., 0], padded.reshape(2, -1, 5))


def test_refuses_audio_shorter_than_a_period() -> None:
    with pytest.raises(SpeechError, match="too few for a discriminator of period 11"):
        PeriodDiscriminator(11, 0.05)(mx.zeros((1, 4)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"periods": (), "use_scale": False}, "at least one"),
        ({"periods": (2, 1)}, "2 or more"),
        ({"channels_scale": 0.0}, "must be positive"),
    ],
)
def test_refuses_impossible_configurations(changes: dict, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        DiscriminatorConfig(**changes)
